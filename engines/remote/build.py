"""From options to a remote engine: asks the server who it is, and says clearly what is wrong."""

from __future__ import annotations

import os
import ssl
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import numpy.typing as npt

from engines.base import Clock
from engines.errors import EngineConfigError, EngineError
from engines.models.source import resolve_tokenizer
from engines.remote.address import Address, ApiKey, find_api_key
from engines.remote.chunks import error_message
from engines.remote.direct import DirectTransport, tls_context, why_no_connection
from engines.remote.engine import RemoteEngine
from engines.remote.openai import Dialect
from engines.remote.options import API_KEY_NAMES, RemoteOptions
from engines.remote.precise_loop import precise_loop
from engines.remote.transport import Transport

if TYPE_CHECKING:
    import asyncio

    from tokenizers import Tokenizer

Progress = Callable[[str], None]

# OpenSSL's X509_V_ERR_*: a name or an address that the certificate lacks; no authority known.
_OTHER_NAME = (62, 63, 64)
_NOT_TRUSTED = (2, 18, 19, 20, 21)


def _silent(_: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class BuiltRemote:
    """An engine that is ready, and what traffic for it must know.

    `encode` turns text into local token ids without special tokens; `vocab_size` is the local
    tokenizer's. `max_model_len` is None where the server does not tell it.
    """

    engine: RemoteEngine
    encode: Callable[[str], Sequence[int]]
    vocab_size: int
    max_model_len: int | None


class LocalText:
    """The local tokenizer: prompts to text, answers to tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def decode(self, ids: npt.NDArray[np.int32]) -> str:
        """Text of the ids, special tokens left out: they are for the server's template to set."""
        return str(self._tokenizer.decode(ids.tolist()))

    def encode(self, text: str) -> list[int]:
        """Token ids of the text, without special tokens."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def build_remote(options: RemoteOptions, clock: Clock, progress: Progress = _silent) -> BuiltRemote:
    """Asks the server for its models and makes the engine.

    Raises:
        EngineError: the server can't be reached, or wants a key, or isn't one of this kind.
        EngineConfigError: an option doesn't fit the server or this installation.
        ModelError: the tokenizer can't be had.
    """
    address = options.address
    names = (options.api_key_env,) if options.api_key_env else API_KEY_NAMES
    key = find_api_key(options.api_key_env, names, os.environ)
    trust_env = not address.loopback if options.trust_env is None else options.trust_env
    progress(f"asking {address.url} for its models")
    model, max_model_len = _choose_model(options, _models(options, key, trust_env))
    progress(f"loading the tokenizer of {options.tokenizer}")
    tokenizer = resolve_tokenizer(options.tokenizer, progress)
    if tokenizer is None:
        raise EngineConfigError(
            f"tokenizer {options.tokenizer}: it has no tokenizer; give a model that has, as smollm2"
        )
    text = LocalText(tokenizer)
    loop = precise_loop()
    headers = {"user-agent": "workbench", "accept": "*/*", **key.headers()}
    transport = _transport(options, headers, clock, loop, trust_env)
    description: dict[str, object] = {
        "name": "remote",
        "url": address.url,
        "model": model,
        "tokenizer": options.tokenizer,
        "max_model_len": max_model_len,
        "authenticated": bool(key),
        "prompt_form": options.prompt_form,
        "retries": options.retries,
        "max_connections": options.max_connections,
        "connect_s": options.connect_s,
        "first_byte_s": options.first_byte_s,
        "stall_s": options.stall_s,
        "total_s": options.total_s,
    }
    engine = RemoteEngine(
        options,
        key,
        text,
        Dialect(options, model, text),
        transport,
        loop,
        clock,
        max_model_len,
        description,
    )
    return BuiltRemote(engine, text.encode, tokenizer.get_vocab_size(), max_model_len)


def _transport(
    options: RemoteOptions,
    headers: dict[str, str],
    clock: Clock,
    loop: asyncio.AbstractEventLoop,
    trust_env: bool,
) -> Transport:
    """The transport that the options ask for; what isn't needed isn't imported."""
    address = options.address
    limits = (options.connect_s, options.max_connections)
    proxied = trust_env and _proxied(address)
    if options.http_client == "direct" and proxied:
        raise EngineConfigError(
            "http_client 'direct' knows no proxies, and the environment sets one for "
            f"{address.root}; take 'auto', or trust_env false to go past it"
        )
    if options.http_client == "httpx" or options.http2 or proxied:
        from engines.remote.through_httpx import HttpxTransport

        try:
            return HttpxTransport(address, headers, clock, loop, *limits, options.http2, trust_env)
        except ImportError as error:
            raise EngineConfigError(f"http2 needs a further package: {error}") from None
    return DirectTransport(address, headers, clock, loop, *limits)


def _proxied(address: Address) -> bool:
    """Whether the environment sends this server's requests through a proxy."""
    proxies = urllib.request.getproxies()
    if not (proxies.get(address.scheme) or proxies.get("all")):
        return False
    return not urllib.request.proxy_bypass(f"{address.host}:{address.port}")


def _models(options: RemoteOptions, key: ApiKey, trust_env: bool) -> list[dict[str, Any]]:
    """The server's list of models."""
    address = options.address
    url = f"{address.url}/models"
    try:
        with httpx.Client(
            timeout=options.connect_s,
            verify=tls_context(),
            trust_env=trust_env,
            headers=key.headers(),
        ) as client:
            answer = client.get(url)
    except httpx.TimeoutException:
        raise EngineError(
            f"{url}: no answer in {options.connect_s:g} s; is the server up and the port right?"
        ) from None
    except httpx.HTTPError as error:
        if problem := _tls_problem(error, options.connect_s):
            raise EngineError(f"{url}: {problem}") from None
        raise EngineError(
            f"{url}: {key.brief(str(error)) or type(error).__name__}; "
            "start the server, or correct the address"
        ) from None
    status = answer.status_code
    if status in (401, 403):
        how = "the key is not accepted" if key else "the server wants a key"
        named = options.api_key_env or API_KEY_NAMES[0]
        raise EngineError(
            f"{url}: HTTP {status}, {how}; set it in the environment variable {named}"
        )
    if status != 200:
        said = key.brief(answer.text)
        hint = "the base of an OpenAI-compatible API mostly ends in /v1"
        raise EngineError(f"{url}: HTTP {status}{f': {said}' if said else ''}; {hint}")
    try:
        content = answer.json()
        models = content["data"]
        return [model for model in models if isinstance(model["id"], str)]
    except (ValueError, KeyError, TypeError):
        said = key.brief(error_message(_json(answer)) or answer.text)
        raise EngineError(
            f"{url}: the answer is no list of models ({said}); "
            "is that the base of an OpenAI-compatible API?"
        ) from None


def _tls_problem(error: httpx.HTTPError, connect_s: float) -> str:
    """What is wrong with the server's TLS, and what to do; empty if it is something else."""
    from engines.remote.through_httpx import cause_of

    cause = cause_of(error)
    if not isinstance(cause, ssl.SSLError):
        return ""
    problem = why_no_connection(cause, connect_s)
    if not isinstance(cause, ssl.SSLCertVerificationError):
        return f"{problem}; is it an http:// address?"
    if cause.verify_code in _OTHER_NAME:
        return f"{problem}; address the server by a name that its certificate holds"
    if cause.verify_code in _NOT_TRUSTED:
        now = os.environ.get("SSL_CERT_FILE")
        return (
            f"{problem}; if you trust it, name a file that holds its authority's certificate in "
            f"the environment variable SSL_CERT_FILE{f' (now {now})' if now else ''}"
        )
    return problem


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _choose_model(options: RemoteOptions, models: list[dict[str, Any]]) -> tuple[str, int | None]:
    """The model's name, and its limit where that is told."""
    names = [str(model["id"]) for model in models]
    if options.model is None and len(models) != 1:
        served = (
            f"serves {len(names)} models: {', '.join(names[:8])}" if names else "names no model"
        )
        raise EngineConfigError(f"{options.address.url} {served}; say which with model")
    wanted = options.model or names[0]
    found = next((model for model in models if model["id"] == wanted), None)
    if found is None and names:
        raise EngineConfigError(
            f"{options.address.url} does not serve {wanted!r}, but {', '.join(names[:8])}"
        )
    limit = found.get("max_model_len") if found is not None else None
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        limit = None
    return wanted, limit
