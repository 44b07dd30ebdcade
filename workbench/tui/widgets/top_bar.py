"""The line at the top of every screen: where one can go, and which run is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.style import Style
from rich.text import Text
from textual.reactive import reactive
from textual.widget import Widget

from workbench.analysis.printable import plain

if TYPE_CHECKING:
    from workbench.tui.session import RunSession

TABS = (
    ("launch", "Launch"),
    ("live", "Live"),
    ("requests", "Requests"),
    ("timeline", "Timeline"),
    ("runs", "Runs"),
    ("compare", "Compare"),
)
"""The screens in the order of their keys, from 1."""

_NARROW_BELOW = 110
_STATE_COLORS = {
    "finished": "good",
    "running": "series-1",
    "draining": "series-1",
    "interrupted": "warn",
    "failed": "bad",
    "killed": "bad",
    "dead": "bad",
}


class TopBar(Widget):
    """Tabs on the left; the open run, its state and the moment that is shown on the right."""

    DEFAULT_CSS = """
    TopBar {
        height: 1; width: 100%; background: $panel; color: $foreground; text-wrap: nowrap;
        link-style: none; link-color: $foreground; link-background: $panel;
        link-style-hover: bold; link-color-hover: $foreground; link-background-hover: $primary;
    }
    """

    said: reactive[tuple[str, str, str]] = reactive(("", "", ""))
    """Run, state, and the moment in words."""

    def __init__(self, active: str) -> None:
        super().__init__()
        self._active = active

    def show_session(self, session: RunSession | None) -> None:
        """Takes the run that is open; None where there is none."""
        if session is None:
            self.said = ("", "", "")
            return
        view = session.view
        name = view.content.get("name")
        run = f"{view.content['run_id']}" + (f" ({name})" if name else "")
        self.said = (plain(run), view.state, _moment(session))

    def render(self) -> Text:
        """The line: beside a run, a narrow one has the other tabs' numbers alone."""
        width = self.size.width
        run, state, moment = self.said
        line = self._tabs(named=width >= _NARROW_BELOW or not run)
        right = Text(no_wrap=True)
        if run:
            color = self.app.theme_variables.get(_STATE_COLORS.get(state, "muted"), "")
            right = Text.assemble((f"{state} ", f"bold {color}"), moment, " ")
            room = width - line.cell_len - right.cell_len - 3
            shown = next((text for text in (run, run.partition(" ")[0]) if len(text) <= room), "")
            right = Text.assemble(f"{shown}  " if shown else "", right)
        gap = max(1, width - line.cell_len - right.cell_len)
        return Text.assemble(line, " " * gap, right)

    def _tabs(self, named: bool) -> Text:
        line = Text(no_wrap=True)
        for number, (name, title) in enumerate(TABS, 1):
            shown = f"{number} {title}" if named or name == self._active else f"{number}"
            style = "bold reverse" if name == self._active else ""
            click = Style(meta={"@click": f"app.go('{name}')"})
            line.append(f" {shown} ", Style.parse(style) + click)
        return line


def _moment(session: RunSession) -> str:
    head, at_s = session.playhead, session.at_ns / 1e9
    if head.mode == "playing":
        return f"▶ {at_s:.1f} s at {head.speed:g}×"
    if head.mode == "paused":
        return f"⏸ {at_s:.3f} s"
    return f"● {at_s:.0f} s" if session.view.live else f"{at_s:.0f} s"
