"""A run's time in intervals that stay where they are: multiples of a round width, so that a chart
does not shimmer while time passes."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from workbench.viewing.growing import Floats, Ints

_RADIX_SPAN = 1 << 16


def round_width_ns(length_s: float, columns: int) -> int:
    """The least of 1, 2, 5, 10, … ms of which `columns` cover `length_s`, in ns."""
    wanted_ms = max(1.0, 1000 * length_s / max(1, columns))
    power = 10 ** math.floor(math.log10(wanted_ms))
    for factor in (1, 2, 5, 10):
        if factor * power >= wanted_ms * (1 - 1e-9):
            return int(factor * power) * 1_000_000
    raise AssertionError("10 is more than any first figure")


def percentiles_by_interval(
    intervals: Ints, samples: Floats, qs: tuple[float, ...]
) -> tuple[Ints, tuple[Floats, ...]]:
    """The intervals that hold samples, and the `qs`-th percentiles of each one's samples.

    By linear interpolation over raw samples, as `analysis.statistics.percentiles`. NaN is left
    out.
    """
    known = ~np.isnan(samples)
    intervals, samples = intervals[known], samples[known]
    if not samples.size:
        return np.empty(0, np.int64), tuple(np.empty(0) for _ in qs)
    by_value = np.argsort(samples)
    order = by_value[_stable_order(intervals[by_value])]
    intervals, samples = intervals[order], samples[order]
    starts = np.flatnonzero(np.append(True, intervals[1:] != intervals[:-1]))
    sizes = np.diff(np.append(starts, samples.size))
    return intervals[starts], tuple(_quantile(samples, starts, sizes, q / 100) for q in qs)


def _quantile(samples: Floats, starts: Ints, sizes: Ints, share: float) -> Floats:
    place = share * (sizes - 1)
    below = place.astype(np.int64)
    above = np.minimum(below + 1, sizes - 1)
    low, high = samples[starts + below], samples[starts + above]
    result: Floats = low + (high - low) * (place - below)
    return result


def _stable_order(intervals: Ints) -> npt.NDArray[np.intp]:
    """numpy sorts 16-bit numbers by radix."""
    low = intervals.min()
    if intervals.max() - low < _RADIX_SPAN:
        return np.argsort((intervals - low).astype(np.uint16), kind="stable")
    return np.argsort(intervals, kind="stable")
