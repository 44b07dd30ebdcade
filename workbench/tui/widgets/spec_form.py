"""A run's spec as a form: a line a field, every text kept as it was typed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.events import DescendantFocus
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static

from workbench.spec import RunSpec
from workbench.tui.widgets.choice import Choice
from workbench.tui.widgets.spec_fields import (
    Field,
    Problem,
    beside_the_form,
    form_sections,
    read_form,
    texts_of,
)

_FIRST = "workload"


class SpecForm(VerticalScroll, can_focus=False):
    """The form. It holds one text per field, whichever fields are shown."""

    DEFAULT_CSS = """
    SpecForm { width: 1fr; height: 1fr; scrollbar-size-vertical: 1; }
    SpecForm > Horizontal { height: auto; }
    SpecForm #labels { width: 27; height: auto; padding: 0 1; }
    SpecForm #fields { width: 1fr; height: auto; }
    SpecForm #fields > * { width: 1fr; padding: 0; }
    SpecForm #fields > .first { margin-top: 1; }
    SpecForm Input, SpecForm Input:focus { background: transparent; }
    SpecForm Input:focus { background: $primary 30%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Field above", show=False),
        Binding("down", "move(1)", "Field below", show=False),
        Binding("escape", "leave", "Leave the field", show=False),
    ]

    class Changed(Message):
        """A field has another text."""

    class Focused(Message):
        """A field has the focus."""

        def __init__(self, field: Field) -> None:
            super().__init__()
            self.field = field

    def __init__(self) -> None:
        super().__init__()
        self.sections = form_sections()
        self.fields = {field.name: field for field in self._all()}
        self.texts = texts_of(RunSpec(), self._all())
        self.all_shown = False
        self._beside: dict[str, Any] = {}
        self._replaced: tuple[dict[str, str], dict[str, Any]] | None = None
        self._bad: str | None = None

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Static(self._labels(), id="labels")
            with Vertical(id="fields"):
                yield from self._widgets()

    def focus_first(self) -> None:
        """Gives the workload the focus: not an input, so that digits still change the screen."""
        self.query_one(f"#field-{_FIRST}").focus()

    def read(self) -> RunSpec | Problem:
        """The spec that the form means, or the first thing that is wrong."""
        return read_form(self.texts, self.fields, self._beside)

    async def load(self, spec: RunSpec) -> None:
        """Shows another spec; what no field shows of it is kept. `undo` brings the texts back."""
        await self._replace(texts_of(spec, self._all()), beside_the_form(spec, self._all()))

    async def undo(self) -> bool:
        """Brings back what the last `load` replaced; False where nothing was."""
        if self._replaced is None:
            return False
        await self._replace(*self._replaced)
        return True

    async def _replace(self, texts: dict[str, str], beside: dict[str, Any]) -> None:
        self._replaced = self.texts, self._beside
        self.texts, self._beside = dict(texts), beside
        plain = texts_of(RunSpec(), self._all())
        if any(texts[field.name] != plain[field.name] for field in self._all() if field.seldom):
            self.all_shown = True
        await self._rebuild()
        self.post_message(self.Changed())

    async def show_all(self, everything: bool) -> None:
        """Shows every field, or only those that are often changed."""
        self.all_shown = everything
        await self._rebuild()

    def show_problem(self, field: str | None) -> None:
        """Marks the field that is wrong; none for None."""
        if field != self._bad:
            self._bad = field
            self.query_one("#labels", Static).update(self._labels())

    def action_move(self, places: int) -> None:
        """To the next field or the one before."""
        widgets = list(self.query_one("#fields").children)
        focused = self.screen.focused
        if focused in widgets:
            at = widgets.index(focused) + places
            widgets[max(0, min(at, len(widgets) - 1))].focus()

    def action_leave(self) -> None:
        """Gives the keys back to the screen."""
        self.screen.set_focus(None)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self._take(event.input, event.value)

    @on(Choice.Changed)
    def _chosen(self, event: Choice.Changed) -> None:
        event.stop()
        self._take(event.choice, event.value)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_move(1)

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """Tells what field it is."""
        name = (event.widget.id or "").removeprefix("field-")
        if name in self.fields:
            self.post_message(self.Focused(self.fields[name]))

    def _take(self, widget: Widget, text: str) -> None:
        name = (widget.id or "").removeprefix("field-")
        if self.texts[name] != text:
            self.texts[name] = text
            self.post_message(self.Changed())

    def _all(self) -> Iterator[Field]:
        for fields in self.sections.values():
            yield from fields

    def _shown(self) -> Iterator[tuple[str, tuple[Field, ...]]]:
        for title, fields in self.sections.items():
            shown = tuple(field for field in fields if self.all_shown or not field.seldom)
            if shown:
                yield title, shown

    def _labels(self) -> Text:
        colors = self.app.theme_variables
        text = Text(no_wrap=True, overflow="ellipsis")
        for title, fields in self._shown():
            text.append(f"{title}\n", f"bold {colors['primary']}")
            for field in fields:
                bad = field.name == self._bad
                style = f"bold {colors['bad']}" if bad else ""
                text.append(f"{'✗' if bad else ' '} {field.name}\n", style)
        return text

    def _widgets(self) -> Iterator[Widget]:
        for _, fields in self._shown():
            for number, field in enumerate(fields):
                widget = self._widget(field)
                widget.set_class(number == 0, "first")
                yield widget

    def _widget(self, field: Field) -> Widget:
        text, name = self.texts[field.name], f"field-{field.name}"
        if field.kind == "text":
            return Input(text, placeholder=field.placeholder, id=name, compact=True)
        return Choice(field.name, field.choices, text, id=name)

    async def _rebuild(self) -> None:
        focused = self.screen.focused
        name = focused.id if focused is not None else None
        with self.app.batch_update():
            fields = self.query_one("#fields")
            await fields.remove_children()
            await fields.mount_all(self._widgets())
            self.query_one("#labels", Static).update(self._labels())
        if name is not None and name.startswith("field-") and self.query(f"#{name}"):
            self.query_one(f"#{name}").focus(scroll_visible=True)
