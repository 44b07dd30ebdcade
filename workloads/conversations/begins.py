"""When sessions begin."""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np
import numpy.typing as npt


class Stamps:
    """At stamps that are known ahead: int64 `[n]`, ascending nanoseconds."""

    __slots__ = ("_next", "_times_ns")

    frees = False
    """Whether the end of a session may begin another."""

    def __init__(self, times_ns: npt.NDArray[np.int64]) -> None:
        self._times_ns = times_ns
        self._next = 0

    def next_ns(self) -> int | None:
        """When the next session begins; None if none is known to."""
        return int(self._times_ns[self._next]) if self._next < len(self._times_ns) else None

    def take(self) -> None:
        """The next session begins."""
        self._next += 1

    def free(self, time_ns: int) -> None:
        """A session has ended: others begin when they do."""

    def stop(self) -> None:
        """No session begins any more."""
        self._times_ns = self._times_ns[: self._next]


class Slots:
    """`count` at 0, and one more whenever one has ended, but none at or after `end_ns`."""

    __slots__ = ("_end_ns", "_free_ns")

    frees = True

    def __init__(self, count: int, end_ns: int) -> None:
        self._free_ns = [0] * count
        self._end_ns = end_ns

    def next_ns(self) -> int | None:
        """When the next session begins; None if none is known to."""
        return self._free_ns[0] if self._free_ns else None

    def take(self) -> None:
        """The next session begins."""
        heappop(self._free_ns)

    def free(self, time_ns: int) -> None:
        """A session has ended, and the slot's next begins."""
        if time_ns < self._end_ns:
            heappush(self._free_ns, time_ns)

    def stop(self) -> None:
        """No session begins any more."""
        self._free_ns.clear()
        self._end_ns = 0
