"""Traffic: what the runner pulls requests from, and tells of those that ended.

Nothing here reads a clock or sleeps. The runner asks at each step what is due, so a late step
makes requests late to the engine, and their `scheduled_ns` stays where the traffic wanted it.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Protocol

import numpy as np
import numpy.typing as npt

from workloads.arrivals import ArrivalProcess, duration_ns
from workloads.draws import checked_seed
from workloads.errors import WorkloadError
from workloads.request import Ended, Request
from workloads.synthetic import RequestSource
from workloads.thinking import ThinkTime


class Traffic(Protocol):
    """Requests over time. All stamps are nanoseconds since the run's start.

    Requests are handed out in the order of `scheduled_ns`, and built then. The runner calls
    `finished` once for every request it was given, however that ended (ok, failed, cancelled,
    rejected): traffic that reacts to answers hangs on it, and the other kinds ignore it.
    """

    def due(self, now_ns: int) -> list[Request]:
        """Every request with `scheduled_ns` ≤ `now_ns` that was not yet handed out, in order."""
        ...

    def next_due_ns(self) -> int | None:
        """When the next request is due; `None` if none is known to come (yet, or ever)."""
        ...

    def finished(self, ended: Ended) -> None:
        """A request ended."""
        ...

    def stop(self) -> None:
        """No more arrivals: what was not handed out never will be."""
        ...

    @property
    def exhausted(self) -> bool:
        """Nothing more will ever be due, whatever finishes."""
        ...

    @property
    def needs_answers(self) -> bool:
        """Whether `finished` must be given the tokens of the answer."""
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


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` equal parts of a traffic, for load from several processes.

    Open-loop arrival number i belongs to shard i mod count, a closed loop's slots are dealt out,
    and ids never meet: shard `index` has index, index + count, …
    """

    index: int = 0
    count: int = 1

    def share_of(self, things: int) -> int:
        """How many of `things` things this shard gets."""
        return things // self.count + (self.index < things % self.count)


WHOLE = Shard()


class _HandOut:
    """Numbers, builds and counts requests as they leave; shared by the kinds of traffic here."""

    __slots__ = ("_fitted", "_last_scheduled_ns", "_offered", "_shard", "_source")

    needs_answers = False

    def __init__(self, source: RequestSource, shard: Shard) -> None:
        self._source = source
        self._shard = shard
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
        request_id = self._shard.index + self._shard.count * self._offered
        request = self._source.build(request_id, scheduled_ns)
        self._offered += 1
        self._fitted += request.fitted
        self._last_scheduled_ns = scheduled_ns
        return request


class OpenLoop(_HandOut):
    """Arrivals at stamps that are known ahead, whatever the engine does: `Traffic`.

    Args:
        source: what each request asks.
        times_ns: int64 `[n]`, ascending nanoseconds since the run's start: of an arrival process
            (`at_rate`) or of a trace. There may be none: then it is exhausted from the start.
    """

    __slots__ = ("_next", "_next_ns", "_times_ns")

    def __init__(
        self, source: RequestSource, times_ns: npt.NDArray[np.int64], shard: Shard = WHOLE
    ) -> None:
        super().__init__(source, shard)
        self._times_ns = times_ns[shard.index :: shard.count]
        self._next = 0
        self._next_ns = self._peek()

    @classmethod
    def at_rate(
        cls,
        source: RequestSource,
        arrivals: ArrivalProcess,
        *,
        rate_per_s: float,
        duration_s: float,
        seed: int = 0,
        shard: Shard = WHOLE,
    ) -> OpenLoop:
        """Arrivals of a process at a mean rate of requests per second, all before `duration_s`.

        `seed` is of the arrival times; the source has its own, which may be the same number.
        Raises `WorkloadError` for a rate or duration that is not finite and positive, and for a
        bad seed. A low rate may plan no arrival at all.
        """
        rng = np.random.default_rng(checked_seed(seed))
        return cls(source, arrivals.times_ns(rate_per_s, duration_s, rng), shard)

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

    def finished(self, ended: Ended) -> None:
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
    at that very moment, or after the user's `think` time, unless that is at or after `duration_s`
    or `most` requests were handed out.

    Raises `WorkloadError` for a concurrency under 1 and for a duration that is not finite and
    positive.
    """

    __slots__ = ("_end_ns", "_left", "_pending_ns", "_running", "_stopped", "_think")

    def __init__(
        self,
        source: RequestSource,
        *,
        concurrency: int,
        duration_s: float,
        think: ThinkTime | None = None,
        most: int | None = None,
        shard: Shard = WHOLE,
    ) -> None:
        super().__init__(source, shard)
        if concurrency < 1:
            raise WorkloadError(f"concurrency is {concurrency}: give a whole number from 1 up")
        self._end_ns = duration_ns(duration_s)
        slots = shard.share_of(concurrency)
        self._left = None if most is None else shard.share_of(most)
        self._pending_ns = [0] * (slots if self._left is None else min(slots, self._left))
        self._think = think
        self._running: set[int] = set()
        self._stopped = False

    def due(self, now_ns: int) -> list[Request]:
        """See `Traffic`."""
        requests = []
        while self._pending_ns and self._pending_ns[0] <= now_ns:
            request = self._hand_out(heappop(self._pending_ns))
            self._running.add(request.request_id)
            requests.append(request)
            if self._left is not None:
                self._left -= 1
        return requests

    def next_due_ns(self) -> int | None:
        """See `Traffic`; `None` while every slot waits for its answer."""
        return self._pending_ns[0] if self._pending_ns else None

    def finished(self, ended: Ended) -> None:
        """Frees the request's slot.

        Raises `KeyError` for a request that is not out (never handed out, or ended before): a
        slot freed twice would raise the concurrency unseen.
        """
        self._running.remove(ended.request_id)
        think_ns = self._think.after_ns(ended.request_id) if self._think is not None else 0
        due_ns = ended.time_ns + think_ns
        wanted = self._left is None or len(self._pending_ns) < self._left
        if wanted and not self._stopped and due_ns < self._end_ns:
            heappush(self._pending_ns, due_ns)

    def stop(self) -> None:
        """See `Traffic`."""
        self._stopped = True
        self._pending_ns.clear()

    @property
    def exhausted(self) -> bool:
        """See `Traffic`; false while an answer is out that may still free a slot in time."""
        ended = self._stopped or self._left == 0 or not self._running
        return not self._pending_ns and ended
