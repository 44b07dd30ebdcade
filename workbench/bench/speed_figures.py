"""An engine's steps as figures: how fast, where the time went, and how far that is from the floor.

All of it follows from what the steps told; nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from engines.base import StepResult
from profiles.roofline import Ceilings, DecoderCost, Demand, demand, floor_s, total_floor_s
from workbench.bench.speed_schedule import works_of
from workbench.bench.speed_work import Work

Row = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class TimedRun:
    """A work, served once.

    Attributes:
        prompt_tokens: of each request, by id.
        submitted_ns: before the first request was submitted, on the steps' clock.
    """

    work: Work
    prompt_tokens: dict[int, int]
    submitted_ns: int
    results: Sequence[StepResult]

    @property
    def output_tokens(self) -> int:
        return sum(int(result.emitted_tokens.sum()) for result in self.results)

    @property
    def seconds(self) -> float:
        """From the first submission until the last token was on the host."""
        last_ns = max(result.end_ns for result in self.results if len(result.emitted_ids))
        return (last_ns - self.submitted_ns) / 1e9


def figures(run: TimedRun, cost: DecoderCost, ceilings: Ceilings) -> dict[str, Any]:
    """Everything that a run tells; None is what it doesn't."""
    needs = [demand(cost, work) for work in works_of(run.results, run.prompt_tokens)]
    need, seconds = sum(needs, Demand()), run.seconds
    floor = total_floor_s(needs, ceilings)
    return {
        "seconds": seconds,
        "output_tokens_per_s": run.output_tokens / seconds,
        "prompt_tokens_per_s": run.work.prompt_tokens / seconds,
        "steps": len(run.results),
        "preemptions": sum(e.kind == "preempt" for r in run.results for e in r.events),
        "step_ms": step_split(run.results),
        "gpu_idle_share": gpu_idle_share(run.results),
        "decode_steps": decode_steps(run, needs, ceilings),
        "bytes": need.bytes,
        "flop": need.flop,
        "tb_per_s": need.bytes / seconds / 1e12,
        "tflop_per_s": need.flop / seconds / 1e12,
        "floor_seconds": floor,
        "times_floor": seconds / floor,
    }


def step_split(results: Sequence[StepResult]) -> Row:
    """Means over steps that follow each other, in ms.

    `period`: from one step's end to the next one's. `gpu`: from a step's first kernel to its last.
    `gap`: from there to the next step's first, in which the GPU has nothing to do. `schedule` and
    `launch` are the host's time, which passes beside the GPU's where steps overlap.
    """
    return {
        "period": _mean_ms(periods_ns(results)),
        "gpu": _mean_ms(gpu_ns(results)),
        "gap": _mean_ms(gpu_gaps_ns(results)),
        "schedule": _mean_ms([r.schedule_ns for r in results]),
        "launch": _mean_ms([r.launch_ns for r in results if r.launch_ns >= 0]),
    }


def gpu_idle_share(results: Sequence[StepResult]) -> float | None:
    """The share of the mean gap in mean gap and GPU time, 0 to 1; None where none is told."""
    busy_ms, gap_ms = _mean_ms(gpu_ns(results)), _mean_ms(gpu_gaps_ns(results))
    return None if busy_ms is None or gap_ms is None else gap_ms / (gap_ms + busy_ms)


def decode_steps(
    run: TimedRun, needs: Sequence[Demand], ceilings: Ceilings
) -> dict[str, Any] | None:
    """Steps that decode the largest batch there was and do nothing else; None without two."""
    most = max((r.decode_tokens for r in run.results if r.kind == "decode"), default=0)
    chosen = [
        index
        for index, result in enumerate(run.results)
        if result.kind == "decode" and result.decode_tokens == most
    ]
    results = [run.results[index] for index in chosen]
    periods = np.array(periods_ns(results)) / 1e6
    if not len(periods):
        return None
    floor_ms = 1e3 * float(np.mean([floor_s(needs[index], ceilings) for index in chosen]))
    p50 = float(np.median(periods))
    return {
        "batch": most,
        "steps": len(chosen),
        "ms_p50": p50,
        "ms_p99": float(np.percentile(periods, 99)),
        "step_ms": step_split(results),
        "gpu_idle_share": gpu_idle_share(results),
        "floor_ms": floor_ms,
        "times_floor": p50 / floor_ms,
    }


def periods_ns(results: Sequence[StepResult]) -> list[int]:
    """From the end of a step to the end of the next, where one directly follows the other."""
    pairs = pairwise(results)
    return [b.end_ns - a.end_ns for a, b in pairs if b.index == a.index + 1]


def gpu_ns(results: Sequence[StepResult]) -> list[int]:
    """From a step's first kernel to its last, where the GPU told."""
    return [r.gpu_end_ns - r.gpu_start_ns for r in results if r.gpu_end_ns >= 0]


def gpu_gaps_ns(results: Sequence[StepResult]) -> list[int]:
    """From the GPU's end of a step to its start of the next, where both are known."""
    pairs = pairwise(results)
    return [
        max(0, b.gpu_start_ns - a.gpu_end_ns)
        for a, b in pairs
        if b.index == a.index + 1 and a.gpu_end_ns >= 0 and b.gpu_start_ns >= 0
    ]


def _mean_ms(values_ns: Sequence[int]) -> float | None:
    return float(np.mean(values_ns)) / 1e6 if len(values_ns) else None
