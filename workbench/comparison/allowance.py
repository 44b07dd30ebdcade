"""What a single run can't show: by how much its figures would differ in another run of the same
spec, because the machine was in another mood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.analysis.lookup import at
from workbench.comparison.compared_metrics import BY_LIMITS, Metric

RUN_NOISE = 0.03
"""How much faster or slower all of a run's steps are than another's: the standard deviation of the
logarithm. A quiet machine has less, a shared one more (docs/measurements.md)."""

QUEUE_ELASTICITY = 8.0
"""By how many per cent a queue gets longer when every step takes 1 % longer: of simulated runs at
half to nine tenths of capacity 7 to 14 (docs/compare.md); in M/G/1, 2 + load ÷ (1 - load)."""

_WITH_QUEUE = ("ttft_ms", "queue_ms", "e2e_ms")


def allowance(metric: Metric, summary: Mapping[str, Any] | None, run_noise: float) -> float:
    """The standard deviation, from run to run, of the logarithm of a run's figure.

    Steps differ by `run_noise`, and what holds time in the queue by as much more as the queue is
    its part: a slightly slower machine has a much longer queue.
    """
    return run_noise * (1 + (QUEUE_ELASTICITY - 1) * _queued_share(metric, summary))


def _queued_share(metric: Metric, summary: Mapping[str, Any] | None) -> float:
    """The part of a figure that is time in the queue, 0 to 1."""
    if metric.name in BY_LIMITS:
        limits = at(summary, "objectives", "limits_ms") or {}
        column, figure = "ttft_ms", "mean"
        if not {"ttft", "e2e"} & set(limits):
            return 0.0
    elif metric.column in _WITH_QUEUE:
        column, figure = metric.column, metric.figure
    else:
        return 0.0
    whole = at(summary, "latency", column, figure)
    queued = at(summary, "latency", "queue_ms", figure)
    if queued is None:
        # A server doesn't tell: what it takes beyond its fastest answer may all be queue.
        least = at(summary, "latency", column, "min")
        queued = whole - least if whole is not None and least is not None else None
    if not whole or queued is None:
        return 0.0
    return min(1.0, max(0.0, float(queued) / float(whole)))
