"""What the GPU did of the engine's steps: how long it computed, and idled between them."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from workbench.analysis.metrics import NS_PER_MS, Window
from workbench.analysis.statistics import Distribution, distribution

_STAMPS = ("gpu_start_ns", "gpu_end_ns")


@dataclass(frozen=True, slots=True)
class GpuTime:
    """The window's steps as CUDA events timed them; on the run's clock.

    Attributes:
        steps: steps that ended inside the window and were timed.
        busy_percent: GPU busy share, %: the part of the window between a step's first and last
            work on the GPU, of any worker, ÷ the window.
        step_ms: GPU time of a step, ms: `gpu_end - gpu_start`, of all steps (`all`) and by kind.
        decode_idle_ms: GPU idle between decode steps, ms: from the `gpu_end` of a decode step to
            the `gpu_start` of the next step of the same worker, where that is a decode step, too,
            and requests were left in between; 0 where the next one had begun.
        decode_idle_percent: the sum of these ÷ (that sum + the GPU time of the steps after
            them), %: the share of decode step time in which the GPU had nothing to do.
        host_ms: host time of a step, ms: planning and launching it, `schedule_ns + launch_ns`.
            With overlap it passes while the GPU computes the step before.
    """

    steps: int
    busy_percent: float | None
    step_ms: dict[str, Distribution]
    decode_idle_ms: Distribution
    decode_idle_percent: float | None
    host_ms: Distribution


def gpu_time(steps: pl.DataFrame, window: Window) -> GpuTime | None:
    """GPU times and gaps of the window's steps; None where no step was timed, as on a CPU."""
    timed = with_gpu_times(steps)
    inside = timed.filter(window.holds("end_ns") & pl.col("gpu_ms").is_not_null())
    if not inside.height:
        return None
    step_ms = {"all": distribution(inside["gpu_ms"])}
    for kind in sorted(inside["kind"].unique()):
        step_ms[kind] = distribution(inside.filter(pl.col("kind") == kind)["gpu_ms"])
    between = inside.filter(pl.col("decode_idle_ms").is_not_null())
    idle, computed = (float(between[name].sum()) for name in ("decode_idle_ms", "gpu_ms"))
    return GpuTime(
        steps=inside.height,
        busy_percent=_busy_percent(timed, window),
        step_ms=step_ms,
        decode_idle_ms=distribution(between["decode_idle_ms"]),
        decode_idle_percent=100 * idle / (idle + computed) if idle + computed > 0 else None,
        host_ms=distribution(inside["host_ms"].drop_nulls()),
    )


def with_gpu_times(steps: pl.DataFrame) -> pl.DataFrame:
    """`steps` with the columns `gpu_ms`, `gpu_idle_ms`, `decode_idle_ms` and `host_ms`; ms.

    `gpu_idle_ms`: from the step before it on the same worker, where requests were left after
    that; `decode_idle_ms`: the same between two decode steps; the rest as `GpuTime` has it. Null
    where a step was not timed, and of an older record that has no such columns.
    """
    absent = [name for name in (*_STAMPS, "launch_ns", "worker") if name not in steps.columns]
    steps = steps.with_columns(pl.lit(None, pl.Int64).alias(name) for name in absent)
    start, end = (pl.col(name) for name in _STAMPS)
    left, worker = pl.col("running") + pl.col("waiting"), pl.col("worker").fill_null(0)
    before = {
        name: what.shift(1).over(worker, order_by="step")
        for name, what in (("end", end), ("left", left), ("kind", pl.col("kind")))
    }
    idle = (start - before["end"]).clip(lower_bound=0) / NS_PER_MS
    steps = steps.with_columns(
        gpu_ms=(end - start) / NS_PER_MS,
        gpu_idle_ms=pl.when(before["left"] > 0).then(idle),
        after_kind=before["kind"],
        host_ms=(pl.col("schedule_ns") + pl.col("launch_ns")) / NS_PER_MS,
    )
    decodes = (pl.col("kind") == "decode") & (pl.col("after_kind") == "decode")
    return steps.with_columns(decode_idle_ms=pl.when(decodes).then("gpu_idle_ms")).drop(
        "after_kind"
    )


def _busy_percent(timed: pl.DataFrame, window: Window) -> float | None:
    """Overlapping intervals count once."""
    if window.length_s <= 0:
        return None
    inside = (
        timed.select(
            start=pl.col("gpu_start_ns").clip(window.start_ns, window.end_ns),
            end=pl.col("gpu_end_ns").clip(window.start_ns, window.end_ns),
        )
        .drop_nulls()
        .sort("start")
    )
    covered = pl.col("end").cum_max().shift(1).fill_null(window.start_ns)
    busy = (pl.col("end") - pl.max_horizontal("start", covered)).clip(lower_bound=0)
    return 100 * int(inside.select(busy.sum()).item()) / (window.end_ns - window.start_ns)
