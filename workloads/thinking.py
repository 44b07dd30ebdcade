"""How long a user reads and thinks, or a tool runs, before the next request."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from workloads.draws import Purpose, uniforms
from workloads.errors import WorkloadError

KINDS = ("exponential", "constant")


@dataclass(frozen=True, slots=True)
class ThinkTime:
    """Time between an answer and the request that follows it.

    `kind` "exponential" draws a time of mean `mean_s` seconds from (seed, request id);
    "constant" is always `mean_s`. Raises `WorkloadError` for an unknown kind and for a mean that
    is not finite and from 0 up.
    """

    mean_s: float
    kind: str = "exponential"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise WorkloadError(f"think time {self.kind!r}: there is {', '.join(KINDS)}")
        if not (math.isfinite(self.mean_s) and self.mean_s >= 0):
            raise WorkloadError(f"think time is {self.mean_s} s: give a number from 0 up")

    def after_ns(self, request_id: int) -> int:
        """Nanoseconds of thought after the answer to this request."""
        if self.kind == "constant":
            return round(self.mean_s * 1e9)
        drawn = uniforms(self.seed, np.array([request_id]), Purpose.THINK_TIME)[0]
        return round(-math.log1p(-float(drawn)) * self.mean_s * 1e9)
