"""When a device began and ended its steps, on the run's clock."""

from __future__ import annotations

from collections.abc import Callable

import torch

REBASE_MS = 1000.0
"""Event times are float32 milliseconds: beyond a second they lose their microseconds. In a pause as
long, the clocks may have drifted apart further than any delay tells."""


def timed_event() -> torch.cuda.Event:
    """A CUDA event that keeps its time."""
    event: torch.cuda.Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    return event


def stream_on(device: torch.device) -> torch.cuda.Stream:
    """A stream of its own on a device."""
    stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return stream


class GpuClock:
    """Puts CUDA events on the host's clock.

    A device's clock and the host's run at slightly different speeds, so the offset between them is
    taken anew all the time: a result can't be on the host before its event, and the least delay
    seen since the last base is taken as none.

    Args:
        clock: nanoseconds on the run's clock.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._base = timed_event()
        self._base.record()
        self._base.synchronize()
        self._offset_ns = clock()
        self._base_ms = 0.0
        self._last_ms = 0.0
        self._least_ns: int | None = None

    def interval(self, start: torch.cuda.Event, end: torch.cuda.Event) -> tuple[int, int]:
        """Start and end in ns; both events have happened, and the host has only just seen it."""
        now_ns = self._clock()
        end_ms, duration_ms = self._base.elapsed_time(end), start.elapsed_time(end)
        if end_ms - duration_ms - self._last_ms > REBASE_MS:
            self._least_ns = None
        self._last_ms = end_ms
        gpu_end_ns = round((self._base_ms + end_ms) * 1e6)
        delay_ns = now_ns - (self._offset_ns + gpu_end_ns)
        if self._least_ns is None or delay_ns < self._least_ns:
            self._least_ns = delay_ns
            if delay_ns < 0:  # the device can't end after the host has seen it
                self._offset_ns += delay_ns
                self._least_ns = 0
        if end_ms > REBASE_MS:
            self._base, self._base_ms, self._last_ms = end, self._base_ms + end_ms, 0.0
            self._offset_ns += self._least_ns
            self._least_ns = None
        end_ns = self._offset_ns + gpu_end_ns
        return end_ns - round(duration_ms * 1e6), end_ns
