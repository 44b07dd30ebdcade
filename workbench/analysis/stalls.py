"""Stalls: gaps between a request's tokens that are much longer than its usual ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

STALL_FACTOR = 2.0
STALL_DEVIATIONS = 3.0
STALL_LEAST_NS = 2_000_000
_LEAST_GAPS = 3

Gaps = npt.NDArray[np.int64]


def usual_gap_ns(gaps_ns: Gaps) -> float | None:
    """The median of a request's gaps, ns; None of fewer than three, which have no usual."""
    return float(np.median(gaps_ns)) if len(gaps_ns) >= _LEAST_GAPS else None


def stall_above_ns(gaps_ns: Gaps) -> float | None:
    """A gap longer than this is a stall, ns: the largest of 2 × the median of the request's gaps,
    the median + 3 × their median absolute deviation, and the median + 2 ms.

    None of fewer than three gaps.
    """
    median = usual_gap_ns(gaps_ns)
    if median is None:
        return None
    deviation = float(np.median(np.abs(gaps_ns - median)))
    return max(
        STALL_FACTOR * median,
        median + STALL_DEVIATIONS * deviation,
        median + STALL_LEAST_NS,
    )
