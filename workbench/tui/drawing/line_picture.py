"""A whole line chart on a canvas: title, value axis, curves, limits, marks, playhead, time axis."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench.tui.drawing.axis import LABEL_WIDTH, clock, time_ticks, value_ticks
from workbench.tui.drawing.canvas import Canvas, Ink
from workbench.tui.drawing.chart_data import ChartData, Limit
from workbench.tui.drawing.curves import draw_joined, draw_points, samples_inside
from workbench.tui.drawing.decimate import Extremes, extremes
from workbench.tui.drawing.glyphs import Glyphs, plain
from workbench.tui.drawing.legend import put_legend, signs
from workbench.tui.drawing.raster import DOTS, Raster
from workbench.tui.drawing.scale import Scale, limit_in_view, linear_scale, log_scale
from workbench.tui.drawing.trace import Trace

GUTTER = LABEL_WIDTH + 1
"""Columns left of the plot, the same in every chart so that stacked ones share their time axis."""

_AXIS, _MUTED = Ink("$axis"), Ink("$muted")
_MIN_HEIGHT_WITH_AXIS = 4
_SHADE_STRIDE = 4


@dataclass(frozen=True, slots=True)
class _Frame:
    """The plot's place: columns from `GUTTER`, rows from 1; the row of the time axis, if any."""

    columns: int
    rows: int
    axis_row: int | None

    def cells(self, row: int = 0, column: int = 0) -> tuple[int, int]:
        return 1 + row, GUTTER + column


@dataclass(frozen=True, slots=True)
class _Brush:
    """What every part of the picture is drawn with."""

    canvas: Canvas
    frame: _Frame
    data: ChartData
    glyphs: Glyphs


def plot_columns(width: int) -> int:
    """Columns of the plot in a chart of `width`."""
    return max(width - GUTTER, 0)


def draw_chart(
    data: ChartData,
    title: str,
    width: int,
    height: int,
    glyphs: Glyphs,
    show_axis: bool = True,
    previous: Scale | None = None,
) -> tuple[Canvas, Scale | None]:
    """The chart, and the value scale that it used.

    Args:
        previous: the scale of the picture before, which is kept where it still fits.
    """
    canvas = Canvas(width, height)
    put_legend(canvas, data, title, glyphs)
    with_axis = show_axis and height >= _MIN_HEIGHT_WITH_AXIS
    frame = _Frame(plot_columns(width), height - 1 - with_axis, height - 1 if with_axis else None)
    if frame.rows < 1 or frame.columns < 1:
        return canvas, previous
    brush = _Brush(canvas, frame, data, glyphs)
    dots = frame.columns * DOTS[glyphs.raster][0]
    found = [extremes(trace, data.x0_s, data.x1_s, dots) for trace in data.traces]
    scale = _scale(data, found, previous)
    if scale is None:
        _say_empty(brush)
    else:
        _put_value_axis(brush, scale)
        _put_curves(brush, scale, found)
        _put_labels(brush, scale)
    _put_time_axis(brush)
    return canvas, scale or previous


def _scale(data: ChartData, found: Sequence[Extremes], previous: Scale | None) -> Scale | None:
    peaks = [peak for each in found if (peak := each.peak()) is not None]
    if not peaks or data.x1_s <= data.x0_s:
        return None
    peak = max(peaks)
    if data.log:
        least = [low for each in found if (low := each.least_above_zero()) is not None]
        return log_scale(min(least), peak, previous) if least else None
    if data.y_top is not None:
        return Scale(0.0, data.y_top)
    near = [at.value for at in data.limits if limit_in_view(at.value, peak, previous)]
    return linear_scale(max([peak, *near]), previous)


def _say_empty(brush: _Brush) -> None:
    frame = brush.frame
    lines = textwrap.wrap(plain(brush.data.empty, brush.glyphs), max(brush.canvas.width - 2, 1))
    shown = lines[: frame.rows]
    row = 1 + (frame.rows - len(shown)) // 2
    for index, line in enumerate(shown):
        column = (brush.canvas.width - len(line)) // 2
        brush.canvas.put(row + index, column, line, _MUTED)


def _put_value_axis(brush: _Brush, scale: Scale) -> None:
    canvas, frame, glyphs = brush.canvas, brush.frame, brush.glyphs
    for tick in value_ticks(scale, frame.rows, DOTS[glyphs.raster][1]):
        canvas.put(1 + tick.row, 0, tick.label.rjust(LABEL_WIDTH), _MUTED)
        canvas.put(1 + tick.row, LABEL_WIDTH, glyphs.value_tick, _AXIS)
    border = slice(LABEL_WIDTH, LABEL_WIDTH + 1)
    canvas.fill(slice(1, 1 + frame.rows), border, glyphs.vertical, _AXIS)


def _put_curves(brush: _Brush, scale: Scale, found: Sequence[Extremes]) -> None:
    canvas, frame, data, glyphs = brush.canvas, brush.frame, brush.data, brush.glyphs
    raster = Raster(frame.columns, frame.rows, glyphs.raster)
    marks = signs(data.traces, glyphs)
    singles: list[Trace] = []
    for curve, (trace, extreme) in enumerate(zip(data.traces, found, strict=True)):
        if trace.style != "points":
            dashes = glyphs.marks.index(marks[curve])
            draw_joined(raster, extreme, scale, curve, dashes)
        elif samples_inside(trace, data)[0].size > frame.columns:
            draw_points(raster, trace, data, scale, curve)
        else:
            singles.append(trace)
    inks = np.array([canvas.index_of(Ink(trace.color)) for trace in data.traces], np.int16)
    canvas.lay(*frame.cells(), raster.codes(marks), inks[raster.curves()])
    for trace in singles:
        _put_singles(brush, scale, trace)


