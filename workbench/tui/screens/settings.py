"""Settings: the theme, how often to look for news, 7-bit drawing. Each takes effect at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from workbench.tui.settings import REFRESH_RATES_HZ, Settings, settings_path
from workbench.tui.theme import themes

if TYPE_CHECKING:
    from workbench.tui.app import WorkbenchApp

_ABOUT_THEMES = {
    "workbench-dark": "dark",
    "workbench-light": "light",
    "workbench-safe": "safe for colour-blind eyes (Okabe and Ito's palette)",
}


class SettingsScreen(ModalScreen[None]):
    """Every value of every setting in one list; Enter takes one."""

    app: WorkbenchApp

    DEFAULT_CSS = """
    SettingsScreen { align: center middle; }
    SettingsScreen > Vertical {
        width: 76; max-width: 96%; height: auto; max-height: 92%; padding: 1 2;
        background: $panel; border: round $primary;
    }
    SettingsScreen .hint { color: $muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,comma", "dismiss", "Close")]

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static("Settings", markup=False)
            yield OptionList(*self._options(), markup=False)
            yield Static(
                f"Enter takes a value, Esc closes. Kept in {settings_path()}",
                classes="hint",
                markup=False,
            )

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        change = self._changes()[str(event.option_id)][1]
        self.app.change_settings(change(self.app.settings))
        listed = self.query_one(OptionList)
        highlighted = listed.highlighted
        listed.clear_options()
        listed.add_options(self._options())
        listed.highlighted = highlighted

    def _options(self) -> list[Option]:
        settings = self.app.settings
        return [
            Option(f"{'●' if change(settings) == settings else '○'} {said}", id=name)
            for name, (said, change) in self._changes().items()
        ]

    def _changes(self) -> dict[str, tuple[str, Callable[[Settings], Settings]]]:
        """By id: what a choice is called, and the settings with it."""
        changes: dict[str, tuple[str, Callable[[Settings], Settings]]] = {}
        names = [theme.name for theme in themes()]
        names += [name for name in sorted(self.app.available_themes) if name.startswith("ansi")]
        for name in names:
            said = f"theme {name}" + (f": {_ABOUT_THEMES[name]}" if name in _ABOUT_THEMES else "")
            changes[f"theme-{name}"] = (said, partial(_changed, theme=name))
        for rate in REFRESH_RATES_HZ:
            said = f"look for news {rate:g} × a second"
            changes[f"hz-{rate:g}"] = (said, partial(_changed, refresh_hz=rate))
        changes["unicode"] = ("draw with Unicode", partial(_changed, ascii=False))
        changes["ascii"] = ("draw with 7-bit characters alone", partial(_changed, ascii=True))
        return changes


def _changed(settings: Settings, **values: Any) -> Settings:
    return settings.changed(**values)
