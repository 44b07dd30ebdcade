"""The base of the screens that show a moment and a span of the open run: playing and zooming."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from workbench.errors import SpecError
from workbench.tui.data_screen import DataScreen
from workbench.tui.screens.dialogs import TextDialog
from workbench.units import seconds


class RunScreen(DataScreen):
    """Space, [ and ] move the playhead of the open run; + and - zoom, arrows pan."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "toggle_play", "Freeze/play"),
        Binding("left_square_bracket", "step(-1)", "Step back", key_display="[", show=False),
        Binding("right_square_bracket", "step(1)", "Step", key_display="]", show=False),
        Binding("left_curly_bracket", "speed(-1)", "Slower", key_display="{", show=False),
        Binding("right_curly_bracket", "speed(1)", "Faster", key_display="}", show=False),
        Binding("g", "go_to_time", "Go to time", show=False),
        Binding("f", "follow", "Newest", show=False),
        Binding("plus,equals_sign", "zoom(0.5)", "Zoom in", key_display="+", show=False),
        Binding("minus", "zoom(2)", "Zoom out", key_display="-", show=False),
        Binding("left", "pan(-0.25)", "Earlier", show=False),
        Binding("right", "pan(0.25)", "Later", show=False),
        Binding("0", "whole_run", "Whole run", show=False),
    ]

    def action_toggle_play(self) -> None:
        """Freezes or follows a living run, plays or pauses an ended one."""
        if self.session is not None:
            self.session.toggle()
            self.ask()

    def action_step(self, places: int) -> None:
        """Moves the playhead by engine steps."""
        if self.session is not None:
            self.session.step(places)
            self.ask()

    def action_speed(self, places: int) -> None:
        """Changes how fast a replay goes."""
        if self.session is not None:
            speed = self.session.change_speed(places)
            self.app.notify(f"replay at {speed:g} ×", timeout=2)
            self.ask()

    def action_follow(self) -> None:
        """Goes to the newest moment and stays there."""
        if self.session is not None:
            self.session.follow()
            self.ask()

    def action_go_to_time(self) -> None:
        """Asks for a time and goes there."""
        if self.session is not None:
            dialog = TextDialog("Go to time", "such as 90, 1.5m or 12.25s", "")
            self.app.push_screen(dialog, self._go_to)

    def _go_to(self, answer: str | None) -> None:
        if not answer or self.session is None:
            return
        try:
            at_s = seconds(answer)
        except SpecError as error:
            self.app.report(str(error))
            return
        self.session.seek(int(at_s * 1e9))
        self.ask()

    def action_zoom(self, factor: float) -> None:
        """Shows `factor` times as much time."""
        if self.session is not None:
            self.session.zoom(factor)
            self.ask()

    def action_pan(self, share: float) -> None:
        """Moves the span that is shown."""
        if self.session is not None:
            self.session.pan(share)
            self.ask()

    def action_whole_run(self) -> None:
        """Shows the whole run."""
        if self.session is not None:
            self.session.span_s = (0.0, max(self.session.view.now_ns() / 1e9, 1.0))
            self.ask()
