"""Percentiles and distributions over raw samples, always with their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float64]

WEAK_BELOW = 100
"""With fewer samples than this, p99 is little more than the largest of them."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """What is shown of a set of samples, in the unit of the samples.

    Attributes:
        n: number of samples; all figures are None where it is 0.
        p50, p90, p95, p99: by linear interpolation over raw samples.
        weak: p99 stands on fewer than 100 samples.
    """

    n: int
    mean: float | None
    min: float | None
    max: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    weak: bool


def percentiles(values: npt.ArrayLike, qs: Sequence[float]) -> tuple[float | None, ...]:
    """The `qs`-th percentiles (0 to 100) of `values`, in their unit, by linear interpolation.

    Over raw samples: position q/100 · (n - 1) of the sorted values, as numpy, R's type 7 and
    metrics of peers do. NaN is left out; None for each where nothing is left.
    """
    samples = _finite(values)
    if not samples.size:
        return (None,) * len(qs)
    return tuple(float(value) for value in np.percentile(samples, list(qs)))


def distribution(values: npt.ArrayLike) -> Distribution:
    """The distribution of `values`, in their unit; NaN is left out and not counted in n."""
    samples = _finite(values)
    n = int(samples.size)
    if not n:
        return Distribution(0, None, None, None, None, None, None, None, weak=True)
    p50, p90, p95, p99 = (float(value) for value in np.percentile(samples, [50, 90, 95, 99]))
    mean, low, high = float(samples.mean()), float(samples.min()), float(samples.max())
    return Distribution(n, mean, low, high, p50, p90, p95, p99, weak=n < WEAK_BELOW)


def _finite(values: npt.ArrayLike) -> Samples:
    samples = np.asarray(values, dtype=np.float64).ravel()
    missing = np.isnan(samples)
    return samples[~missing] if missing.any() else samples
