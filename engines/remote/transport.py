"""What carries a request to a server, and what is told of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request for the server of the run. `path` begins with a slash."""

    method: str
    path: str
    body: bytes = b""


class Sink(Protocol):
    """Told what happens to one request, in this order; all stamps are the run's, in ns.

    `broke` may come at any time instead of the rest, and nothing comes after it or `ended`.
    """

    def sent(self, now_ns: int) -> None:
        """Its bytes were handed to the socket."""
        ...

    def resent(self, now_ns: int) -> None:
        """Its connection had been closed by the server meanwhile, before a byte of the answer; it
        is sent again, on a new one."""
        ...

    def answered(self, status: int, headers: Mapping[str, str], now_ns: int) -> None:
        """The head of the answer came; header names are in lower case."""
        ...

    def received(self, data: bytes, now_ns: int) -> None:
        """Bytes of the body came."""
        ...

    def ended(self, now_ns: int) -> None:
        """The whole answer came."""
        ...

    def broke(self, reason: str, now_ns: int) -> None:
        """There was no connection, or it went, or what came is no HTTP."""
        ...


class Call(Protocol):
    """A request under way."""

    def abandon(self) -> None:
        """The sink hears no more. Its connection is closed, at once or at the loop's next turn; of
        HTTP/2, which many share, the answer is read to its end and dropped."""
        ...


class Transport(Protocol):
    """Sends requests to one server. Everything happens on the engine's loop."""

    def send(self, outgoing: Outgoing, sink: Sink) -> Call:
        """Starts a request; what can be sent at once is sent before this returns."""
        ...

    def describe(self) -> dict[str, object]:
        """Its name and what it did, JSON values only."""
        ...

    async def close(self) -> None:
        """Closes every connection."""
        ...
