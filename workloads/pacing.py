"""Traffic at another pace while it runs: slower, faster, or held, and the same requests still."""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from fractions import Fraction
from typing import Final

from workloads.errors import WorkloadError
from workloads.request import Ended, Request
from workloads.traffic import Traffic

FINEST: Final = 1_000_000
"""Speeds are kept as fractions with denominators up to this, so that stamps are exact."""


class PacedTraffic:
    """A traffic whose own time passes at a speed that can be changed: `Traffic`.

    The requests stay what they are and come in the same order; only when they come changes, as a
    trace's `--speed` does it. Their `scheduled_ns` is the moment in the run when the traffic's own
    time reaches their stamp. So a pause is no queueing: whatever would have come in it comes that
    much later. Everything that the traffic measures in its own time goes with the speed: at twice
    the speed the arrivals end in half the time that was left, and the gaps between the turns of a
    conversation halve. A closed loop has no rate; held at speed 0, its free slots wait for the
    pause to end.

    At speed 1 from the start it is the inner traffic, to the nanosecond.
    """

    def __init__(self, inner: Traffic) -> None:
        self._inner = inner
        # Stretches of constant speed: from which moment of the run and of the traffic's own time.
        self._runs_ns = [0]
        self._owns_ns = [0]
        self._speeds = [Fraction(1)]
        self._last_scheduled_ns = inner.last_scheduled_ns

    def set_speed(self, at_ns: int, speed: float) -> None:
        """From this moment of the run on, its own time passes at `speed`; 0 holds it.

        A moment before the latest change counts as that one's. Raises `WorkloadError` for a speed
        that is neither 0 nor a finite number from 1 / `FINEST` up.
        """
        if speed != 0 and not 1 / FINEST <= speed < float("inf"):
            raise WorkloadError(f"speed is {speed}: give 0, or a number from {1 / FINEST:g} up")
        at_ns = max(at_ns, self._runs_ns[-1])
        self._owns_ns.append(self._own_ns(at_ns))
        self._runs_ns.append(at_ns)
        self._speeds.append(Fraction(speed).limit_denominator(FINEST))

    def due(self, now_ns: int) -> list[Request]:
        """See `Traffic`."""
        requests = [self._moved(request) for request in self._inner.due(self._reached_ns(now_ns))]
        if requests:
            self._last_scheduled_ns = requests[-1].scheduled_ns
        return requests

    def next_due_ns(self) -> int | None:
        """See `Traffic`; `None` while it is held."""
        own_ns = self._inner.next_due_ns()
        return None if own_ns is None else self._run_ns(own_ns)

    def finished(self, ended: Ended) -> None:
        """See `Traffic`."""
        own_ns = self._own_ns(ended.time_ns)
        self._inner.finished(dataclasses.replace(ended, time_ns=own_ns))

    def stop(self) -> None:
        """See `Traffic`."""
        self._inner.stop()

    @property
    def exhausted(self) -> bool:
        """See `Traffic`."""
        return self._inner.exhausted

    @property
    def needs_answers(self) -> bool:
        """See `Traffic`."""
        return self._inner.needs_answers

    @property
    def offered(self) -> int:
        """See `Traffic`."""
        return self._inner.offered

    @property
    def fitted(self) -> int:
        """See `Traffic`."""
        return self._inner.fitted

    @property
    def last_scheduled_ns(self) -> int | None:
        """See `Traffic`."""
        return self._last_scheduled_ns

    def _moved(self, request: Request) -> Request:
        run_ns = self._run_ns(request.scheduled_ns)
        assert run_ns is not None, "only what its time has passed is handed out"
        if run_ns == request.scheduled_ns:
            return request
        return dataclasses.replace(request, scheduled_ns=run_ns)

    def _own_ns(self, run_ns: int) -> int:
        """Its own time at a moment of the run."""
        index = max(0, bisect_right(self._runs_ns, run_ns) - 1)
        speed = self._speeds[index]
        passed_ns = (run_ns - self._runs_ns[index]) * speed.numerator // speed.denominator
        return self._owns_ns[index] + passed_ns

    def _reached_ns(self, run_ns: int) -> int:
        """Up to where its own time has come: a moment at which it is held is not passed yet."""
        index = max(0, bisect_right(self._runs_ns, run_ns) - 1)
        own_ns = self._own_ns(run_ns)
        if not self._speeds[index]:
            return own_ns - 1
        if index + 1 < len(self._owns_ns):
            return min(own_ns, self._owns_ns[index + 1] - 1)
        return own_ns

    def _run_ns(self, own_ns: int) -> int | None:
        """The first moment of the run at which its own time goes on from `own_ns`; None while it
        is held before that."""
        index = max(0, bisect_right(self._owns_ns, own_ns) - 1)
        speed = self._speeds[index]
        if not speed:
            return None
        past = -((self._owns_ns[index] - own_ns) * speed.denominator // speed.numerator)
        return self._runs_ns[index] + past
