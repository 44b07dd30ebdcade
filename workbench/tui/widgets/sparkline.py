"""A trend in one row."""

from __future__ import annotations

import numpy as np

from workbench.tui.drawing.canvas import Canvas, Ink
from workbench.tui.drawing.glyphs import Glyphs
from workbench.tui.drawing.trace import Floats
from workbench.tui.drawing.trend import trend
from workbench.tui.widgets.canvas_widget import CanvasWidget


class Sparkline(CanvasWidget):
    """Values as bars from 0 up, the newest rightmost; NaN leaves a blank."""

    DEFAULT_CSS = "Sparkline { height: 1; }"

    def __init__(
        self, color: str = "$series-1", *, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.color = color
        self._values: Floats = np.empty(0)

    def update(self, values: Floats) -> None:
        """Shows other values; does nothing where they are the same."""
        if not np.array_equal(values, self._values, equal_nan=True):
            self._values = values
            self.redraw()

    def draw(self, width: int, height: int, glyphs: Glyphs) -> Canvas:
        """The bars, in the first row."""
        canvas = Canvas(width, height)
        canvas.put(0, 0, trend(self._values, width, glyphs.levels), Ink(self.color))
        return canvas
