"""What every picture drawn by plotext shares: its frame, and how rich shows it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import plotext
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

_MIN_WIDTH = 30


class Picture(ABC):
    """A rich renderable, as wide as it is allowed to be; colours as the console has them
    (NO_COLOR)."""

    __slots__ = ()

    max_width: ClassVar[int | None] = None

    @abstractmethod
    def draw(self, width: int, colorless: bool = False) -> str:
        """The picture in `width` columns, with ANSI colours unless `colorless`."""

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        widest = self._widest(options)
        return Measurement(min(_MIN_WIDTH, widest), widest)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = self.draw(self._widest(options), colorless=console.no_color).splitlines()
        for row in rows:
            text = Text.from_ansi(row, no_wrap=True)
            text.rstrip()
            yield text

    def _widest(self, options: ConsoleOptions) -> int:
        if self.max_width is None:
            return options.max_width
        return min(self.max_width, options.max_width)


def empty_figure(width: int, rows: int, title: str) -> Any:
    """plotext's figure, cleared, with our frame; it has one for the whole process."""
    figure = plotext.figure
    figure.clear()
    plotext.terminal.limit(False, False)
    figure.theme("simple")
    figure.canvas("default")
    figure.plot_size(width, rows)
    figure.axes(False)
    figure.title(title)
    return figure
