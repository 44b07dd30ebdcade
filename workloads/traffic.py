"""Traffic: what the runner pulls requests from, and tells of those that ended.

Nothing here reads a clock or sleeps. The runner asks at each step what is due, so a late step
makes requests late to the engine, and their `scheduled_ns` stays where the traffic wanted it.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Protocol

import numpy as np

from workloads.arrivals import ArrivalProcess, duration_ns
from workloads.draws import checked_seed
from workloads.errors import WorkloadError
from workloads.request import Request
from workloads.synthetic import RequestSource


class Traffic(Protocol):
    """Requests over time. All stamps are nanoseconds since the run's start.

    Ids count from 0 in the order of hand-out, which is the order of `scheduled_ns`. A request is
    built when it is handed out. The runner calls `finished` once for every request it was given,
    however that ended (ok, failed, cancelled, rejected): traffic that reacts to answers hangs
    on it, and the other kinds ignore it.
    """

    def due(self, now_ns: int) -> list[Request]:
        """Every request with `scheduled_ns` ≤ `now_ns` that was not yet handed out, in order."""
        ...

    def next_due_ns(self) -> int | None:
        """When the next request is due; `None` if none is known to come (yet, or ever)."""
        ...

    def finished(self, request_id: int, now_ns: int) -> None:
        """Request `request_id` ended at `now_ns`."""
        ...

    def stop(self) -> None:
        """No more arrivals: what was not handed out never will be."""
        ...

    @property
    def exhausted(self) -> bool:
        """Nothing more will ever be due, whatever finishes."""
        ...

    @property
    def offered(self) -> int:
        """Requests handed out so far."""
        ...

    @property
    def fitted(self) -> int:
        """Requests handed out so far that were shortened to fit the model's context."""
        ...

    @property
    def last_scheduled_ns(self) -> int | None:
        """`scheduled_ns` of the latest request handed out; `None` before the first."""
        ...


class _HandOut:
    """Numbers, builds and counts requests as they leave; shared by every kind of traffic here."""

    __slots__ = ("_fitted", "_last_scheduled_ns", "_offered", "_source")

    def __init__(self, source: RequestSource) -> None:
        self._source = source
        self._offered = 0
        self._fitted = 0
        self._last_scheduled_ns: int | None = None

    @property
    def offered(self) -> int:
        return self._offered

    @property
    def fitted(self) -> int:
        return self._fitted

    @property
    def last_scheduled_ns(self) -> int | None:
        return self._last_scheduled_ns

    def _hand_out(self, scheduled_ns: int) -> Request:
        request = self._source.build(self._offered, scheduled_ns)
        self._offered += 1
        self._fitted += request.fitted
        self._last_scheduled_ns = scheduled_ns
        return request


class OpenLoop(_HandOut):
    """Arrivals of a process at a mean rate, whatever the engine does: `Traffic`.

    Args:
        source: what each request asks.
        arrivals: when they come.
        rate_per_s: mean requests per second.
        duration_s: every arrival is before this many seconds.
        seed: of the arrival times; the source has its own, which may be the same number.

    Raises `WorkloadError` for a rate or duration that is not finite and positive, and for a bad
    seed. A low rate may plan no arrival at all: then it is exhausted from the start.
    """

    __slots__ = ("_next", "_next_ns", "_times_ns")

    def __init__(
        self,
        source: RequestSource,
        arrivals: ArrivalProcess,
        *,
        rate_per_s: float,
        duration_s: float,
        seed: int = 0,
    ) -> None:
        super().__init__(source)
        rng = np.random.default_rng(checked_seed(seed))
        self._times_ns = arrivals.times_ns(rate_per_s, duration_s, rng)
        self._next = 0
        self._next_ns = self._peek()

    @property
    def planned(self) -> int:
        """Requests that the whole duration holds (fewer after `stop`)."""
        return len(self._times_ns)

    def due(self, now_ns: int) -> list[Request]:
        """See `Traffic`."""
        requests = []
        while self._next_ns is not None and self._next_ns <= now_ns:
            requests.append(self._hand_out(self._next_ns))
            self._next += 1
            self._next_ns = self._peek()
        return requests

    def next_due_ns(self) -> int | None:
        """See `Traffic`."""
        return self._next_ns

    def finished(self, request_id: int, now_ns: int) -> None:
        """Open-loop traffic doesn't wait for answers: nothing happens."""

    def stop(self) -> None:
        """See `Traffic`."""
        self._times_ns = self._times_ns[: self._next]
        self._next_ns = None

    @property
    def exhausted(self) -> bool:
        """See `Traffic`."""
        return self._next_ns is None

    def _peek(self) -> int | None:
        # A Python int once per arrival: the runner compares it at every step.
        return int(self._times_ns[self._next]) if self._next < len(self._times_ns) else None


class ClosedLoop(_HandOut):
    """A fixed number of users, each sending the next request when the last has ended: `Traffic`.

    `concurrency` requests are scheduled at 0. When one ends, its slot's next request is scheduled
    at that very moment, unless that is at or after `duration_s`.

    Raises `WorkloadError` for a concurrency under 1 and for a duration that is not finite and
    positive.
    """

    __slots__ = ("_end_ns", "_pending_ns", "_running", "_stopped")

    def __init__(self, source: RequestSource, *, concurrency: int, duration_s: float) -> None:
        super().__init__(source)
        if concurrency < 1:
            raise WorkloadError(f"concurrency is {concurrency}: give a whole number from 1 up")
        self._end_ns = duration_ns(duration_s)
        self._pending_ns = [0] * concurrency
        self._running: set[int] = set()
        self._stopped = False

    def due(self, now_ns: int) -> list[Request]:
        """See `Traffic`."""
        requests = []
        while self._pending_ns and self._pending_ns[0] <= now_ns:
            request = self._hand_out(heappop(self._pending_ns))
            self._running.add(request.request_id)
            requests.append(request)
        return requests

    def next_due_ns(self) -> int | None:
        """See `Traffic`; `None` while every slot waits for its answer."""
        return self._pending_ns[0] if self._pending_ns else None

    def finished(self, request_id: int, now_ns: int) -> None:
        """Frees the request's slot at `now_ns`.

        Raises `KeyError` for a request that is not out (never handed out, or ended before): a
        slot freed twice would raise the concurrency unseen.
        """
        self._running.remove(request_id)
        if not self._stopped and now_ns < self._end_ns:
            heappush(self._pending_ns, now_ns)

    def stop(self) -> None:
        """See `Traffic`."""
        self._stopped = True
        self._pending_ns.clear()

    @property
    def exhausted(self) -> bool:
        """See `Traffic`; false while an answer is out that may still free a slot in time."""
        return not self._pending_ns and (self._stopped or not self._running)
