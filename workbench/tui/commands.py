"""The command palette: every action that the app and the current screen have, by its own words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from textual.app import SystemCommand
from textual.binding import Binding
from textual.screen import Screen

if TYPE_CHECKING:
    from workbench.tui.app import WorkbenchApp

_KEYS = {
    "enter": "Enter", "escape": "Esc", "space": "Space", "home": "Home", "end": "End",
    "left": "←", "right": "→", "up": "↑", "down": "↓", "slash": "/",
}  # fmt: skip


def keys_of(owner: type[Any]) -> list[Binding]:
    """The bindings that a screen or the app declares, its own first, each action once."""
    found: dict[str, Binding] = {}
    for kind in owner.__mro__:
        if not kind.__module__.startswith("workbench."):
            continue
        for binding in kind.__dict__.get("BINDINGS", ()):
            if isinstance(binding, Binding) and binding.description:
                found.setdefault(binding.action, binding)
    return list(found.values())


def shown_key(binding: Binding) -> str:
    """The key as help shows it: the first of several."""
    if binding.key_display:
        return binding.key_display
    key = binding.key.split(",")[0]
    return _KEYS.get(key, key)


def screen_commands(app: WorkbenchApp, screen: Screen[Any]) -> Iterator[SystemCommand]:
    """Commands for the actions of `screen`, then for those of the app."""
    for owner, bindings in ((screen, keys_of(type(screen))), (app, keys_of(type(app)))):
        for binding in bindings:
            where = "here" if owner is screen else "everywhere"
            yield SystemCommand(
                binding.tooltip or binding.description,
                f"{shown_key(binding)}, {where}",
                _runner(app, owner, binding.action),
            )


def _runner(app: WorkbenchApp, owner: Any, action: str) -> Callable[[], None]:
    def run() -> None:
        app.soon(app.run_action(action, default_namespace=owner))

    return run
