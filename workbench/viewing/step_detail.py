"""One step of the engine in full: its times, who was in it, and what happened in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from workbench.analysis.metrics import NS_PER_MS
from workbench.viewing.timeline import StepIndex

if TYPE_CHECKING:
    from workbench.viewing.view import RunView

_MOST_EVENTS = 200


@dataclass(frozen=True, slots=True)
class Member:
    """A request that a step computed for; `part` is "prefill" or "decode"."""

    request_id: int
    part: str
    tokens: int


@dataclass(frozen=True, slots=True)
class StepEvent:
    """Something that happened in the step, its prefill chunks left out."""

    kind: str
    request_id: int | None
    tokens: int
    detail: str


@dataclass(frozen=True, slots=True)
class StepDetail:
    """One step; None where the record does not have it.

    Attributes:
        gap_before_ms: since the step before it on the same worker, ms; gap_is_host: requests were
            running or waiting meanwhile, so that the host kept the GPU idle.
        launch_ms: host time spent on launching it, ms; gpu_ms: on the GPU, from its first to its
            last work; gpu_idle_ms: that the GPU idled before it, since the step before on the
            same worker, where requests were left after that.
        live_blocks, cached_blocks: KV blocks held by requests, and cached but held by none, after
            it; running, waiting: requests after it.
        blocked: why the first waiting request was not in it; "" if none was kept out.
    """

    step: int
    kind: str
    worker: int
    start_ns: int
    end_ns: int
    duration_ms: float
    schedule_ms: float
    gap_before_ms: float | None
    gap_is_host: bool
    launch_ms: float | None
    gpu_ms: float | None
    gpu_idle_ms: float | None
    num_seqs: int
    prefill_tokens: int
    decode_tokens: int
    running: int
    waiting: int
    live_blocks: int
    cached_blocks: int
    blocked: str | None
    members: tuple[Member, ...]
    events: tuple[StepEvent, ...]


def step_detail(view: RunView, index: StepIndex, step: int) -> StepDetail | None:
    """Everything about a step; None if there is none of this number. Slow: for a loader thread."""
    place = index.place(step)
    if place is None:
        return None
    lane, row = place
    found = view.frames.steps.row(by_predicate=pl.col("step") == step, named=True)
    launch_ns = found.get("launch_ns")
    gap_ns = int(lane.from_ns[row] - lane.until_ns[row - 1]) if row else None
    return StepDetail(
        step=step,
        kind=found["kind"],
        worker=lane.worker,
        start_ns=found["start_ns"],
        end_ns=found["end_ns"],
        duration_ms=(found["end_ns"] - found["start_ns"]) / NS_PER_MS,
        schedule_ms=found["schedule_ns"] / NS_PER_MS,
        gap_before_ms=None if gap_ns is None else gap_ns / NS_PER_MS,
        gap_is_host=row > 0 and int(lane.left[row - 1]) > 0,
        launch_ms=None if launch_ns is None else launch_ns / NS_PER_MS,
        gpu_ms=_or_none(lane.gpu_ms[row]),
        gpu_idle_ms=_or_none(lane.gpu_idle_ms[row]),
        num_seqs=found["num_seqs"],
        prefill_tokens=found["prefill_tokens"],
        decode_tokens=found["decode_tokens"],
        running=found["running"],
        waiting=found["waiting"],
        live_blocks=found["live_blocks"],
        cached_blocks=found["cached_blocks"],
        blocked=found.get("blocked"),
        members=_members(view.step_members(step)),
        events=_events(view.frames.events, step),
    )


def _or_none(value: float) -> float | None:
    return None if value != value else float(value)


def _members(members: pl.DataFrame) -> tuple[Member, ...]:
    rows = members.select("request_id", "part", "tokens").sort(
        "part", "request_id", descending=[True, False]
    )
    return tuple(Member(*row) for row in rows.iter_rows())


def _events(events: pl.DataFrame, step: int) -> tuple[StepEvent, ...]:
    inside = events.filter((pl.col("step") == step) & (pl.col("kind") != "prefill"))
    rows = inside.head(_MOST_EVENTS).select("kind", "request_id", "tokens", "detail")
    return tuple(StepEvent(*row) for row in rows.iter_rows())
