"""95 % confidence intervals of one run's figures, over its requests.

They take a run's requests as independent draws. They say how well this run's sample fixes its own
figure, and nothing about what another run of the same spec would give: that takes repeated runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workbench.analysis.statistics import Samples

CONFIDENCE = 0.95
_TAIL = (1 - CONFIDENCE) / 2
_Z = 1.959964
_ENOUGH_FOR_NORMAL = 30
_REACH = 12.0


@dataclass(frozen=True, slots=True)
class Interval:
    """From `low` to `high`, in the unit of the figure."""

    low: float
    high: float

    def apart_from(self, other: Interval) -> bool:
        """Whether the two share no value."""
        return self.high < other.low or other.high < self.low


def percentile_interval(values: npt.ArrayLike, q: float) -> Interval | None:
    """The interval of the `q`-th percentile (0 to 100), from order statistics.

    The number of samples below the true percentile is binomial (n, q/100), whatever their
    distribution: the narrowest pair of ranks whose tails hold at most 2.5 % each (Conover,
    Practical Nonparametric Statistics, 3.2). None where a tail needs a rank beyond the samples:
    p50 takes 6 of them, p90 36, p99 368.
    """
    samples = np.sort(np.asarray(values, dtype=np.float64))
    ranks = _ranks(samples.size, q / 100)
    return None if ranks is None else Interval(*(float(samples[rank - 1]) for rank in ranks))


def mean_interval(values: npt.ArrayLike) -> Interval | None:
    """The interval of the mean of what can't be negative, such as a time.

    Normal on the logarithm of the mean: mean ×÷ exp(1.96 standard errors ÷ mean), by the delta
    method (Wasserman, All of Statistics, 9.9). So it stays above 0 and reaches further up than
    down, as latencies do; it holds the true mean of skewed samples at least as often as the
    percentile bootstrap does, at no cost. None under 30 samples, where it would be too narrow, and
    where a sample is negative.
    """
    samples: Samples = np.asarray(values, dtype=np.float64)
    if samples.size < _ENOUGH_FOR_NORMAL or samples.min() < 0:
        return None
    mean = float(samples.mean())
    if not mean:
        return Interval(0.0, 0.0)
    error = float(samples.std(ddof=1)) / math.sqrt(samples.size)
    factor = math.exp(_Z * error / mean)
    return Interval(mean / factor, mean * factor)


def share_interval(met: int, n: int) -> Interval | None:
    """The interval of a share of `n` requests, 0 to 1, by Wilson's score; None without requests."""
    if n <= 0:
        return None
    share, z2 = met / n, _Z * _Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low = 0.0 if met == 0 else max(0.0, middle - reach)
    high = 1.0 if met == n else min(1.0, middle + reach)
    return Interval(low, high)


def _ranks(n: int, share: float) -> tuple[int, int] | None:
    """Ranks from 1 that enclose the share's percentile; None where there are too few samples."""
    if n < 1 or not 0 < share < 1:
        return None
    first, below = _binomial_below(n, share)
    low = first + int(np.searchsorted(below, _TAIL, side="right"))
    high = first + 1 + int(np.searchsorted(below, 1 - _TAIL, side="left"))
    return (low, high) if low >= 1 and high <= n else None


def _binomial_below(n: int, share: float) -> tuple[int, Samples]:
    """A first count, and P(at most it), P(at most it + 1), …, of a binomial (n, share).

    Only counts within 12 standard deviations of the mean: the rest is nothing in float64.
    """
    reach = _REACH * math.sqrt(n * share * (1 - share)) + _REACH
    first, last = max(0, math.floor(n * share - reach)), min(n, math.ceil(n * share + reach))
    counts = np.arange(first, last, dtype=np.float64)
    odds = math.log(share) - math.log1p(-share)
    start = (
        math.lgamma(n + 1) - math.lgamma(first + 1) - math.lgamma(n - first + 1)
        + first * math.log(share) + (n - first) * math.log1p(-share)
    )  # fmt: skip
    rises = np.log((n - counts) / (counts + 1)) + odds
    logs = start + np.concatenate(([0.0], np.cumsum(rises)))
    return first, np.cumsum(np.exp(logs))
