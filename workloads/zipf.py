"""Zipf's law: a few of many things are asked for most of the time."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from workloads.errors import WorkloadError

MAX_ITEMS: Final = 10_000_000


class Zipf:
    """Ranks 0 to `count` − 1, rank r with a probability in proportion to 1/(r + 1)**exponent.

    Exponent 0 makes all equally likely. Breslau et al. (INFOCOM 1999) find 0.64 to 0.83 for pages
    of the web. Exact: a table of the cumulative probabilities, 8 bytes a rank.

    Raises `WorkloadError` for a count outside 1 to `MAX_ITEMS` and for an exponent that is not
    finite and from 0 up.
    """

    __slots__ = ("_cumulative", "count", "exponent")

    def __init__(self, count: int, exponent: float) -> None:
        if not 1 <= count <= MAX_ITEMS:
            raise WorkloadError(f"Zipf over {count} things: give a number from 1 to {MAX_ITEMS:,}")
        if not (math.isfinite(exponent) and exponent >= 0):
            raise WorkloadError(f"Zipf exponent is {exponent}: give a number from 0 up")
        self.count = count
        self.exponent = exponent
        weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
        self._cumulative = np.cumsum(weights) / weights.sum()
        # Rounding may leave the last just below 1, and a draw above it would have no rank.
        self._cumulative[-1] = 1.0

    def quantile(self, u: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Ranks at the cumulative probabilities `u` (strictly between 0 and 1), in its shape."""
        return np.searchsorted(self._cumulative, np.asarray(u, dtype=np.float64)).astype(np.int64)

    def probabilities(self) -> npt.NDArray[np.float64]:
        """The probability of each rank, float64 `[count]`."""
        return np.diff(self._cumulative, prepend=0.0)
