"""One of a few values in one row: left and right change it, Enter shows all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.events import Click
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from workbench.tui.screens.dialogs import ChoiceDialog

_LIST_ABOVE = 2


class Choice(Widget, can_focus=True):
    """Shows the chosen value; much lighter than a `Select`, and one row high.

    Args:
        title: of the list of all.
        choices: (value, what it means); a value's row shows the value, or what it means where the
            value is empty.
    """

    DEFAULT_CSS = """
    Choice { height: 1; width: 1fr; }
    Choice:focus { background: $primary 30%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "turn(-1)", "Previous value", show=False),
        Binding("right", "turn(1)", "Next value", show=False),
        Binding("space", "turn(1)", "Next value", show=False),
        Binding("enter", "list", "All values", show=False),
    ]

    value: reactive[str] = reactive("")

    class Changed(Message):
        """Another value was chosen."""

        def __init__(self, choice: Choice, value: str) -> None:
            super().__init__()
            self.choice = choice
            self.value = value

        @property
        def control(self) -> Choice:
            """The widget."""
            return self.choice

    def __init__(
        self, title: str, choices: Sequence[tuple[str, str]], value: str, *, id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self._title = title
        self._choices = tuple(choices)
        self.set_reactive(Choice.value, value)

    def render(self) -> Text:
        """The value, with arrows while it has the focus."""
        means = dict(self._choices)
        shown = self.value or means.get(self.value, "")
        style = "" if self.value != self._choices[0][0] else self.app.theme_variables["muted"]
        if self.has_focus:
            return Text.assemble("◀ ", (shown, "bold"), " ▶")
        return Text(shown, style, no_wrap=True, overflow="ellipsis")

    def watch_value(self, value: str) -> None:
        """Tells the form."""
        self.post_message(self.Changed(self, value))

    def action_turn(self, places: int) -> None:
        """The next or the previous value."""
        names = [name for name, _ in self._choices]
        at = names.index(self.value) if self.value in names else 0
        self.value = names[(at + places) % len(names)]

    def action_list(self) -> None:
        """All values in a list; of two, simply the other one."""
        if len(self._choices) <= _LIST_ABOVE:
            self.action_turn(1)
            return
        # An empty value is no id for a list: the place among the values is.
        listed = [(str(at), said) for at, (_, said) in enumerate(self._choices)]
        names = [name for name, _ in self._choices]
        chosen = str(names.index(self.value)) if self.value in names else ""
        self.app.push_screen(ChoiceDialog(self._title, listed, chosen), self._take)

    def on_click(self, event: Click) -> None:
        """A click shows all values."""
        event.stop()
        self.action_list()

    def _take(self, answer: str | None) -> None:
        if answer is not None:
            self.value = self._choices[int(answer)][0]
