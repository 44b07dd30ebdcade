"""A few labelled points over two value axes."""

from __future__ import annotations

from workbench.tui.drawing.canvas import Canvas
from workbench.tui.drawing.glyphs import Glyphs
from workbench.tui.drawing.scatter_picture import ScatterData, draw_scatter
from workbench.tui.widgets.canvas_widget import CanvasWidget


class Scatter(CanvasWidget):
    """Points; filled ones are on the front."""

    DEFAULT_CSS = "Scatter { height: 1fr; min-height: 8; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.data = ScatterData()

    def update(self, data: ScatterData) -> None:
        """Shows other points; does nothing where they are the same."""
        if data != self.data:
            self.data = data
            self.redraw()

    def draw(self, width: int, height: int, glyphs: Glyphs) -> Canvas:
        """The picture."""
        return draw_scatter(self.data, width, height, glyphs)
