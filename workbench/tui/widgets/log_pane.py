"""The newest events of a run, a line each, the newest at the bottom."""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text
from textual.widget import Widget

from workbench.analysis.printable import plain
from workbench.tui.drawing.clip import clipped


@dataclass(frozen=True, slots=True)
class LogLine:
    """One event; `grave` is the theme colour of what a reader must not miss, "bad" or "warn"."""

    time_ns: int
    kind: str
    text: str
    grave: str = ""


class LogPane(Widget):
    """As many of the newest lines as it has rows."""

    DEFAULT_CSS = """
    LogPane { height: 1fr; width: 100%; text-wrap: nowrap; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: tuple[LogLine, ...] = ()

    def show(self, lines: tuple[LogLine, ...]) -> None:
        """Takes the events, oldest first."""
        if lines != self._lines:
            self._lines = lines
            self.refresh()

    def render(self) -> Text:
        """The lines that fit."""
        variables = self.app.theme_variables
        muted = variables.get("muted", "")
        if not self._lines:
            return Text("no events yet", muted)
        text = Text(no_wrap=True)
        for number, line in enumerate(self._lines[-max(1, self.size.height) :]):
            if number:
                text.append("\n")
            time, kind = f"{line.time_ns / 1e9:8.2f} s ", f"{line.kind:<8}"
            said = clipped(plain(line.text), self.size.width - len(time) - len(kind))
            text.append(time, muted)
            text.append(kind, f"bold {variables.get(line.grave, '')}")
            text.append(said, variables.get(line.grave, ""))
        return text
