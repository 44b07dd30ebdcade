"""A tile: one metric's figures, its trend, and how it stands to its limit, by colour and sign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from workbench.tui.drawing.canvas import PLAIN, Canvas, Ink
from workbench.tui.drawing.glyphs import Glyphs, plain
from workbench.tui.drawing.trace import Floats
from workbench.tui.drawing.trend import trend
from workbench.tui.widgets.canvas_widget import CanvasWidget

Verdict = Literal["met", "missed"]

_MARGIN = 2
_MARGINS = 3
_MUTED = Ink("$muted")


@dataclass(frozen=True, slots=True, eq=False)
class TileData:
    """What a tile shows.

    Attributes:
        figures: pairs of a name and its text with unit, such as ("p50", "1,876 ms").
        trend: values, oldest first, NaN where there is none.
        limit_text: the limit, such as "2 s"; "" without one.
        verdict: how the last figure stands to the limit; None: no limit, or no figure.
    """

    label: str
    figures: tuple[tuple[str, str], ...] = ()
    trend: Floats | None = None
    limit_text: str = ""
    verdict: Verdict | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TileData):
            return NotImplemented
        return self._said() == other._said() and _same(self.trend, other.trend)

    __hash__ = None  # type: ignore[assignment]

    def _said(self) -> tuple[object, ...]:
        return self.label, self.figures, self.limit_text, self.verdict


class Tile(CanvasWidget):
    """Label and limit, figures, trend; in two rows the trend is left out, in one the names too."""

    DEFAULT_CSS = "Tile { height: 4; min-width: 16; width: 1fr; }"

    def __init__(
        self, label: str = "", *, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.data = TileData(label)

    def update(self, data: TileData) -> None:
        """Shows other data; does nothing where they would look the same."""
        if data != self.data:
            self.data = data
            self.redraw()

    def draw(self, width: int, height: int, glyphs: Glyphs) -> Canvas:
        """The tile on a canvas."""
        return draw_tile(self.data, width, height, glyphs)


def draw_tile(data: TileData, width: int, height: int, glyphs: Glyphs) -> Canvas:
    """A tile of any size; what has no room is left out, the trend first."""
    canvas = Canvas(width, height)
    verdict = _verdict_ink(data.verdict)
    for row in range(height):
        canvas.put(row, 0, glyphs.edge, verdict if data.verdict else Ink("$axis"))
    _put_header(canvas, data, glyphs)
    rows = _figure_rows(data, width - _MARGINS, height - 1, glyphs)
    for row, figures in enumerate(rows, start=1):
        column = _MARGIN
        for place, (name, text) in enumerate(figures, start=1):
            is_last = row == len(rows) and place == len(figures)
            ink = Ink(verdict.color if is_last else "", bold=True)
            column = canvas.put(row, column, f"{name} " if name else "", _MUTED)
            column = canvas.put(row, column, text, ink) + 2
    if data.trend is not None and height > len(rows) + 1:
        bars = trend(data.trend, width - _MARGINS, glyphs.levels)
        canvas.put(height - 1, _MARGIN, bars, Ink("$series-1"))
    return canvas


def _put_header(canvas: Canvas, data: TileData, glyphs: Glyphs) -> None:
    """The label on the left, the sign and the limit on the right."""
    sign = {"met": glyphs.met, "missed": glyphs.missed, None: glyphs.no_limit}[data.verdict]
    limit = plain(f"{glyphs.at_most} {data.limit_text}", glyphs) if data.limit_text else ""
    label = plain(data.label, glyphs)
    room = canvas.width - _MARGIN - len(label) - 1
    state = f"{sign} {limit}".strip()
    if len(state) > room:
        state = sign
    spare = 1 if len(state) < room else 0
    canvas.put(0, _MARGIN, label, Ink(bold=True))
    canvas.put(0, canvas.width - spare - len(state), state, _verdict_ink(data.verdict, _MUTED))


def _figure_rows(
    data: TileData, width: int, height: int, glyphs: Glyphs
) -> list[list[tuple[str, str]]]:
    """The figures by row: one a row where there is room for that, else as they fit."""
    figures = [(plain(name, glyphs), plain(text, glyphs)) for name, text in data.figures]
    if len(figures) <= height:
        wanted = height - (data.trend is not None)
        if len(figures) <= wanted or _length(figures) > width:
            return [[(name if _length([(name, text)]) <= width else "", text)]
                    for name, text in figures]  # fmt: skip
        return [figures]
    unnamed = [("", text) for _, text in figures]
    fitting = next((form for form in (figures, unnamed) if _length(form) <= width), figures[-1:])
    return [fitting] if height > 0 else []


def _length(figures: list[tuple[str, str]]) -> int:
    return sum(len(name) + bool(name) + len(text) + 2 for name, text in figures) - 2


def _verdict_ink(verdict: Verdict | None, without: Ink = PLAIN) -> Ink:
    return {"met": Ink("$good"), "missed": Ink("$bad"), None: without}[verdict]


def _same(one: Floats | None, other: Floats | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other, equal_nan=True)
