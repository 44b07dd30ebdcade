"""Whether a series of a run was stationary: its trend and its change of level, tested on blocks
that are long enough to be about independent of each other."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from workbench.comparison.intervals import t_tail

Floats = npt.NDArray[np.float64]
Shape = Literal["trend", "step"]

LEAST_SAMPLES = 40
"""With fewer, nothing is said of a series."""

LEAST_SIZE = 0.1
"""A change of less than this share of the series' level is none that matters."""

_MOST_SAMPLES = 4096
_LEAST_BLOCKS, _MOST_BLOCKS = 12, 60
_LEAST_STEPS, _MOST_STEPS = 8, 20
_LEAST_PER_BLOCK = 5
_TIMES_PER_BLOCK = 2.0
_SELF_CONSISTENT = 5.0
_MOST_CORRELATED = 0.4


@dataclass(frozen=True, slots=True)
class Drift:
    """How a series moved.

    Attributes:
        shape: "trend" if a line fits it better than a step.
        before, after: the ends of the Theil-Sen line, or the levels on both sides of the step, in
            the unit of the series.
        at: where the step is, as an index into the series; its length of a trend.
        p: of no change at all, by the stronger of both tests.
    """

    shape: Shape
    before: float
    after: float
    at: int
    p: float


def drift(values: npt.ArrayLike, alpha: float) -> Drift | None:
    """How `values`, in order of time, moved; None if they did not, or if it can't be told.

    The samples' ranks are averaged over blocks of equal numbers of neighbours. On the blocks,
    trend is tested by Mann-Kendall (Mann 1945, Kendall 1975) and change of level by Pettitt (1979);
    the size of a trend is Theil and Sen's (Sen 1968), over the blocks' medians. Of more than 8,191
    samples, the medians of at least 4,096 groups of neighbours stand for them.

    A block is two correlation times long or longer: of the time by the lag-1 autocorrelation, as
    in an AR(1) process, and by the autocorrelations' sum up to five times itself (Sokal 1997), both
    of what is left of the samples' ranks when the better of a line and a step is taken out, the
    longer one. There are 12 to 60 blocks, of five samples or more; fewer if they still depend on
    each other (lag-1 autocorrelation r over 0.4, corrected for the bias of a short series). The
    variances of both tests are taken (1 + r) / (1 - r) times as large (Bayley and Hammersley 1946),
    as Hamed and Rao (1998) do.

    Where not even 12 blocks are about independent, the series is taken for a random walk, such as
    the wait in a queue that is never empty: the mean of its steps, between 8 to 20 blocks' medians,
    is tested by Student's t. Of a stationary series that finds even less than alpha says.

    Args:
        alpha: what the smallest p must fall short of.
    """
    samples = np.asarray(values, np.float64)
    if samples.size < LEAST_SAMPLES:
        return None
    group = max(1, samples.size // _MOST_SAMPLES)
    if group > 1:
        samples = _medians(samples, samples.size // group)
    found = _found(samples, alpha)
    return found if found is None else dataclasses.replace(found, at=found.at * group)


def _found(samples: Floats, alpha: float) -> Drift | None:
    shape: Shape = "trend"
    blocked = _blocks(_ranks(samples))
    if blocked is None:
        medians = _medians(samples, max(_LEAST_STEPS, min(_MOST_STEPS, samples.size // 5)))
        p, change = steps_around_zero(medians), 0
    else:
        blocks, inflation = blocked
        medians = _medians(samples, blocks.size)
        shape = _best_fit(_ranks(blocks))[1]
        change_p, change = pettitt(blocks, inflation)
        p = min(mann_kendall(blocks, inflation), change_p)
    if p >= alpha:
        return None
    if shape == "step":
        before, after = float(np.median(medians[:change])), float(np.median(medians[change:]))
        at = round(change * samples.size / medians.size)
    else:
        (before, after), at = _line(medians), samples.size
    matters = abs(after - before) >= LEAST_SIZE * float(np.mean(np.abs(medians))) > 0
    return Drift(shape, before, after, at, p) if matters else None


def mann_kendall(values: Floats, inflation: float = 1.0) -> float:
    """p of no trend, two-sided, by the normal approximation with its correction for continuity;
    `inflation` is how many times as large the variance is as that of independent values."""
    n = values.size
    above = np.sign(values[None, :] - values[:, None])
    score = abs(float(np.triu(above, 1).sum()))
    ties = np.unique(values, return_counts=True)[1]
    variance = (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    if score <= 1 or variance <= 0:
        return 1.0
    return math.erfc((score - 1) / math.sqrt(2 * variance * inflation))


def pettitt(values: Floats, inflation: float = 1.0) -> tuple[float, int]:
    """p of no change of level, and the index of the first value after the likeliest change."""
    n = values.size
    count = np.arange(1, n)
    score = np.abs(2 * np.cumsum(_ranks(values))[:-1] - count * (n + 1))
    at = int(score.argmax())
    p = 2 * math.exp(-6 * float(score[at]) ** 2 / ((n**3 + n**2) * inflation))
    return min(1.0, p), at + 1


def theil_sen(values: Floats) -> float:
    """The slope per value: the median of those between all pairs."""
    rows, columns = np.triu_indices(values.size, 1)
    return float(np.median((values[columns] - values[rows]) / (columns - rows)))


def steps_around_zero(values: Floats) -> float:
    """p of steps that are 0 on average, two-sided; 1 where all are equal to each other and 0."""
    steps = np.diff(values)
    error = float(steps.std(ddof=1)) / math.sqrt(steps.size)
    mean = abs(float(steps.mean()))
    if not error:
        return 0.0 if mean else 1.0
    return 2 * t_tail(mean / error, steps.size - 1)


def _line(medians: Floats) -> tuple[float, float]:
    slope = theil_sen(medians)
    last = medians.size - 1
    start = float(np.median(medians - slope * np.arange(last + 1)))
    # A line through a curve may leave the values' range, and latencies have none below 0.
    ends = np.clip((start, start + slope * last), medians.min(), medians.max())
    return float(ends[0]), float(ends[1])


def _blocks(ranks: Floats) -> tuple[Floats, float] | None:
    """Means of blocks, and how many times as large as that of independent ones their tests'
    variance is; None if no number of blocks will do."""
    n = ranks.size
    time = correlation_time(ranks)
    count = int(min(_MOST_BLOCKS, n / max(_LEAST_PER_BLOCK, _TIMES_PER_BLOCK * time)))
    while count >= _LEAST_BLOCKS:
        blocks = _cut(ranks, count).mean(axis=1)
        left = _lag_one(_best_fit(_ranks(blocks))[0])
        expected = 1 / max(2.0, 4 * (n // count) / (time + 1) - 2) if time > 1.2 else 0.0
        correlation = max(0.0, expected, left + (2 + 3 * max(left, 0.0)) / count)
        if correlation <= _MOST_CORRELATED:
            return blocks, (1 + correlation) / (1 - correlation)
        count = count * 3 // 4
    return None


def correlation_time(values: Floats) -> float:
    """Samples that tell as much as one independent sample, 1 or more, of what is left of the values
    when the better of a line and a step is taken out. See `drift`."""
    n = values.size
    left = _best_fit(values)[0]
    lag_one = _lag_one(left)
    lag_one = min(0.999, max(0.0, lag_one + 2 * (1 + 3 * lag_one) / n))
    as_ar = (1 + lag_one) / (1 - lag_one)
    spectrum = np.fft.rfft(left, 1 << (2 * n - 1).bit_length())
    covariance = np.fft.irfft((spectrum * spectrum.conj()).real)[: n // 2]
    if covariance[0] <= 0:
        return 1.0
    times = 2 * np.cumsum(covariance / covariance[0]) - 1
    enough = np.arange(times.size) >= _SELF_CONSISTENT * times
    summed = float(times[int(enough.argmax()) if enough.any() else -1])
    return max(1.0, as_ar, summed * (1 + 4 * summed / n))


def _best_fit(values: Floats) -> tuple[Floats, Shape]:
    """What a line or a step leaves of the values, whichever leaves less, and which it is."""
    n = values.size
    centred = values - values.mean()
    place = np.arange(n) - (n - 1) / 2
    line = centred - place * float(place @ centred) / float(place @ place)
    count = np.arange(1, n)
    gain = np.cumsum(centred)[:-1] ** 2 * n / (count * (n - count))
    edge = max(2, n // 12)
    at = edge + int(gain[edge - 1 : n - edge].argmax())
    step = centred.copy()
    step[:at] -= centred[:at].mean()
    step[at:] -= centred[at:].mean()
    return (line, "trend") if line @ line <= step @ step else (step, "step")


def _lag_one(values: Floats) -> float:
    centred = values - values.mean()
    squares = float(centred @ centred)
    return float(centred[1:] @ centred[:-1]) / squares if squares > 0 else 0.0


def _ranks(values: Floats) -> Floats:
    """From 1; equal values share their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2)[place]
    return ranks


def _medians(samples: Floats, count: int) -> Floats:
    medians: Floats = np.median(_cut(samples, count), axis=1)
    return medians


def _cut(values: Floats, count: int) -> Floats:
    """[count, n // count]; what is left over is left out, half of it at each end."""
    length = values.size // count
    first = (values.size - length * count) // 2
    return values[first : first + length * count].reshape(count, length)
