"""Help: the keys of the screen that one came from, and of the whole app."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from workbench.tui.commands import keys_of, shown_key


class HelpScreen(ModalScreen[None]):
    """A list of keys with what they do, and what the screen is for."""

    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
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
                yield Static(Text("\n" + text))

    def _keys(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", no_wrap=True, justify="right")
        table.add_column()
        for title, owner in (("Here", type(self._about)), ("Everywhere", type(self.app))):
            bindings = keys_of(owner)
            if bindings:
                table.add_row("", Text(title, "underline"))
            for binding in bindings:
                table.add_row(
                    Text(shown_key(binding)), Text(binding.tooltip or binding.description)
                )
        table.add_row(Text("ctrl+p"), Text("Command palette: every action by name"))
        return table
