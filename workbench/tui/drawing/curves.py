"""Traces as dots: where each dot column's run begins and ends, and which dots dashes leave out."""

from __future__ import annotations

import numpy as np

from workbench.tui.drawing.chart_data import ChartData
from workbench.tui.drawing.decimate import Extremes
from workbench.tui.drawing.raster import Mask, Raster
from workbench.tui.drawing.scale import Scale
from workbench.tui.drawing.trace import Floats, Trace

_FLAT_DOTS = 1


def draw_joined(raster: Raster, found: Extremes, scale: Scale, curve: int, dashes: int) -> None:
    """Draws a "line" or "step" trace.

    Args:
        found: the trace by dot column of the raster.
        dashes: 0 for a whole line, 1 for dashes, 2 for dots. Only what is flat is broken up, so
            that spikes stay.
    """
    height = raster.height
    enter, leave = scale.rows(found.enter, height), scale.rows(found.leave, height)
    low, high = scale.rows(found.low, height), scale.rows(found.high, height)
    reach = _before(leave, enter)
    top, bottom = np.fmin(np.fmin(enter, high), reach), np.fmax(np.fmax(enter, low), reach)
    drawn = np.isfinite(top)
    if dashes and raster.kind != "ascii":
        flat = (bottom - top) <= _FLAT_DOTS
        drawn = drawn & ~(flat & _gaps(raster, dashes))
    rows = np.nan_to_num(top).astype(np.int64), np.nan_to_num(bottom).astype(np.int64)
    raster.spans(*rows, drawn, curve)


def draw_points(raster: Raster, trace: Trace, data: ChartData, scale: Scale, curve: int) -> None:
    """Draws each sample of a trace inside the window as a dot."""
    x, y = samples_inside(trace, data)
    rows = scale.rows(y, raster.height)
    placed = np.isfinite(rows)
    share = (x[placed] - data.x0_s) / (data.x1_s - data.x0_s)
    columns = np.minimum((share * raster.width).astype(np.int64), raster.width - 1)
    raster.points(columns, rows[placed].astype(np.int64), curve)


def samples_inside(trace: Trace, data: ChartData) -> tuple[Floats, Floats]:
    """The samples of a trace inside a chart's window."""
    start = int(np.searchsorted(trace.x, data.x0_s, side="left"))
    end = int(np.searchsorted(trace.x, data.x1_s, side="right"))
    return trace.x[start:end], trace.y[start:end]


def _before(leave: Floats, enter: Floats) -> Floats:
    """How far a column has to reach so that the next one, which begins at `leave`, touches it.

    That is one dot less than `leave`, which keeps slopes one dot thick.
    """
    step = np.sign(leave - enter)
    return leave - np.where(np.isfinite(step), step, 0.0)


def _gaps(raster: Raster, dashes: int) -> Mask:
    stride = raster.across if dashes == 1 else 1
    gaps: Mask = np.arange(raster.width) // stride % 2 == 1
    return gaps
