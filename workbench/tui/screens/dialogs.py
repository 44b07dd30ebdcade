"""Small questions over a screen: yes or no, a line of text, one of a few."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

_CSS = """
{name} {{ align: center middle; }}
{name} > Vertical {{
    width: 64; max-width: 95%; height: auto; max-height: 90%; padding: 1 2;
    background: $panel; border: round $primary;
}}
{name} .title {{ text-style: bold; }}
{name} .hint {{ color: $muted; }}
"""


class ConfirmDialog(ModalScreen[bool]):
    """Asks yes or no; anything but y is no."""

    DEFAULT_CSS = _CSS.format(name="ConfirmDialog")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape,q", "answer(False)", "No"),
    ]

    def __init__(self, title: str, text: str = "") -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(self._title, classes="title", markup=False)
            if self._text:
                yield Static(self._text, markup=False)
            yield Static("y yes   n no", classes="hint", markup=False)

    def action_answer(self, yes: bool) -> None:
        """Closes with the answer."""
        self.dismiss(yes)


class TextDialog(ModalScreen[str | None]):
    """Asks for a line of text; None where Escape was pressed."""

    DEFAULT_CSS = _CSS.format(name="TextDialog")
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel")]

    def __init__(self, title: str, hint: str = "", text: str = "") -> None:
        super().__init__()
        self._title = title
        self._hint = hint
        self._text = text

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(self._title, classes="title", markup=False)
            yield Input(self._text, placeholder=self._hint)
            yield Static("Enter takes it, Escape leaves it", classes="hint", markup=False)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.dismiss(event.value)

    def action_cancel(self) -> None:
        """Closes without an answer."""
        self.dismiss(None)


class ChoiceDialog(ModalScreen[str | None]):
    """Asks for one of a few, given as (name, what it means); None where Escape was pressed."""

    DEFAULT_CSS = _CSS.format(name="ChoiceDialog")
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel")]

    def __init__(self, title: str, choices: Sequence[tuple[str, str]], chosen: str = "") -> None:
        super().__init__()
        self._title = title
        self._choices = choices
        self._chosen = chosen

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(self._title, classes="title", markup=False)
            options = OptionList(
                *(Option(said, id=name) for name, said in self._choices), markup=False
            )
            names = [name for name, _ in self._choices]
            options.highlighted = names.index(self._chosen) if self._chosen in names else 0
            yield options

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(event.option_id)

    def action_cancel(self) -> None:
        """Closes without an answer."""
        self.dismiss(None)
