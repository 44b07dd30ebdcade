"""The line of keys at the bottom of a screen, drawn by one widget.

Textual's own footer makes a widget of every key, anew at each change of the screen, and keeps the
old ones (8.2.8): some 0.6 MiB a change.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from textual import events
from textual.binding import Binding
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget

_ALWAYS = ("help", "leave", "command_palette")


@dataclass(frozen=True, slots=True)
class ShownKey:
    """A key in the footer."""

    binding: Binding
    display: str
    is_enabled: bool

    @property
    def width(self) -> int:
        """Cells, with the spaces around it."""
        description = self.binding.description
        return len(self.display) + 2 + (len(description) + 1 if description else 0)

    def drawn(self) -> Content:
        """The key and what it does."""
        dim = "" if self.is_enabled else " dim"
        key = (f" {self.display} ", f"$footer-key-foreground bold{dim}")
        if not self.binding.description:
            return Content.assemble(key)
        words = (f"{self.binding.description} ", f"$footer-description-foreground{dim}")
        return Content.assemble(key, words)


class KeyFooter(Widget):
    """The keys of the screen that are on show; where there are too many for the line, the last
    give way, but never help, quitting and the palette. A click presses the key."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    KeyFooter {
        dock: bottom; height: 1; color: $footer-foreground; background: $footer-background;
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._at: list[tuple[int, ShownKey]] = []

    def on_mount(self) -> None:
        """Follows the screen's keys."""
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def on_unmount(self) -> None:
        """Follows them no more."""
        self.screen.bindings_updated_signal.unsubscribe(self)

    def render(self) -> Content:
        """See `Widget`."""
        shown = self._shown()
        always = [key for key in shown if _action(key) in _ALWAYS]
        starts_at = max(0, self.size.width - sum(key.width for key in always))
        others = _placed([key for key in shown if key not in always], 0)
        fitting = [(column, key) for column, key in others if column + key.width <= starts_at]
        self._at = fitting + _placed(always, starts_at)
        line = Content("")
        for column, key in self._at:
            line = line.pad_right(column - line.cell_length) + key.drawn()
        return line

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Presses the key under the pointer."""
        for column, key in self._at:
            if column <= event.x < column + key.width:
                if key.is_enabled:
                    self.app.simulate_key(key.binding.key)
                else:
                    self.app.bell()

    def _shown(self) -> list[ShownKey]:
        """One for each action; of several keys with the same action the first."""
        keys: dict[str, ShownKey] = {}
        for _, binding, is_enabled, _ in self.screen.active_bindings.values():
            is_palette = binding.key == self.app.COMMAND_PALETTE_BINDING
            if (binding.show or is_palette) and binding.action not in keys:
                display = self.app.get_key_display(binding)
                keys[binding.action] = ShownKey(binding, display, is_enabled)
        return list(keys.values())

    def _changed(self, screen: Screen[object]) -> None:
        if screen is self.screen:
            self.refresh()


def _action(key: ShownKey) -> str:
    return key.binding.action.removeprefix("app.")


def _placed(keys: list[ShownKey], column: int) -> list[tuple[int, ShownKey]]:
    """The keys side by side, each with the column that it begins in."""
    columns = accumulate((key.width for key in keys), initial=column)
    return list(zip(columns, keys, strict=False))
