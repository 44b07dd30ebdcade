"""What can be asked of a remote server, before it is spoken to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from engines.errors import EngineConfigError
from engines.models.embedded import DEFAULT_MODEL
from engines.remote.address import Address, parse_address

APIS = ("auto", "chat", "completions")
HTTP_CLIENTS = ("auto", "httpx", "direct")
PROMPT_FORMS = ("text", "tokens")
API_KEY_NAMES = ("WORKBENCH_API_KEY", "OPENAI_API_KEY")
"""The environment variables that are looked into for the server's key, in this order."""

_OWN_FIELDS = frozenset({"model", "messages", "prompt", "stream", "max_tokens"})


@dataclass(frozen=True, slots=True)
class RemoteOptions:
    """A server, and how it is spoken to.

    Attributes:
        url: the API's base, `http://host:port/v1`; `/v1` is added to an address without a path.
        api: "chat" (`/chat/completions`), "completions", or "auto": chat where it is there.
        model: the name sent; None asks the server, which must then serve one alone.
        tokenizer: whose tokens prompts are made of and answers counted in: a model that has one,
            a `tokenizer.json`, or a folder with one.
        connect_s, first_byte_s, stall_s, total_s: how long a connection may take, the answer's
            first byte after the request was sent, the silence between two pieces of it, and all.
        retries: sends again of a request that failed before its first token; 0 is never.
        http2: HTTP/2 where the server offers it (through httpx).
        http_client: "direct" (HTTP/1.1 only, several times as fast), "httpx", or "auto": direct
            unless HTTP/2 or a proxy is wanted.
        trust_env: use the environment's proxies; None is yes unless the server is on loopback.
        api_key_env: the variable that holds the key; None looks into `API_KEY_NAMES`.
        prompt_form: "text", or "tokens": token ids, which only /completions takes.
        ignore_eos: send vLLM's field of that name where a request asks for it; a server that
            refuses it is not sent it again.
        max_connections: requests that may be under way at once; more wait here.
        scrape_s: period of reading the server's /metrics; 0 is never.
        extra_body: further fields of every request, over those that would be sent.

    Raises:
        EngineConfigError: a value is impossible or contradicts another.
    """

    url: str
    api: str = "auto"
    model: str | None = None
    tokenizer: str = DEFAULT_MODEL
    connect_s: float = 10.0
    first_byte_s: float = 600.0
    stall_s: float = 300.0
    total_s: float = 3600.0
    retries: int = 0
    http2: bool = False
    http_client: str = "auto"
    trust_env: bool | None = None
    api_key_env: str | None = None
    prompt_form: str = "text"
    ignore_eos: bool = True
    max_connections: int = 1024
    scrape_s: float = 1.0
    extra_body: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parse_address(self.url)
        for name, value, known in (
            ("api", self.api, APIS),
            ("http_client", self.http_client, HTTP_CLIENTS),
            ("prompt_form", self.prompt_form, PROMPT_FORMS),
        ):
            if value not in known:
                raise EngineConfigError(f"{name} {value!r}: there is {', '.join(known)}")
        for name in ("connect_s", "first_byte_s", "stall_s", "total_s"):
            seconds = getattr(self, name)
            if not (math.isfinite(seconds) and seconds > 0):
                raise EngineConfigError(f"{name} = {seconds}: a limit is a number of seconds > 0")
        if not (math.isfinite(self.scrape_s) and self.scrape_s >= 0):
            raise EngineConfigError(f"scrape_s = {self.scrape_s}: a period, or 0 for never")
        if self.retries < 0 or self.max_connections < 1:
            raise EngineConfigError(
                f"retries = {self.retries}, max_connections = {self.max_connections}: "
                "at least 0 and 1"
            )
        if self.prompt_form == "tokens" and self.api != "completions":
            raise EngineConfigError(
                "prompt_form 'tokens': a chat takes text only; ask for api 'completions' with it"
            )
        if self.http_client == "direct" and self.http2:
            raise EngineConfigError(
                "http_client 'direct' speaks HTTP/1.1 alone; take 'httpx' for http2"
            )
        if own := sorted(_OWN_FIELDS & set(self.extra_body)):
            raise EngineConfigError(
                f"extra_body: {', '.join(own)} is set by the workbench from the traffic"
            )

    @property
    def address(self) -> Address:
        """`url`, taken apart."""
        return parse_address(self.url)
