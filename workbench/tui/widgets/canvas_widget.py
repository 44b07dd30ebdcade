"""A widget that is drawn on a canvas, again only when something that it shows has changed."""

from __future__ import annotations

from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from workbench.tui.drawing.canvas import Canvas
from workbench.tui.drawing.glyphs import Glyphs
from workbench.tui.widgets.paint import glyphs_of, paint_rows


class CanvasWidget(Widget):
    """Keeps its strips until its size, style, theme or signs change, or `redraw` is called."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._strips: list[Strip] = []
        self._drawn_for: tuple[int, int, str, Glyphs] | None = None
        self._style: Style | None = None

    def draw(self, width: int, height: int, glyphs: Glyphs) -> Canvas:
        """The widget's content, `width` × `height` cells."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Drops the strips, and asks for new ones to be shown."""
        self._drawn_for = None
        self.refresh()

    def render_lines(self, crop: Region) -> list[Strip]:
        """The rows in `crop`, drawn again before where the style around them has changed."""
        style = self.rich_style
        if style != self._style:
            self._style, self._drawn_for = style, None
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """One row of the content, from the strips that are kept."""
        drawn_for = (*self.size, self.app.theme, glyphs_of(self.app))
        if drawn_for != self._drawn_for:
            width, height, _, glyphs = drawn_for
            self._strips = paint_rows(self, self.draw(width, height, glyphs))
            self._drawn_for = drawn_for
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width)

    def notify_style_update(self) -> None:
        """Drops the strips: a theme's variables may have changed with its name kept."""
        self._drawn_for = None
        super().notify_style_update()
