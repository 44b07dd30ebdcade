"""What of a series each dot column shows: its exact extremes, so that no spike is lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workbench.tui.drawing.trace import Floats, Trace


@dataclass(frozen=True, slots=True)
class Extremes:
    """A trace by dot column; NaN where there is nothing.

    Attributes:
        low, high: of the samples inside the column.
        enter, leave: the joined line's value at the column's left and right edge; a step's `enter`
            is the value in force there. Both NaN for points, `leave` also for steps.
    """

    low: Floats
    high: Floats
    enter: Floats
    leave: Floats

    def peak(self) -> float | None:
        """The highest value in the picture; None for an empty one."""
        return _finite(np.fmax(np.fmax(self.high, self.enter), self.leave), np.fmax)

    def least_above_zero(self) -> float | None:
        """The lowest value above 0 in the picture, where a logarithmic axis may begin."""
        lowest = np.fmin(np.fmin(self.low, self.enter), self.leave)
        return _finite(np.where(lowest > 0, lowest, np.nan), np.fmin)


def extremes(trace: Trace, x0_s: float, x1_s: float, columns: int) -> Extremes:
    """A trace over [x0_s, x1_s] in `columns` equal columns.

    Samples just outside count where the line between them and the window is drawn.
    """
    edges = np.linspace(x0_s, x1_s, columns + 1)
    low, high = _sample_extremes(trace, edges)
    if trace.style == "points" or trace.x.size == 0:
        nothing = np.full(columns, np.nan)
        return Extremes(low, high, nothing, nothing)
    if trace.style == "step":
        return Extremes(low, high, _in_force(trace, edges)[:-1], np.full(columns, np.nan))
    joined = _joined(trace, edges)
    return Extremes(low, high, joined[:-1], joined[1:])


def _sample_extremes(trace: Trace, edges: Floats) -> tuple[Floats, Floats]:
    """Least and greatest sample of each column, the last column closed on both sides."""
    bounds = np.searchsorted(trace.x, edges, side="left")
    bounds[-1] = np.searchsorted(trace.x, edges[-1], side="right")
    low = np.full(edges.size - 1, np.nan)
    high = low.copy()
    filled = np.flatnonzero(bounds[1:] > bounds[:-1])
    if filled.size:
        inside = trace.y[: bounds[-1]]
        low[filled] = np.fmin.reduceat(inside, bounds[filled])
        high[filled] = np.fmax.reduceat(inside, bounds[filled])
    return low, high


def _in_force(trace: Trace, edges: Floats) -> Floats:
    """The last value at or before each edge; the last sample of all holds for its own time only."""
    before = np.searchsorted(trace.x, edges, side="right") - 1
    known = (before >= 0) & (edges <= trace.x[-1])
    return np.where(known, trace.y[np.maximum(before, 0)], np.nan)


def _joined(trace: Trace, edges: Floats) -> Floats:
    """The straight line between the samples around each edge; NaN outside and beside gaps."""
    x, y = trace.x, trace.y
    before = np.searchsorted(x, edges, side="right") - 1
    after = np.minimum(before + 1, x.size - 1)
    before_or_first = np.maximum(before, 0)
    span = x[after] - x[before_or_first]
    part = np.divide(edges - x[before_or_first], span, out=np.zeros_like(edges), where=span > 0)
    here, there = y[before_or_first], y[after]
    value = np.where(part > 0, here + part * (there - here), here)
    return np.where((before >= 0) & (edges <= x[-1]), value, np.nan)


def _finite(values: Floats, reduce: np.ufunc) -> float | None:
    known = values[np.isfinite(values)]
    return float(reduce.reduce(known)) if known.size else None
