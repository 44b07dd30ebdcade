"""Every screen by name, imported when it is first shown: the first paint waits for one alone."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from textual.screen import Screen

_CLASSES = {
    "launch": "LaunchScreen",
    "live": "LiveScreen",
    "requests": "RequestsScreen",
    "timeline": "TimelineScreen",
    "runs": "RunsScreen",
    "compare": "CompareScreen",
    "top": "TopScreen",
    "waterfall": "WaterfallScreen",
}

SCREEN_NAMES = tuple(name for name in _CLASSES if name != "waterfall")
"""Screens that are there once and kept; a waterfall is made anew for each request."""


def screen_of(name: str) -> Screen[Any]:
    """A new screen of that name."""
    screen: Screen[Any] = getattr(import_module(f"workbench.tui.screens.{name}"), _CLASSES[name])()
    return screen


def import_screens() -> None:
    """Imports every screen, so that the first visit to one is as fast as the next; for a thread."""
    for name in _CLASSES:
        import_module(f"workbench.tui.screens.{name}")