def _put_singles(brush: _Brush, scale: Scale, trace: Trace) -> None:
    """Few samples: each gets a whole cell, where a single dot could hardly be seen."""
    frame = brush.frame
    x, y = samples_inside(trace, brush.data)
    down = DOTS[brush.glyphs.raster][1]
    rows = scale.rows(y, frame.rows * down)
    for time_s, row in zip(x.tolist(), rows.tolist(), strict=True):
        column = brush.data.column(time_s, frame.columns)
        if column is not None and np.isfinite(row):
            at = frame.cells(int(row) // down, column)
            brush.canvas.put(*at, brush.glyphs.point, Ink(trace.color))


def _put_labels(brush: _Brush, scale: Scale) -> None:
    """Letters of marks, and limits' names: between the curves, else over them; then the rest."""
    canvas, frame, data, glyphs = brush.canvas, brush.frame, brush.data, brush.glyphs
    labels: list[tuple[int, int, str, Ink]] = []
    for mark in data.marks:
        at = data.column(mark.time_s, frame.columns)
        if at is not None:
            labels.append((1, GUTTER + at, mark.letter[:1], Ink(mark.color, bold=True)))
    for limit in data.limits:
        above = not _inside(limit, scale)
        text = f" {plain(limit.label, glyphs)}{glyphs.above if above else ''} "
        row = 1 if above else 1 + _row(brush, scale, limit.value)
        labels.append((*_free_place(brush, row, len(text)), text, Ink(limit.color)))
    _put_background(brush, scale)
    for label in labels:
        canvas.put(*label)


def _free_place(brush: _Brush, row: int, length: int) -> tuple[int, int]:
    """Row and column of free cells for a label: in a row, beside it, or else its left end."""
    columns = range(GUTTER, brush.canvas.width)
    for near in (row, row - 1, row + 1):
        if 1 <= near <= brush.frame.rows:
            column = brush.canvas.free_run(near, columns, length)
            if column is not None:
                return near, column
    return row, GUTTER


def _put_background(brush: _Brush, scale: Scale) -> None:
    """What shows between the curves; the first of playhead, marks, limits, shade takes a cell."""
    canvas, frame, data, glyphs = brush.canvas, brush.frame, brush.data, brush.glyphs
    rows, columns = slice(1, 1 + frame.rows), slice(GUTTER, canvas.width)
    cursor = None if data.cursor_s is None else data.column(data.cursor_s, frame.columns)
    if cursor is not None:
        canvas.fill(rows, slice(GUTTER + cursor, GUTTER + cursor + 1), glyphs.vertical)
    for mark in data.marks:
        at = data.column(mark.time_s, frame.columns)
        if at is not None:
            canvas.fill(rows, slice(GUTTER + at, GUTTER + at + 1), glyphs.mark, Ink(mark.color))
    for limit in data.limits:
        if _inside(limit, scale):
            row = 1 + _row(brush, scale, limit.value)
            canvas.fill(slice(row, row + 1), columns, glyphs.limit, Ink(limit.color))
    if data.shaded_until_s is not None and data.shaded_until_s > data.x0_s:
        end = data.column(min(data.shaded_until_s, data.x1_s), frame.columns) or 0
        _shade(brush, end)


def _shade(brush: _Brush, columns: int) -> None:
    for row in range(brush.frame.rows):
        shift = (row % 2) * _SHADE_STRIDE // 2
        cells = slice(GUTTER + shift, GUTTER + columns, _SHADE_STRIDE)
        brush.canvas.fill(slice(1 + row, 2 + row), cells, brush.glyphs.shade, _MUTED)


def _put_time_axis(brush: _Brush) -> None:
    canvas, frame, data, glyphs = brush.canvas, brush.frame, brush.data, brush.glyphs
    if frame.axis_row is None:
        return
    row = frame.axis_row
    canvas.put(row, LABEL_WIDTH, glyphs.corner, _AXIS)
    canvas.fill(slice(row, row + 1), slice(GUTTER, None), glyphs.horizontal, _AXIS)
    begins, ends = _put_playhead(brush, row)
    for tick in time_ticks(data.x0_s, data.x1_s, frame.columns):
        column = GUTTER + tick.column
        if column + 1 + len(tick.label) <= begins or column >= ends:
            canvas.put(row, column, glyphs.tick, _AXIS)
            canvas.put(row, column + 1, tick.label, _MUTED)


def _put_playhead(brush: _Brush, row: int) -> tuple[int, int]:
    """The playhead and its time on the axis; the columns that they take."""
    frame, data, glyphs = brush.frame, brush.data, brush.glyphs
    at = None if data.cursor_s is None else data.column(data.cursor_s, frame.columns)
    if at is None or data.cursor_s is None:
        return brush.canvas.width, 0
    label = clock(data.cursor_s, (data.x1_s - data.x0_s) / frame.columns)
    fits = at + 2 + len(label) <= frame.columns
    text = f"{glyphs.playhead}{label} " if fits else f" {label}{glyphs.playhead}"
    begins = GUTTER + (at if fits else at + 1 - len(text))
    brush.canvas.put(row, begins, text, Ink(bold=True))
    return begins, begins + len(text)


def _inside(limit: Limit, scale: Scale) -> bool:
    return scale.bottom <= limit.value <= scale.top


def _row(brush: _Brush, scale: Scale, value: float) -> int:
    down = DOTS[brush.glyphs.raster][1]
    return scale.row(value, brush.frame.rows * down) // down
