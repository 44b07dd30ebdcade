"""Users who leave before their answer has come."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from workloads.draws import Purpose, uniforms
from workloads.errors import WorkloadError


@dataclass(frozen=True, slots=True)
class Patience:
    """A `share` of the requests, 0 to 1, is given up `after_s` seconds after it was due.

    Which ones depends on (seed, request id) alone. Raises `WorkloadError` for a share outside 0
    to 1 and for a time that is not finite and positive.
    """

    share: float
    after_s: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise WorkloadError(f"cancel_share is {self.share}: give a number from 0 to 1")
        if not (math.isfinite(self.after_s) and self.after_s > 0):
            raise WorkloadError(f"cancel_after is {self.after_s} s: give a positive number")

    def leaves_ns(self, request_id: int, scheduled_ns: int) -> int | None:
        """When its user gives it up, nanoseconds since the run's start; None for who waits."""
        drawn = uniforms(self.seed, np.array([request_id]), Purpose.PATIENCE)[0]
        return scheduled_ns + round(self.after_s * 1e9) if drawn < self.share else None
