"""The run's clock: integer nanoseconds since its start, monotonic."""

from __future__ import annotations

import time


class RunClock:
    """Callable; 0 at `start`. The origin is on the system's monotonic clock, so that another
    process on the same machine can tell how far a run is."""

    def __init__(self) -> None:
        self.origin_ns = time.monotonic_ns()

    @property
    def origin_unix_ns(self) -> int:
        """The origin on the wall clock, as that goes now: nanoseconds of Unix time."""
        return time.time_ns() - self()

    def start(self, in_ns: int = 0) -> None:
        """Sets the clock to 0, now or `in_ns` ahead: until then it is below 0."""
        self.origin_ns = time.monotonic_ns() + in_ns

    def __call__(self) -> int:
        return time.monotonic_ns() - self.origin_ns
