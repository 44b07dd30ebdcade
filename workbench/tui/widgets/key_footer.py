"""The line of keys at the bottom of a screen."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import HorizontalGroup
from textual.widgets import Footer

_ALWAYS = ("help", "leave", "command_palette")


class KeyFooter(Footer):
    """Textual's footer, in which help, quitting and the palette never give way to other keys."""

    DEFAULT_CSS = """
    KeyFooter #always { dock: right; width: auto; height: 1; background: $footer-background; }
    KeyFooter #always FooterKey.-command-palette { dock: none; }
    """

    def compose(self) -> ComposeResult:
        """See `Footer`."""
        always = []
        for widget in super().compose():
            if getattr(widget, "action", "").removeprefix("app.") in _ALWAYS:
                always.append(widget)
            else:
                yield widget
        yield HorizontalGroup(*always, id="always")
