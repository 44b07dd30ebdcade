"""Help: the keys of the screen that one came from, and of the whole app."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from workbench.tui.commands import keys_of, shown_key


class HelpScreen(ModalScreen[None]):
    """A list of keys with what they do, and what the screen is for."""

    DEFAULT_CSS = """
    HelpScreen { align: center middle; background: $background; }
    HelpScreen > VerticalScroll {
        width: 90; max-width: 96%; height: auto; max-height: 92%; padding: 1 2;
        background: $panel; border: round $primary;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark", "dismiss", "Close"),
    ]

    def __init__(self, about: Screen[Any]) -> None:
        super().__init__()
        self._about = about

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static(self._keys())
            text = getattr(self._about, "HELP", "")
            if text:
                yield Static(Content("\n" + text))

    def _keys(self) -> Content:
        rows = []
        for title, owner in (("Here", type(self._about)), ("Everywhere", type(self.app))):
            bindings = keys_of(owner)
            if bindings:
                rows.append(("", title, "underline"))
            rows += [(shown_key(key), key.tooltip or key.description, "") for key in bindings]
        rows.append(("ctrl+p", "Command palette: every action by name", ""))
        width = max(len(key) for key, _, _ in rows)
        lines = [
            Content.assemble((f"{key:>{width}}", "bold"), "  ", (said, style))
            for key, said, style in rows
        ]
        return Content("\n").join(lines)
