"""A run at one moment, put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from workbench.viewing.cursor import EmissionCursor
from workbench.viewing.figures import figures_at, trends_at
from workbench.viewing.reading import duration_of, warmup_of
from workbench.viewing.record import STATUSES, RunRecord
from workbench.viewing.snapshot import LogEntry, PoolMap, Snapshot, StepTail

_STEPS = 120
_EVENTS = 200
_LIVE = ("live_1", "live_2", "live_4", "live_8", "live_16")
_CACHED = ("cached_0", "cached_1", "cached_2", "cached_4", "cached_8")
_REJECTED = STATUSES.index("rejected")
_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class RunState:
    """What `run.json` and the lock say of a run; see `view.RunView`."""

    content: Mapping[str, Any]
    state: str
    live: bool
    end_ns: int
    usable_blocks: int | None


@dataclass(frozen=True, slots=True)
class _SoFar:
    """The measured window as far as it has come."""

    offered_per_s: float | None
    achieved_per_s: float | None
    attainment: float | None
    goodput_per_s: float | None


def snapshot_at(run: RunState, record: RunRecord, cursor: EmissionCursor, at_ns: int) -> Snapshot:
    """The run as of `at_ns`, up to which the cursor has the last minute's emissions."""
    content = run.content
    figures = figures_at(record, cursor, at_ns, run.usable_blocks)
    state = _state_at(run, record, at_ns)
    duration_s = duration_of(content)
    arriving = state == "running" and duration_s is not None
    so_far = _so_far(record, _window_end_ns(run, record, at_ns, state), at_ns)
    return Snapshot(
        run_id=str(content.get("run_id", "")),
        name=str(content.get("name") or ""),
        state=state,
        reason=str(content.get("reason") or ""),
        progress=str(content.get("progress") or ""),
        live=run.live,
        at_ns=at_ns,
        end_ns=run.end_ns,
        duration_s=duration_s,
        warmup_s=warmup_of(content),
        left_s=max(0.0, duration_s - at_ns / _S) if arriving and duration_s is not None else None,
        figures=figures,
        offered_per_s=so_far.offered_per_s,
        achieved_per_s=so_far.achieved_per_s,
        attainment=so_far.attainment,
        goodput_per_s=so_far.goodput_per_s,
        limits=dict(record.limits_ms),
        pools=_pools(record, at_ns),
        steps=_step_tail(record, at_ns),
        events=_events(record, at_ns),
        trends=trends_at(record, cursor, figures.as_of_ns),
    )


def _state_at(run: RunState, record: RunRecord, at_ns: int) -> str:
    """The run's state; in its past, which of its two phases it was in."""
    if at_ns >= run.end_ns:
        return run.state
    phases = record.log[: _upto(record.log, at_ns)].filter(pl.col("kind") == "phase")
    return "draining" if (phases["detail"] == "draining").any() else "running"


def _window_end_ns(run: RunState, record: RunRecord, at_ns: int, state: str) -> int:
    """The measured window ends with the last arrival, once there are no more of them."""
    known = (run.content.get("window") or {}).get("end_ns")
    if isinstance(known, int):
        return min(known, at_ns)
    if state == "running":
        return at_ns
    arrived = record.arrivals.upto(at_ns)
    scheduled_ns = record.arrivals.column("scheduled_ns")[:arrived]
    return min(at_ns, int(scheduled_ns.max())) if arrived else at_ns


def _so_far(record: RunRecord, window_end_ns: int, at_ns: int) -> _SoFar:
    start_ns = record.window_start_ns
    length_s = (window_end_ns - start_ns) / _S
    arrived = record.arrivals.upto(at_ns)
    measured = record.arrivals.column("scheduled_ns")[:arrived] >= start_ns
    offered = int(measured.sum())
    if length_s <= 0 or not offered:
        return _SoFar(None, None, None, None)
    ended = record.ends.upto(at_ns)
    inside = record.ends.column("measured")[:ended]
    rejected = record.ends.column("status")[:ended][inside] == _REJECTED
    admitted = offered - int(rejected.sum())
    last_ns = int(record.arrivals.times_ns[:arrived][measured][-1])
    achieved_s = (max(window_end_ns, last_ns) - start_ns) / _S
    judged = int(inside.sum())
    met = int(record.ends.column("met")[:ended][inside].sum())
    attainment = met / judged if record.limits_ms and judged else None
    goodput = met / length_s if attainment is not None else None
    return _SoFar(offered / length_s, admitted / achieved_s, attainment, goodput)


def _pools(record: RunRecord, at_ns: int) -> tuple[PoolMap, ...]:
    pools = record.frame("pools")[: record.rows_upto("pools", at_ns)].tail(64)
    latest = pools.group_by("pool", maintain_order=True).last()
    return tuple(
        PoolMap(
            pool=row["pool"],
            sampled_ns=row["time_ns"],
            block_size=row["block_size"],
            usable=row["usable"],
            free=row["free"],
            live=tuple(row[name] for name in _LIVE),
            cached=tuple(row[name] for name in _CACHED),
        )
        for row in latest.iter_rows(named=True)
    )


def _step_tail(record: RunRecord, at_ns: int) -> StepTail:
    end = record.rows_upto("steps", at_ns)
    rows = record.frame("steps")[max(0, end - _STEPS) : end].rechunk()
    names = (
        "step", "schedule_ns", "start_ns", "end_ns", "num_seqs", "prefill_tokens",
        "decode_tokens", "emitting", "running", "waiting",
    )  # fmt: skip
    return StepTail(
        worker=rows["worker"].fill_null(0).to_numpy(),
        kind=tuple(rows["kind"]),
        blocked=tuple(rows["blocked"].fill_null("")),
        gpu_start_ns=rows["gpu_start_ns"].fill_null(-1).to_numpy(),
        gpu_end_ns=rows["gpu_end_ns"].fill_null(-1).to_numpy(),
        **{name: rows[name].to_numpy() for name in names},
    )


def _events(record: RunRecord, at_ns: int) -> tuple[LogEntry, ...]:
    end = _upto(record.log, at_ns)
    names = ("time_ns", "kind", "request_id", "tokens", "detail", "step")
    rows = record.log[max(0, end - _EVENTS) : end].select(names)
    return tuple(LogEntry(*row) for row in rows.iter_rows())


def _upto(log: pl.DataFrame, at_ns: int) -> int:
    return int(log["time_ns"].search_sorted(at_ns, side="right"))
