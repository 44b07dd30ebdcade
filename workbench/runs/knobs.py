"""What is asked of a run's loop while it goes, and how the loop does it: the pace, and marks.

Another thread asks; the loop looks once a turn whether anything is `pending`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from workloads.pacing import PacedTraffic
from workloads.traffic import Traffic


@dataclass(frozen=True, slots=True)
class Ask:
    """One thing that the loop is to do.

    Attributes:
        kind: of the event that it becomes, "knob" or "mark"; empty for none.
        detail: the event's words.
        speed: the speed of the traffic from now on; None leaves it.
        at_ns: from when on, if not from now.
    """

    kind: str = ""
    detail: str = ""
    speed: float | None = None
    at_ns: int | None = None


class Events(Protocol):
    """Where events are recorded (`runs.recorder.Recorder`)."""

    def event(self, time_ns: int, kind: str, detail: str, request_id: int = -1) -> None: ...


class Knobs:
    """Hands over from the thread that hears a user to the loop.

    Args:
        tell: passes a speed on to the other load processes, with the moment from which it holds.
        lead_ns: how far ahead that moment is, so that each process has heard of it by then.

    Attributes:
        pending: what was asked and not done yet; any thread may append.
        offered: requests handed out so far; the loop counts, any thread may read.
    """

    def __init__(self, tell: Callable[[int, float], None] | None = None, lead_ns: int = 0) -> None:
        self.pending: deque[Ask] = deque()
        self.offered = 0
        self._tell = tell
        self._lead_ns = lead_ns

    def turn(self, now_ns: int, traffic: Traffic, record: Events) -> Traffic:
        """Does what is pending; returns the traffic to go on with. For the loop's thread."""
        while self.pending:
            ask = self.pending.popleft()
            at_ns = now_ns
            if ask.speed is not None:
                at_ns = now_ns + self._lead_ns if ask.at_ns is None else ask.at_ns
                if not isinstance(traffic, PacedTraffic):
                    traffic = PacedTraffic(traffic)
                traffic.set_speed(at_ns, ask.speed)
                if self._tell is not None:
                    self._tell(at_ns, ask.speed)
            if ask.kind:
                record.event(at_ns, ask.kind, ask.detail)
        return traffic
