"""Distributions as GuideLLM 0.8 writes them: of values, of rates and of concurrency over time.

The definitions are GuideLLM's: percentiles are samples, the first at which the cumulated weight
reaches the percentile; rates and concurrency are weighted by how long each lasted. A distribution
of nothing has count 0, and zeros in the fields that its schema does not let be null.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

STATUSES = ("successful", "incomplete", "errored")

_QUANTILES = {
    "p001": 0.001, "p01": 0.01, "p05": 0.05, "p10": 0.1, "p25": 0.25, "p50": 0.5, "p75": 0.75,
    "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999,
}  # fmt: skip
_MERGED_S = 1e-4
_LEAST = 1e-6


def by_status(
    parts: Mapping[str, tuple[Floats, ...]],
    summarise: Callable[..., dict[str, Any]],
    **options: Any,
) -> dict[str, Any]:
    """A distribution for each of `STATUSES`, and one of all of them as `total`.

    Args:
        parts: by status, the arrays that `summarise` takes.
    """
    together = (
        np.concatenate(arrays) for arrays in zip(*(parts[s] for s in STATUSES), strict=True)
    )
    found = {status: summarise(*parts[status], **options) for status in STATUSES}
    return found | {"total": summarise(*together, **options)}


def of_values(
    values: Floats, weights: Floats | None = None, count: int | None = None
) -> dict[str, Any]:
    """The distribution of `values`; each counts once, or as its weight says."""
    if weights is None:
        weights = np.ones_like(values)
    if not values.size:
        return _nothing(0)
    number = round(float(weights.sum())) if count is None else count
    distinct, inverse = np.unique(values, return_inverse=True)
    shares = np.bincount(inverse, weights=weights, minlength=distinct.size)
    distinct, shares = distinct[shares > 0], shares[shares > 0]
    if not distinct.size:
        return _nothing(number)
    total = shares.sum()
    shares = shares / total if total > _LEAST else np.full(distinct.size, 1 / distinct.size)
    places = np.searchsorted(np.cumsum(shares), list(_QUANTILES.values()), side="left")
    found = distinct[np.minimum(places, distinct.size - 1)].tolist()
    percentiles = dict(zip(_QUANTILES, found, strict=True))
    mean = float((distinct * shares).sum())
    variance = float(((distinct - mean) ** 2 * shares).sum())
    return _summary(
        percentiles,
        mean=mean,
        mode=float(distinct[shares.argmax()]),
        variance=variance,
        lowest=float(distinct[0]),
        highest=float(distinct[-1]),
        count=number,
    )


def of_rates(
    times_s: Floats, weights: Floats, start_s: float | None = None, end_s: float | None = None
) -> dict[str, Any]:
    """The distribution over time of a rate, per second: of events with so much weight each.

    Args:
        start_s, end_s: where time begins and ends; where they are None, with the events.
    """
    if start_s is not None:
        kept = times_s >= start_s
        times_s = np.insert(times_s[kept], 0, start_s)
        weights = np.insert(weights[kept], 0, 0.0)
    if end_s is not None:
        kept = times_s <= end_s
        times_s, weights = np.append(times_s[kept], end_s), np.append(weights[kept], 0.0)
    times_s, weights = _merged(times_s, weights)
    if times_s.size <= 1:
        return _nothing(0)
    middles = (times_s[1:] + times_s[:-1]) / 2
    lasted = np.empty_like(times_s)
    lasted[0] = middles[0] - times_s[0]
    lasted[1:-1] = np.diff(middles)
    lasted[-1] = max(times_s[-1] - middles[-1], _LEAST)
    return of_values(weights / lasted, lasted, round(float(weights.sum())))


def of_concurrency(
    starts_s: Floats,
    ends_s: Floats,
    weights: Floats,
    start_s: float | None = None,
    end_s: float | None = None,
) -> dict[str, Any]:
    """The distribution over time of how much weight was going on at once."""
    kept = np.ones(starts_s.size, np.bool_)
    if start_s is not None and end_s is not None:
        kept = (ends_s >= start_s) & (starts_s <= end_s)
    starts_s, ends_s, weights = starts_s[kept], ends_s[kept], weights[kept]
    count = int(starts_s.size)
    times_s, steps = _merged(
        np.concatenate([starts_s, ends_s]), np.concatenate([weights, -weights])
    )
    if start_s is not None and end_s is not None and times_s.size:
        first = int(np.searchsorted(times_s, start_s, side="left"))
        before = steps[:first].sum()
        times_s, steps = np.insert(times_s[first:], 0, start_s), np.insert(steps[first:], 0, before)
        last = int(np.searchsorted(times_s, end_s, side="right"))
        times_s, steps = np.append(times_s[:last], end_s), np.append(steps[:last], 0.0)
    levels = np.clip(np.cumsum(steps), 0, None)
    if levels.size <= 1:
        return of_values(levels[:count])
    lasted = np.clip(np.diff(times_s), 0, None)
    return of_values(levels[:-1], lasted, count) if (lasted > 0).any() else _nothing(0)


def _merged(times_s: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Times in order; those within a tenth of a millisecond of the first of them are one."""
    times_s, inverse = np.unique(times_s, return_inverse=True)
    weights = np.bincount(inverse, weights, times_s.size).astype(np.float64)
    if times_s.size <= 1 or not (np.diff(times_s) <= _MERGED_S).any():
        return times_s, weights
    ends = np.searchsorted(times_s, times_s + _MERGED_S, side="right")
    firsts = [0]
    while (following := int(ends[firsts[-1]])) < times_s.size:
        firsts.append(following)
    return times_s[firsts], np.add.reduceat(weights, firsts)


def _nothing(count: int) -> dict[str, Any]:
    zeros = dict.fromkeys(_QUANTILES, 0.0)
    return _summary(zeros, mean=0.0, mode=0.0, variance=0.0, lowest=0.0, highest=0.0, count=count)


def _summary(
    percentiles: dict[str, float],
    *,
    mean: float,
    mode: float,
    variance: float,
    lowest: float,
    highest: float,
    count: int,
) -> dict[str, Any]:
    return {
        "mean": mean,
        "median": percentiles["p50"],
        "mode": mode,
        "variance": variance,
        "std_dev": math.sqrt(variance),
        "min": lowest,
        "max": highest,
        "count": count,
        "total_sum": mean * count,
        "percentiles": percentiles,
        "pdf": None,
        "mean_ci": None,
        "percentile_cis": None,
    }
