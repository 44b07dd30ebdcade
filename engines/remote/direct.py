"""HTTP/1.1 over asyncio's own transports, with llhttp: several times as fast as httpx's pool.

Connections are kept alive and taken by whichever request waits longest:

    send ──► an idle connection? ──yes──► written at once
                    │ no
                    ▼
               the queue ◄── a connection that became free or was opened takes its head
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections import deque
from typing import cast

import httptools

from engines.base import Clock
from engines.remote.address import Address
from engines.remote.transport import Outgoing, Sink

CLOSED = "the server closed the connection"


def why_no_connection(error: BaseException, connect_s: float) -> str:
    """In words, why a connection could not be opened."""
    if isinstance(error, TimeoutError):
        return f"connect timeout: no connection in {connect_s:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: nothing listens there"
    if isinstance(error, socket.gaierror):
        return "the host's name is not known"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is refused: {error.verify_message.rstrip('.')}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    return f"connect failed: {getattr(error, 'strerror', None) or error}"


def tls_context() -> ssl.SSLContext:
    """Trusts whom OpenSSL trusts: the files that SSL_CERT_FILE and SSL_CERT_DIR name, or else the
    system's; where there are none, those that come with httpx."""
    context = ssl.create_default_context()
    named = any(os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    if not named and not context.cert_store_stats()["x509_ca"]:
        import httpx

        return httpx.create_ssl_context(trust_env=False)
    return context


def raise_in_loop(task: asyncio.Task[None]) -> None:
    """Hands what a finished task raised to its loop's exception handler."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        task.get_loop().call_exception_handler({"message": str(error), "exception": error})


class DirectTransport:
    """A pool of HTTP/1.1 connections to one server."""

    def __init__(
        self,
        address: Address,
        headers: dict[str, str],
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        connect_s: float,
        max_connections: int,
    ) -> None:
        self.clock = clock
        self.loop = loop
        self._address = address
        self._connect_s = connect_s
        self._most = max_connections
        lines = {"host": address.authority, "accept-encoding": "identity", **headers}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._tls = tls_context() if address.scheme == "https" else None
        self._queue: deque[DirectCall] = deque()
        self._idle: list[Connection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._open: set[Connection] = set()
        self.opened = self.reused = self.resent = 0

    def send(self, outgoing: Outgoing, sink: Sink) -> DirectCall:
        head = f"{outgoing.method} {outgoing.path} HTTP/1.1\r\n{self._headers}"
        if outgoing.body:
            head += f"content-type: application/json\r\ncontent-length: {len(outgoing.body)}\r\n"
        call = DirectCall(self, sink, head.encode("latin-1") + b"\r\n" + outgoing.body)
        self.enqueue(call)
        return call

    def enqueue(self, call: DirectCall, fresh: bool = False) -> None:
        """Gives the call a connection: an idle one, unless it is to be `fresh`."""
        while self._idle and not fresh:
            connection = self._idle.pop()
            if connection.usable:
                self.reused += 1
                connection.begin(call)
                return
        if fresh:
            for connection in self._idle:
                connection.drop()  # all as old as the one that was stale
            self._idle.clear()
            self._queue.appendleft(call)
        else:
            self._queue.append(call)
        self._open_more()

    def _open_more(self) -> None:
        """Opens as many connections as calls wait for, within the limit."""
        while len(self._opening) < len(self._queue) and (
            len(self._open) + len(self._opening) < self._most
        ):
            task = self.loop.create_task(self._connect())
            self._opening.add(task)
            task.add_done_callback(self._connected)

    async def _connect(self) -> None:
        address = self._address
        try:
            async with asyncio.timeout(self._connect_s):
                _, connection = await self.loop.create_connection(
                    lambda: Connection(self), address.host, address.port, ssl=self._tls
                )
        except OSError as error:
            self._no_connection(why_no_connection(error, self._connect_s))
        else:
            if not connection.usable:
                self._no_connection(CLOSED)
                return
            self.opened += 1
            self._open.add(connection)
            self.free(connection)

    def _connected(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        raise_in_loop(task)
        self._open_more()

    def _no_connection(self, reason: str) -> None:
        if self._queue:
            self._queue.popleft().broke(reason)

    def free(self, connection: Connection) -> None:
        """A connection that can take a call."""
        if self._queue:
            connection.begin(self._queue.popleft())
        else:
            self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        """A connection that is gone."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._open_more()

    def forget(self, call: DirectCall) -> None:
        """A call that was abandoned before it had a connection."""
        if call in self._queue:
            self._queue.remove(call)

    def describe(self) -> dict[str, object]:
        return {
            "http_client": "direct",
            "connections_opened": self.opened,
            "connections_reused": self.reused,
            "resent_on_stale_connection": self.resent,
        }

    async def close(self) -> None:
        tasks = list(self._opening)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in list(self._open):
            connection.drop()
        await asyncio.sleep(0)  # the transports close their sockets in the loop's next turn


class DirectCall:
    """One request, from the queue to the end of its answer."""

    __slots__ = ("connection", "content", "pool", "resent", "sink")

    def __init__(self, pool: DirectTransport, sink: Sink, content: bytes) -> None:
        self.pool = pool
        self.sink = sink
        self.content = content
        self.connection: Connection | None = None
        self.resent = False

    def abandon(self) -> None:
        if self.connection is None:
            self.pool.forget(self)
        else:
            self.connection.drop()

    def broke(self, reason: str) -> None:
        self.sink.broke(reason, self.pool.clock())


class Connection(asyncio.Protocol):
    """One connection; answers one call at a time. The parser calls the `on_` methods."""

    def __init__(self, pool: DirectTransport) -> None:
        self._pool = pool
        self._call: DirectCall | None = None
        self._served = 0
        self._now_ns = 0
        self._answered = self._framed = self._whole = self._keep_alive = False
        self._new_parser()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    @property
    def usable(self) -> bool:
        return not self._transport.is_closing()

    def begin(self, call: DirectCall) -> None:
        """Sends the call's request."""
        self._call = call
        call.connection = self
        self._answered = self._framed = self._whole = False
        self._transport.write(call.content)
        call.sink.sent(self._pool.clock())

    def drop(self) -> None:
        """Closes it at once, without a word to the sink."""
        self._call = None
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):  # the other side was first
                sock.shutdown(socket.SHUT_RDWR)  # `abort` alone waits for the loop's next turn
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        call = self._call
        if call is None:
            self.drop()  # nothing was asked
            return
        self._now_ns = self._pool.clock()
        self._answered = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._call is call:
                self._broke(f"the answer is not HTTP: {error}")
            return
        if self._whole and self._call is call:
            self._finish()

    def eof_received(self) -> None:
        """The transport closes itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.lost(self)
        call = self._call
        if call is None:
            return
        self._call = None
        if self._answered and not self._framed and self._head_complete:
            call.sink.ended(self._pool.clock())  # a body that the connection's end delimits
        elif not self._answered and self._served and not call.resent:
            call.resent = True
            call.connection = None
            self._pool.resent += 1
            call.sink.resent(self._pool.clock())
            self._pool.enqueue(call, fresh=True)
        else:
            call.broke(CLOSED)

    def _finish(self) -> None:
        call, self._call = self._call, None
        assert call is not None
        self._served += 1
        call.connection = None
        if self._keep_alive and self.usable:
            self._new_parser()
            self._pool.free(self)
        else:
            self._transport.abort()
        call.sink.ended(self._now_ns)

    def _broke(self, reason: str) -> None:
        call, self._call = self._call, None
        self._transport.abort()
        if call is not None:
            call.broke(reason)

    def _new_parser(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._head: dict[str, str] = {}
        self._head_complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200 or self._call is None:
            return
        head, self._head_complete = self._head, True
        self._framed = "content-length" in head or "transfer-encoding" in head
        self._call.sink.answered(status, head, self._now_ns)

    def on_body(self, data: bytes) -> None:
        if self._call is not None:
            self._call.sink.received(data, self._now_ns)

    def on_message_complete(self) -> None:
        if self._head_complete:
            self._whole = True
            self._keep_alive = self._parser.should_keep_alive()  # it forgets when this returns
        else:
            self._head = {}  # an interim answer, such as 100 Continue
