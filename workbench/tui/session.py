"""The run that is open, and the moment and span of it that the screens show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from workbench.viewing.view import RunView

SPEEDS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0)
LIVE_SPAN_S = 120.0
SHORTEST_SPAN_S = 0.02
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Playhead:
    """Which moment of the run is shown.

    Attributes:
        mode: "follow" is the newest moment, "paused" stays at `at_ns`, "playing" moves on from
            there since the clock said `since_ns`, `speed` times as fast as the run was.
    """

    mode: Literal["follow", "paused", "playing"] = "follow"
    at_ns: int = 0
    since_ns: int = 0
    speed: float = 1.0

    def position_ns(self, newest_ns: int, clock_ns: int) -> int:
        """The moment on the run's clock; never beyond `newest_ns`."""
        if self.mode == "follow":
            return newest_ns
        passed_ns = int((clock_ns - self.since_ns) * self.speed) if self.mode == "playing" else 0
        return max(0, min(self.at_ns + passed_ns, newest_ns))


class RunSession:
    """One open run: its view, where the playhead is, and which part of its time charts show.

    Args:
        clock: the system's monotonic nanoseconds.
    """

    def __init__(self, view: RunView, clock: Callable[[], int]) -> None:
        self.view = view
        self.playhead = Playhead()
        self.span_s: tuple[float, float] | None = None
        self.request_id: int | None = None
        self.order: tuple[int, ...] = ()
        self._clock = clock

    @property
    def at_ns(self) -> int:
        """The moment that is shown, ns since the run's start."""
        return self.playhead.position_ns(self.view.now_ns(), self._clock())

    def settle_playhead(self) -> None:
        """A replay that has come to the newest moment stops there, or follows a living run."""
        if self.playhead.mode == "playing" and self.at_ns >= self.view.now_ns():
            self.playhead = Playhead("follow", speed=self.playhead.speed)

    def toggle(self) -> None:
        """Space: a living run is frozen or followed again; an ended one is played or paused."""
        head, at_ns = self.playhead, self.at_ns
        if head.mode == "playing" or (head.mode == "follow" and self.view.live):
            self._pause_at(at_ns)
        elif self.view.live:
            self.playhead = Playhead("follow", speed=head.speed)
        else:
            start_ns = 0 if at_ns >= self.view.end_ns else at_ns
            self.playhead = Playhead("playing", start_ns, self._clock(), head.speed)

    def play(self) -> None:
        """Plays on from the moment that is shown."""
        self.playhead = Playhead("playing", self.at_ns, self._clock(), self.playhead.speed)

    def follow(self) -> None:
        """Shows the newest moment from now on."""
        self.playhead = Playhead("follow", speed=self.playhead.speed)
        self.span_s = None

    def seek(self, at_ns: int) -> None:
        """Shows another moment; a replay plays on from there."""
        at_ns = max(0, min(at_ns, self.view.now_ns()))
        if self.playhead.mode == "playing":
            self.playhead = Playhead("playing", at_ns, self._clock(), self.playhead.speed)
        else:
            self._pause_at(at_ns)

    def change_speed(self, places: int) -> float:
        """Moves along `SPEEDS`; returns the new one."""
        nearest = min(range(len(SPEEDS)), key=lambda i: abs(SPEEDS[i] - self.playhead.speed))
        speed = SPEEDS[max(0, min(nearest + places, len(SPEEDS) - 1))]
        head = self.playhead
        self.playhead = Playhead(head.mode, self.at_ns, self._clock(), speed)
        return speed

    def step(self, places: int) -> None:
        """Moves to the end of the next engine step (or of one before), or by 1 s without steps."""
        moved_ns = self.view.step_end(self.at_ns, places)
        self._pause_at(self.at_ns + places * _NS_PER_S if moved_ns is None else moved_ns)

    def visible_s(self) -> tuple[float, float]:
        """The span that charts show, s: what was zoomed to, or the run so far; of a living run
        that is followed its last two minutes."""
        if self.span_s is not None:
            return self.span_s
        newest_s = max(self.view.now_ns() / 1e9, 1.0)
        if self.view.live:
            at_s = self.at_ns / 1e9
            return max(0.0, at_s - LIVE_SPAN_S), max(at_s, 10.0)
        return 0.0, newest_s

    def zoom(self, factor: float, center_s: float | None = None) -> None:
        """Shows `factor` times as much time about `center_s`, or about the playhead."""
        start_s, end_s = self.visible_s()
        newest_s = max(self.view.now_ns() / 1e9, 1.0)
        middle_s = self.at_ns / 1e9 if center_s is None else center_s
        middle_s = min(max(middle_s, start_s), end_s)
        length_s = max(SHORTEST_SPAN_S, (end_s - start_s) * factor)
        if length_s >= newest_s:
            self.span_s = None if not self.view.live else (0.0, newest_s)
            return
        share = (middle_s - start_s) / (end_s - start_s)
        self._show_from(middle_s - share * length_s, length_s, newest_s)

    def pan(self, share: float) -> None:
        """Moves the span by a share of its length; later is positive."""
        start_s, end_s = self.visible_s()
        newest_s = max(self.view.now_ns() / 1e9, 1.0)
        length_s = end_s - start_s
        self._show_from(start_s + share * length_s, length_s, newest_s)

    def _show_from(self, start_s: float, length_s: float, newest_s: float) -> None:
        start_s = max(0.0, min(start_s, newest_s - length_s))
        self.span_s = (start_s, start_s + length_s)

    def _pause_at(self, at_ns: int) -> None:
        at_ns = max(0, min(at_ns, self.view.now_ns()))
        self.playhead = Playhead("paused", at_ns, 0, self.playhead.speed)
