"""Where a server is, and the key that it is shown."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from engines.errors import EngineConfigError

_PORTS = {"http": 80, "https": 443}
_SHORT = 200


@dataclass(frozen=True, slots=True)
class Address:
    """The base of an API: `scheme://host:port` and `path`, which has no slash at its end."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """What the `Host` header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def root(self) -> str:
        """`http://host:port`, where /metrics is."""
        return f"{self.scheme}://{self.authority}"

    @property
    def url(self) -> str:
        return self.root + self.path

    @property
    def loopback(self) -> bool:
        """Whether the server is on this machine."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def redirected(self, path: str, location: str) -> str | None:
        """The path that `location`, sent in answer to `path`, leads to; None if elsewhere."""
        try:
            parts = urlsplit(urljoin(self.root + path, location))
            port = parts.port or _PORTS.get(parts.scheme)
        except ValueError:
            return None
        if (parts.scheme, parts.hostname, port) != (self.scheme, self.host, self.port):
            return None
        if any(not "!" <= character <= "~" for character in parts.path + parts.query):
            return None  # it could not stand in a request's first line
        return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def parse_address(url: str) -> Address:
    """Takes a base URL apart; `/v1` is added where there is no path.

    Raises:
        EngineConfigError: it is no http(s) URL, or it carries a password, a query or a fragment.
    """
    example = "give the server's base, such as http://127.0.0.1:8000/v1"
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise EngineConfigError(f"the URL can't be read; {example}") from None
    if "@" in parts.netloc:
        raise EngineConfigError(
            "the URL carries a user name or password, which would be saved with the run; "
            "put the key into the environment variable WORKBENCH_API_KEY"
        )
    if parts.scheme not in _PORTS or not parts.hostname:
        raise EngineConfigError(f"{url!r} is no http:// or https:// URL; {example}")
    if parts.query or parts.fragment:
        raise EngineConfigError(f"the URL has a query or a fragment; {example}")
    if not (parts.netloc + parts.path).isascii() or any(c <= " " for c in url.strip()):
        raise EngineConfigError(f"{url!r} holds characters that a URL can't have; {example}")
    path = parts.path.rstrip("/")
    for end in ("/chat/completions", "/completions", "/models"):
        path = path.removesuffix(end)
    if not parts.path.strip("/"):
        path = "/v1"
    return Address(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], path)


class ApiKey:
    """A server's key. It has no representation, and takes itself out of foreign text."""

    __slots__ = ("_key",)

    def __init__(self, key: str) -> None:
        self._key = key

    def __bool__(self) -> bool:
        return bool(self._key)

    def __repr__(self) -> str:
        return "ApiKey(***)" if self._key else "ApiKey()"

    def headers(self) -> dict[str, str]:
        """The header that shows it; empty without a key."""
        return {"authorization": f"Bearer {self._key}"} if self._key else {}

    def brief(self, text: str) -> str:
        """Text of a server for a message: without the key, on one line, at most 200 characters."""
        if self._key:
            text = text.replace(self._key, "***")
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"


def find_api_key(name: str | None, names: Sequence[str], environ: Mapping[str, str]) -> ApiKey:
    """The key in the variable `name`, or in the first of `names` that is set; else no key.

    Raises:
        EngineConfigError: `name` is not set, or the value can't stand in a header.
    """
    if name is not None and not environ.get(name):
        raise EngineConfigError(f"the environment variable {name} is to hold the key; it is empty")
    found = name or next((each for each in names if environ.get(each)), None)
    key = environ[found].strip() if found else ""
    if not key.isascii() or not (key.isprintable() and " " not in key):
        raise EngineConfigError(
            f"the key in {found} holds spaces or characters that no header can carry; set it again"
        )
    return ApiKey(key)
