"""Numpy columns that grow, and ones that forget: what a live screen keeps of a run."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.analysis.statistics import percentiles

Ints = npt.NDArray[np.int64]

_RECOMPUTE_GROWTH = 1.01
_ALWAYS_RECOMPUTE_BELOW = 50_000


class ById:
    """One value per request id, int64 or bool as `unknown` is; ids are small and dense."""

    def __init__(self, unknown: int | bool) -> None:
        self._unknown = unknown
        self._values: npt.NDArray[Any] = np.full(1024, unknown)

    def reach(self, ids: Ints) -> npt.NDArray[Any]:
        """The array, long enough to be indexed by `ids`."""
        needed = int(ids.max()) + 1 if ids.size else 0
        if needed > self._values.size:
            grown = np.full(max(needed, 2 * self._values.size), self._unknown)
            grown[: self._values.size] = self._values
            self._values = grown
        return self._values


class Samples:
    """Every sample so far in one flat array, with percentiles that are cheap to ask again."""

    def __init__(self) -> None:
        self._values = np.empty(1024)
        self.n = 0
        self._known: dict[float, float | None] = {}
        self._known_n = -1

    def add(self, values: npt.NDArray[np.float64]) -> None:
        end = self.n + values.size
        if end > self._values.size:
            self._values = np.resize(self._values, max(end, 2 * self._values.size))
        self._values[self.n : end] = values
        self.n = end

    def percentiles(self, qs: tuple[float, ...]) -> tuple[float | None, ...]:
        """The `qs`-th percentiles; past 50,000 samples, of all but the latest 1 % of them."""
        grown = self.n > _RECOMPUTE_GROWTH * self._known_n or self.n < _ALWAYS_RECOMPUTE_BELOW
        if (grown and self.n != self._known_n) or any(q not in self._known for q in qs):
            self._known = dict(zip(qs, percentiles(self._values[: self.n], qs), strict=True))
            self._known_n = self.n
        return tuple(self._known[q] for q in qs)


class Recent:
    """Stamped rows of the last `span_ns`; older ones are forgotten by the chunk."""

    def __init__(self, span_ns: int) -> None:
        self._span_ns = span_ns
        self._chunks: deque[tuple[Ints, npt.NDArray[Any]]] = deque()

    def add(self, times_ns: Ints, values: npt.NDArray[Any]) -> None:
        if times_ns.size:
            self._chunks.append((times_ns, values))

    def since(self, now_ns: int) -> npt.NDArray[Any]:
        """Values with stamps in (now - span, now], in the order in which they came."""
        self.forget_before(now_ns)
        first_ns = now_ns - self._span_ns
        kept = [
            values[(times_ns > first_ns) & (times_ns <= now_ns)]
            for times_ns, values in self._chunks
        ]
        return np.concatenate(kept) if kept else np.empty(0)

    def forget_before(self, now_ns: int) -> None:
        """Lets go of chunks that lie before (now - span, now]: memory is bounded by the span."""
        while self._chunks and self._chunks[0][0].max() <= now_ns - self._span_ns:
            self._chunks.popleft()
