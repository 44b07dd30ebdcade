"""Labelled points over two value axes on a canvas, and the front that joins the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.analysis.quantities import number
from workbench.tui.drawing.axis import LABEL_WIDTH, value_ticks
from workbench.tui.drawing.canvas import Canvas, Ink
from workbench.tui.drawing.glyphs import Glyphs, plain
from workbench.tui.drawing.scale import Scale, linear_scale

_AXIS, _MUTED = Ink("$axis"), Ink("$muted")
_GUTTER = LABEL_WIDTH + 1
_FRONT, _BEATEN = "◆", "◇"
_X_PARTS = 4


@dataclass(frozen=True, slots=True)
class ScatterPoint:
    """A labelled point; `on_front`: none beats it on both axes."""

    label: str
    x: float
    y: float
    on_front: bool
    color: str


@dataclass(frozen=True, slots=True)
class ScatterData:
    """Points, what the axes are, and a note: below them, or in the place of points."""

    points: Sequence[ScatterPoint] = ()
    x_title: str = ""
    y_title: str = ""
    note: str = ""


def draw_scatter(data: ScatterData, width: int, height: int, glyphs: Glyphs) -> Canvas:
    """Title, plot with value axes from 0, and the note in the last row."""
    canvas = Canvas(width, height)
    rows, columns = height - 5, width - _GUTTER - 1
    if rows < 3 or columns < 10 or not data.points:
        canvas.put(height // 2, 1, plain(data.note or "no figures", glyphs), _MUTED)
        return canvas
    across = linear_scale(max(point.x for point in data.points) or 1.0)
    up = linear_scale(max(point.y for point in data.points) or 1.0)
    canvas.put(0, 0, plain(data.y_title, glyphs), Ink(bold=True))
    for row in range(rows):
        canvas.put(1 + row, LABEL_WIDTH, glyphs.vertical, _AXIS)
    for tick in value_ticks(up, rows):
        canvas.put(1 + tick.row, 0, tick.label.rjust(LABEL_WIDTH), _MUTED)
        canvas.put(1 + tick.row, LABEL_WIDTH, glyphs.value_tick, _AXIS)
    _put_x_axis(canvas, across, 1 + rows, columns, glyphs)
    title = plain(data.x_title, glyphs)
    canvas.put(3 + rows, width - len(title) - 1, title, Ink(bold=True))
    for point in data.points:
        _put_point(canvas, point, across, up, rows, columns)
    canvas.put(height - 1, 0, plain(data.note, glyphs), _MUTED)
    return canvas


def _put_x_axis(canvas: Canvas, scale: Scale, row: int, columns: int, glyphs: Glyphs) -> None:
    canvas.put(row, LABEL_WIDTH, glyphs.corner + glyphs.horizontal * columns, _AXIS)
    for part in range(_X_PARTS + 1):
        at = _GUTTER + round((columns - 1) * part / _X_PARTS)
        label = number(scale.top * part / _X_PARTS)
        canvas.put(row, at, glyphs.tick, _AXIS)
        canvas.put(row + 1, min(at, _GUTTER + columns - len(label)), label, _MUTED)


def _put_point(
    canvas: Canvas, point: ScatterPoint, across: Scale, up: Scale, rows: int, columns: int
) -> None:
    column = _GUTTER + min(int(point.x / across.top * columns), columns - 1)
    row = 1 + up.row(point.y, rows)
    label = f" {point.label} "
    ink = Ink(point.color, bold=point.on_front)
    if column + 1 + len(label) <= canvas.width:
        canvas.put(row, column + 1, label, ink)
    else:
        canvas.put(row, column - len(label), label, ink)
    canvas.put(row, column, _FRONT if point.on_front else _BEATEN, ink)
