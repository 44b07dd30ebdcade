"""What shows in a terminal that is too small for anything else."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widget import Widget

LEAST_WIDTH = 60
LEAST_HEIGHT = 18


class _Message(Widget):
    DEFAULT_CSS = "_Message { width: 100%; height: 100%; content-align: center middle; }"

    def render(self) -> Text:
        width, height = self.app.size
        return Text(
            f"too small: {width}×{height}\n"
            f"at least {LEAST_WIDTH}×{LEAST_HEIGHT} is needed\n"
            "enlarge the terminal; q quits",
            justify="center",
        )


class TooSmallScreen(Screen[None]):
    """Says how small the terminal is and how large it has to be; goes by itself."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("q", "app.leave", "Quit")]

    def compose(self) -> ComposeResult:
        yield _Message()
