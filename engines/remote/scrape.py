"""Reads the server's own /metrics from time to time, in the engine's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from engines.base import Clock
from engines.remote.server_metrics import SERVER_COLUMNS, VALUE_COLUMNS, read_server_metrics
from engines.remote.transport import Call, Outgoing, Transport

_TIMEOUT_S = 5.0
_LONGEST_PAGE = 32 << 20


class Scraper:
    """Polls /metrics and keeps the samples until they are drained.

    It stops for good, and `state` says why, when the first page shows that there is nothing to
    read. A later page that fails is a sample that is missing.
    """

    def __init__(
        self, transport: Transport, clock: Clock, loop: asyncio.AbstractEventLoop, period_s: float
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._loop = loop
        self._period_s = period_s
        self._page: _Page | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rows: list[tuple[float, ...]] = []
        self._times_ns: list[int] = []
        self.state = "not read" if period_s else "not read: the period is 0"
        self.failed = 0

    def start(self) -> None:
        """The first read, at the loop's next turn."""
        if self._period_s:
            self._timer = self._loop.call_soon(self._poll)  # type: ignore[assignment]

    def _poll(self) -> None:
        if self._page is not None:
            self._page.give_up(f"no answer in {max(self._period_s, _TIMEOUT_S):g} s")
        self._page = page = _Page(self)
        page.call = self._transport.send(Outgoing("GET", "/metrics"), page)
        self._timer = self._loop.call_later(max(self._period_s, 0.01), self._next)

    def _next(self) -> None:
        """The next read, unless the last is under way and not overdue."""
        page = self._page
        if page is not None and self._clock() - page.begun_ns < _TIMEOUT_S * 1e9:
            self._timer = self._loop.call_later(self._period_s, self._next)
        else:
            self._poll()

    def over(self, page: _Page, problem: str) -> None:
        """A page was read, or could not be."""
        if page is not self._page:
            return
        self._page = None
        values = {} if problem else read_server_metrics(page.text())
        if values:
            self._times_ns.append(page.begun_ns)
            self._rows.append(tuple(values[name] for name in VALUE_COLUMNS))
            self.state = "read"
            return
        self.failed += 1
        if self.state != "read":
            what = problem or "no family of vllm:, sglang: or workbench: there"
            self.state = f"not read: {what}"
            self.stop()

    def stop(self) -> None:
        """Reads no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._page is not None and self._page.call is not None:
            self._page.call.abandon()
        self._page = None

    def now_ns(self) -> int:
        return self._clock()

    def drain(self) -> dict[str, npt.NDArray[np.generic]]:
        """The samples since the last call, by `SERVER_COLUMNS`."""
        columns: dict[str, npt.NDArray[np.generic]] = {
            SERVER_COLUMNS[0]: np.array(self._times_ns, np.int64)
        }
        values = np.array(self._rows, np.float64).reshape(len(self._rows), len(VALUE_COLUMNS))
        columns |= {name: values[:, index] for index, name in enumerate(VALUE_COLUMNS)}
        self._times_ns, self._rows = [], []
        return columns


class _Page:
    """One read of /metrics; a `Sink`."""

    def __init__(self, scraper: Scraper) -> None:
        self._scraper = scraper
        self._status = 0
        self._parts: list[bytes] = []
        self._size = 0
        self.begun_ns = scraper.now_ns()
        self.call: Call | None = None

    def text(self) -> str:
        return b"".join(self._parts).decode("utf-8", "replace")

    def sent(self, now_ns: int) -> None: ...

    def resent(self, now_ns: int) -> None: ...

    def answered(self, status: int, headers: Mapping[str, str], now_ns: int) -> None:
        self._status = status

    def received(self, data: bytes, now_ns: int) -> None:
        self._size += len(data)
        if self._size <= _LONGEST_PAGE:
            self._parts.append(data)

    def ended(self, now_ns: int) -> None:
        problem = "" if self._status == 200 else f"/metrics answers HTTP {self._status}"
        self._scraper.over(self, problem)

    def broke(self, reason: str, now_ns: int) -> None:
        self._scraper.over(self, reason)

    def give_up(self, reason: str) -> None:
        """It took too long."""
        if self.call is not None:
            self.call.abandon()
        self._scraper.over(self, reason)
