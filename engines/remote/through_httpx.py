"""The same requests through httpx: HTTP/2, proxies, and a second opinion on our own transport."""

from __future__ import annotations

import asyncio
import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from engines.base import Clock
from engines.remote.address import Address
from engines.remote.direct import CLOSED, raise_in_loop, tls_context, why_no_connection
from engines.remote.transport import Outgoing, Sink


class HttpxTransport:
    """An `httpx.AsyncClient` whose every request tells a sink."""

    def __init__(
        self,
        address: Address,
        headers: dict[str, str],
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        connect_s: float,
        max_connections: int,
        http2: bool,
        trust_env: bool,
        over: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`over` carries the requests in place of httpx's own transports, for tests."""
        self._root = address.root
        self._clock = clock
        self._loop = loop
        self._connect_s = connect_s
        self._http2 = http2
        self._client = httpx.AsyncClient(
            http2=http2,
            headers={"accept-encoding": "identity", **headers},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            limits=httpx.Limits(
                max_connections=max_connections, max_keepalive_connections=max_connections
            ),
            timeout=httpx.Timeout(None, connect=connect_s),
            verify=tls_context(),  # httpx's own looks at the environment only with `trust_env`
            trust_env=trust_env,
            transport=over,
        )
        self._versions: set[str] = set()
        self._calls: set[HttpxCall] = set()

    def send(self, outgoing: Outgoing, sink: Sink) -> HttpxCall:
        call = HttpxCall(sink)
        call.task = self._loop.create_task(self._exchange(outgoing, call))
        call.task.add_done_callback(raise_in_loop)
        self._calls.add(call)
        return call

    async def _exchange(self, outgoing: Outgoing, call: HttpxCall) -> None:
        sink, clock = call.sink, self._clock

        async def trace(name: str, _: object) -> None:
            if name == "http2.send_request_headers.started":
                call.drains = True
            if name.endswith("send_request_body.complete") and not call.abandoned:
                sink.sent(clock())

        reason = ""
        try:
            async with self._client.stream(
                outgoing.method,
                self._root + outgoing.path,
                content=outgoing.body or None,
                headers={"content-type": "application/json"} if outgoing.body else None,
                extensions={"trace": trace},
            ) as answer:
                self._versions.add(answer.http_version)
                headers = {name.lower(): value for name, value in answer.headers.items()}
                if not call.abandoned:
                    sink.answered(answer.status_code, headers, clock())
                async for data in answer.aiter_raw():
                    if not call.abandoned:
                        sink.received(data, clock())
        except httpx.TimeoutException:
            reason = why_no_connection(TimeoutError(), self._connect_s)
        except httpx.ConnectError as error:
            reason = why_no_connection(cause_of(error), self._connect_s)
        except (httpx.ReadError, httpx.WriteError, httpx.CloseError):
            reason = CLOSED
        except httpx.RemoteProtocolError as error:
            gone = "closed" in str(error) or "disconnected" in str(error)
            reason = CLOSED if gone else f"the answer is not HTTP: {error}"
        except httpx.HTTPError as error:
            reason = f"{type(error).__name__}: {error}"
        finally:
            self._calls.discard(call)
        if call.abandoned:
            return
        if reason:
            sink.broke(reason, clock())
        else:
            sink.ended(clock())

    def describe(self) -> dict[str, object]:
        return {
            "http_client": "httpx",
            "http2": self._http2,
            "http_versions": sorted(self._versions),
        }

    async def close(self) -> None:
        tasks = [call.task for call in self._calls if call.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()


class HttpxCall:
    """A task that goes through one exchange.

    `drains`: it is a stream of HTTP/2. httpcore leaves such a stream without resetting it, and
    what comes for it is never acknowledged, until the connection, and all requests on it, stall.
    So the answer is read on when it is abandoned, and the server is not told.
    """

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.task: asyncio.Task[None] | None = None
        self.abandoned = self.drains = False

    def abandon(self) -> None:
        self.abandoned = True
        if self.task is not None and not self.drains:
            self.task.cancel()


def cause_of(error: BaseException) -> BaseException:
    """The system's error under httpx's, httpcore's and anyio's."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError) or (
            isinstance(seen, OSError) and not isinstance(seen, httpx.HTTPError)
        ):
            return seen
        if isinstance(seen, BaseExceptionGroup):
            seen = seen.exceptions[0]
        else:
            seen = seen.__cause__ or seen.__context__
    return error
