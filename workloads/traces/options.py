"""How a trace is to be read and replayed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from workloads.errors import WorkloadError


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """What is taken of a trace, and how it is changed; applied in this order.

    Attributes:
        skip_bad: leave broken rows out and count them, instead of refusing the file.
        window_s: seconds (from, to) of the trace's own time, from its first arrival; the
            replay begins at the window's start.
        limit: at most this many rows.
        jitter_s: each arrival is moved later by a uniform draw from 0 up to this many seconds of
            the trace's time, for stamps that were published rounded; order may change.
        speed: the trace's time passes this many times as fast.
        scale_lengths: prompts, answers and blocks have this many times their length.
        max_context: prompt + output in tokens that a request may have after scaling
            (`fitting.FITTING_RULE`).

    Raises `WorkloadError` for values that make no sense.
    """

    skip_bad: bool = False
    window_s: tuple[float, float] | None = None
    limit: int | None = None
    jitter_s: float = 0.0
    speed: float = 1.0
    scale_lengths: float = 1.0
    max_context: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("speed", self.speed), ("scale_lengths", self.scale_lengths)):
            if not (math.isfinite(value) and value > 0):
                raise WorkloadError(f"{name} is {value}: give a positive number")
        if not (math.isfinite(self.jitter_s) and self.jitter_s >= 0):
            raise WorkloadError(f"jitter is {self.jitter_s} s: give a number from 0 up")
        if self.limit is not None and self.limit < 1:
            raise WorkloadError(f"limit is {self.limit}: give a whole number from 1 up")
        if self.max_context is not None and self.max_context < 2:
            raise WorkloadError(f"max_context is {self.max_context}: a request needs 2 tokens")
        if self.window_s is not None:
            start, end = self.window_s
            if not (math.isfinite(start) and math.isfinite(end) and 0 <= start < end):
                raise WorkloadError(f"window is {start}..{end} s: it must begin before it ends")
