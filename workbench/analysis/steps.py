"""The engine's steps and its KV blocks over the window."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from workbench.analysis.gpu_time import GpuTime, gpu_time, with_gpu_times
from workbench.analysis.metrics import NS_PER_MS, Window
from workbench.analysis.statistics import Distribution, distribution


@dataclass(frozen=True, slots=True)
class StepFigures:
    """The steps that ended inside the window.

    Attributes:
        count: how many; by_kind: of each kind.
        duration_ms: from the first launch until the sampled tokens are on the host, ms, of all
            steps (`all`) and by kind. One that is launched while the step before it runs lasts
            from the end of that: no moment counts twice.
        schedule_ms: host time spent on planning a step, ms.
        host_gap_ms: from a step's end to the next one's start, ms, where requests were left
            after the step: an idle engine has no host gap. 0 where the next one was launched
            before.
        mean_batch: sequences per step.
        tokens_per_step: prompt and decode tokens computed per step.
        in_steps_percent: share of the window spent inside steps, %.
        gpu: the same steps as the GPU saw them; None where none was timed there.
    """

    count: int
    by_kind: dict[str, int]
    duration_ms: dict[str, Distribution]
    schedule_ms: Distribution
    host_gap_ms: Distribution
    mean_batch: float | None
    tokens_per_step: float | None
    in_steps_percent: float | None
    gpu: GpuTime | None


def step_figures(steps: pl.DataFrame, window: Window) -> StepFigures:
    """Durations, batches and gaps of the window's steps."""
    timed = timed_steps(steps.sort("step")).with_columns(
        inside_ns=pl.min_horizontal("end_ns", pl.lit(window.end_ns))
        - pl.max_horizontal("start_ns", pl.lit(window.start_ns)),
    )
    inside = timed.filter(window.holds("end_ns"))
    kinds = sorted(inside["kind"].unique())
    durations = {"all": distribution(inside["duration_ms"])}
    for kind in kinds:
        durations[kind] = distribution(inside.filter(pl.col("kind") == kind)["duration_ms"])
    inside_s = int(timed["inside_ns"].clip(lower_bound=0).sum()) / 1e9
    has_window = bool(inside.height) and window.length_s > 0
    tokens = inside["prefill_tokens"] + inside["decode_tokens"]
    return StepFigures(
        count=inside.height,
        by_kind={kind: durations[kind].n for kind in kinds},
        duration_ms=durations,
        schedule_ms=distribution(inside["schedule_ms"]),
        host_gap_ms=distribution(inside["gap_ms"].drop_nulls()),
        mean_batch=distribution(inside["num_seqs"]).mean,
        tokens_per_step=distribution(tokens).mean,
        in_steps_percent=100 * inside_s / window.length_s if has_window else None,
        gpu=gpu_time(steps, window),
    )


def timed_steps(steps: pl.DataFrame) -> pl.DataFrame:
    """`steps`, in order, with the columns `duration_ms`, `schedule_ms` and `gap_ms` (the host gap
    after the step) of `StepFigures`, ms, and those of `with_gpu_times`."""
    busy = (pl.col("running") + pl.col("waiting")) > 0
    return with_gpu_times(steps).with_columns(
        duration_ms=(pl.col("end_ns") - pl.col("start_ns")) / NS_PER_MS,
        schedule_ms=pl.col("schedule_ns") / NS_PER_MS,
        gap_ms=pl.when(busy).then(pl.col("start_ns").shift(-1) - pl.col("end_ns")) / NS_PER_MS,
    )


@dataclass(frozen=True, slots=True)
class KvFigures:
    """KV blocks over the window, as they stood after each step.

    Attributes:
        usable_blocks: blocks of the pool, the null block left out; block_size: tokens of a block.
        usage_peak_percent, usage_mean_percent: KV usage, %: blocks held by live requests ÷ all
            blocks; cached-but-free blocks apart. The mean is over time: a state counts for as
            long as it lasts, an idle engine's included; before the first step no block is held.
        live_peak_blocks, cached_peak_blocks: the most blocks held by requests, and the most
            cached but held by none.
    """

    usable_blocks: int | None
    block_size: int | None
    usage_peak_percent: float | None
    usage_mean_percent: float | None
    live_peak_blocks: int | None
    cached_peak_blocks: int | None


def kv_figures(
    steps: pl.DataFrame, window: Window, usable_blocks: int | None, block_size: int | None
) -> KvFigures:
    """KV usage over the window; the percentages need `usable_blocks`."""
    lasting = (
        steps.sort("end_ns")
        .select(
            "live_blocks",
            "cached_blocks",
            since_ns=pl.max_horizontal("end_ns", pl.lit(window.start_ns)),
            until_ns=pl.min_horizontal(
                pl.col("end_ns").shift(-1).fill_null(window.end_ns), pl.lit(window.end_ns)
            ),
        )
        .with_columns(lasted_ns=pl.col("until_ns") - pl.col("since_ns"))
        .filter((pl.col("lasted_ns") >= 0) & (pl.col("since_ns") <= window.end_ns))
    )
    if not lasting.height:
        return KvFigures(usable_blocks, block_size, None, None, None, None)
    peaks = lasting.select(pl.col("live_blocks", "cached_blocks").max()).row(0)
    window_ns = window.end_ns - window.start_ns
    block_ns = lasting.select(pl.col("live_blocks").cast(pl.Float64).dot("lasted_ns")).item()
    share = 100 / usable_blocks if usable_blocks else None
    return KvFigures(
        usable_blocks,
        block_size,
        peaks[0] * share if share is not None else None,
        block_ns / window_ns * share if share is not None and window_ns > 0 else None,
        *peaks,
    )
