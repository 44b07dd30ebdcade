"""The line in which a filter is typed, with what is wrong with it, or what could follow, below."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input, Static

_LABEL = "filter  "
_SUGGESTED = 8
_REMEMBERED = 50


class FilterInput(Input):
    """An input whose Tab takes the first suggestion, and whose arrows go through what was used."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "take", "Take the first suggestion", show=False),
        Binding("up", "recall(-1)", "Filter before", show=False),
        Binding("down", "recall(1)", "Filter after", show=False),
        Binding("escape", "leave", "Back to the table", show=False),
    ]

    class Left(Message):
        """Escape: the table is wanted."""

    def __init__(self) -> None:
        super().__init__(placeholder="ttft > 500ms and tokens > 200", compact=True)
        self._used: list[str] = []
        self._place = 0

    def remember(self, text: str) -> None:
        """Keeps a filter that was used, as the newest."""
        if text:
            kept = [used for used in self._used if used != text]
            self._used = [*kept[-_REMEMBERED:], text]
        self._place = len(self._used)

    def action_recall(self, places: int) -> None:
        """Goes through the filters that were used."""
        place = max(0, min(self._place + places, len(self._used)))
        if place != self._place:
            self._place = place
            self.value = self._used[place] if place < len(self._used) else ""
            self.cursor_position = len(self.value)

    def action_take(self) -> None:
        """Puts the first suggestion where the word at the cursor was."""
        offered, start = suggestions(self.value, self.cursor_position)
        if offered:
            rest = self.value[self.cursor_position :]
            head = self.value[:start] + offered[0] + " "
            self.value = head + rest.lstrip()
            self.cursor_position = len(head)

    def action_leave(self) -> None:
        """Back to the table."""
        self.post_message(self.Left())


class FilterBar(Vertical):
    """Posts `Changed` with every filter that can be understood; the last one stays in force."""

    DEFAULT_CSS = """
    FilterBar { height: auto; }
    FilterBar #filter-line { height: 1; }
    FilterBar #filter-label { width: 8; color: $muted; }
    FilterBar FilterInput { width: 1fr; background: $panel; }
    FilterBar #filter-told { height: auto; display: none; }
    """

    class Changed(Message):
        """A filter that can be understood was typed; "" for none."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Left(Message):
        """The table is wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.in_force = ""

    def compose(self) -> ComposeResult:
        with Horizontal(id="filter-line"):
            yield Static(_LABEL, id="filter-label", markup=False)
            yield FilterInput()
        yield Static(id="filter-told", markup=False)

    @property
    def field(self) -> FilterInput:
        """Where it is typed."""
        return self.query_one(FilterInput)

    def put(self, text: str) -> None:
        """Sets the filter, as if it had been typed and used."""
        self.field.value = text
        self.field.cursor_position = len(text)
        self.field.remember(text)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        from workbench.analysis.query import parse_query
        from workbench.analysis.query_tokens import QueryError

        text = event.value.strip()
        if text:
            try:
                parse_query(event.value)
            except QueryError as error:
                self._tell(error_text(error, self.size.width, self._color("bad")))
                return
        self._suggest()
        if text != self.in_force:
            self.in_force = text
            self.post_message(self.Changed(text))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if event.value.strip() == self.in_force:
            self.field.remember(self.in_force)
            self._tell(Text())
            self.post_message(self.Left())

    @on(FilterInput.Left)
    def _left(self, event: FilterInput.Left) -> None:
        """What was typed and not understood is dropped."""
        event.stop()
        if self.field.value.strip() != self.in_force:
            self.field.value = self.in_force
        self._tell(Text())
        self.post_message(self.Left())

    def on_descendant_focus(self) -> None:
        """Says what can be typed."""
        self._suggest()

    def on_descendant_blur(self) -> None:
        """Says nothing any more."""
        self._tell(Text())

    def _suggest(self) -> None:
        field = self.field
        if not field.has_focus:
            self._tell(Text())
            return
        offered, _ = suggestions(field.value, len(field.value))
        line = Text(no_wrap=True, overflow="ellipsis")
        if offered:
            line.append(" " * len(_LABEL) + "Tab ", self._color("muted"))
            line.append("  ".join(offered[:_SUGGESTED]), self._color("series-1"))
            if len(offered) > _SUGGESTED:
                line.append("  …", self._color("muted"))
        self._tell(line)

    def _tell(self, text: Text) -> None:
        told = self.query_one("#filter-told", Static)
        told.display = bool(text.plain)
        told.update(text)

    def _color(self, name: str) -> str:
        return self.app.theme_variables.get(name, "")


def suggestions(text: str, cursor: int) -> tuple[list[str], int]:
    """What can stand where the word at `cursor` is, and where that word begins."""
    from workbench.analysis.query_completion import complete, word_start

    return complete(text, cursor), word_start(text, cursor)


def error_text(error: object, width: int, style: str) -> Text:
    """A caret under the place, and what is wrong beside it, or below where it is too long."""
    position = getattr(error, "position", 0) + len(_LABEL)
    caret = " " * position + "^" * min(getattr(error, "length", 1), max(1, width - position))
    reason = str(getattr(error, "reason", error))
    beside = f"{caret} {reason}"
    return Text(beside if len(beside) <= width else f"{caret}\n{' ' * 2}{reason}", style)
