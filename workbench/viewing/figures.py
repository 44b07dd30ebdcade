"""The tiles of a run as of any moment, by the definitions of `analysis.live`."""

from __future__ import annotations

from collections import Counter

import numpy as np

from workbench.analysis.live import (
    ARRIVAL_SPAN_S,
    GAP_SPAN_S,
    TOKEN_SPAN_S,
    LiveSnapshot,
)
from workbench.analysis.statistics import percentiles
from workbench.viewing.by_request import BIN_NS
from workbench.viewing.cursor import TREND_INTERVALS, TREND_WIDTH_NS, EmissionCursor
from workbench.viewing.growing import Floats, Ints, Stamped
from workbench.viewing.intervals import percentiles_by_interval
from workbench.viewing.record import STATUSES, RunRecord

_S = 1_000_000_000
_STALE_NS = 2 * _S
_QS = (50.0, 99.0)


def figures_at(
    record: RunRecord, cursor: EmissionCursor, at_ns: int, usable_blocks: int | None
) -> LiveSnapshot:
    """What `LiveState.snapshot(at_ns)` gives after all that was recorded up to `at_ns`.

    Percentiles are of all samples, where `LiveState` leaves out up to 1 % of the latest past
    50,000.
    """
    newest_ns = _newest_ns(record, cursor, at_ns)
    as_of_ns = newest_ns if 0 <= at_ns - newest_ns < _STALE_NS else at_ns
    ttft_ms = record.firsts.column("ttft_ms")[: record.firsts.upto(at_ns)]
    ended = record.ends.upto(at_ns)
    tpot_ms = record.ends.column("tpot_ms")[:ended]
    tpot_ms = tpot_ms[~np.isnan(tpot_ms)]
    gaps_ms = _within(cursor.gaps, "gap_ms", as_of_ns, GAP_SPAN_S)
    ttft, tpot, itl = (percentiles(samples, _QS) for samples in (ttft_ms, tpot_ms, gaps_ms))
    offered = record.arrivals.upto(at_ns)
    engine = _engine(record, at_ns, offered - ended)
    live_blocks = engine["live_blocks"]
    usage = 100 * live_blocks / usable_blocks if live_blocks is not None and usable_blocks else None
    if usage is None:
        told = _server_told(record, "kv_usage", at_ns)
        usage = None if told is None else 100 * told
    output = _within(cursor.tokens, "tokens", as_of_ns, TOKEN_SPAN_S).sum()
    return LiveSnapshot(
        now_ns=at_ns,
        as_of_ns=as_of_ns,
        offered=offered,
        ended=_by_status(record, ended),
        in_flight=offered - ended,
        running=engine["running"] or 0,
        waiting=engine["waiting"] or 0,
        arrivals_per_s=_per_s(_arrived(record, offered, as_of_ns), ARRIVAL_SPAN_S, as_of_ns),
        output_tokens_per_s=_per_s(output, TOKEN_SPAN_S, as_of_ns),
        prompt_tokens_per_s=_per_s(
            _recent_steps(record, "prefill_tokens", as_of_ns).sum(), TOKEN_SPAN_S, as_of_ns
        ),
        ttft_p50_ms=ttft[0],
        ttft_p99_ms=ttft[1],
        ttft_n=int(ttft_ms.size),
        tpot_p50_ms=tpot[0],
        tpot_p99_ms=tpot[1],
        tpot_n=int(tpot_ms.size),
        itl_p50_ms=itl[0],
        itl_p99_ms=itl[1],
        itl_n=int(gaps_ms.size),
        kv_usage_percent=usage,
        live_blocks=live_blocks,
        cached_blocks=engine["cached_blocks"],
        steps=record.rows_upto("steps", at_ns),
        step_kinds=_step_kinds(record, as_of_ns),
        preemptions=record.preemptions.upto(at_ns),
        output_tokens=output_tokens_at(record, cursor, at_ns),
        devices=_devices(record, at_ns),
    )


def trends_at(record: RunRecord, cursor: EmissionCursor, as_of_ns: int) -> dict[str, Floats]:
    """p50 of TTFT, TPOT and ITL, ms, in each of the last intervals; NaN where there was none."""
    return {
        "ttft": _trend(record.firsts, "ttft_ms", as_of_ns),
        "tpot": _trend(record.ends, "tpot_ms", as_of_ns),
        "itl": cursor.trend_ms(as_of_ns),
    }


def _trend(samples: Stamped, name: str, as_of_ns: int) -> Floats:
    first = as_of_ns // TREND_WIDTH_NS - TREND_INTERVALS + 1
    start, end = samples.upto(first * TREND_WIDTH_NS - 1), samples.upto(as_of_ns)
    intervals = samples.times_ns[start:end] // TREND_WIDTH_NS - first
    found, (p50,) = percentiles_by_interval(intervals, samples.column(name)[start:end], (50.0,))
    trend = np.full(TREND_INTERVALS, np.nan)
    trend[found] = p50
    return trend


def output_tokens_at(record: RunRecord, cursor: EmissionCursor, at_ns: int) -> int:
    """Output tokens emitted up to `at_ns`, where the cursor stands."""
    begin_ns = at_ns // BIN_NS * BIN_NS
    start = cursor.tokens.upto(begin_ns - 1)
    counted = record.token_counts.before(np.array([begin_ns]))[0]
    return int(counted + cursor.tokens.column("tokens")[start:].sum())


def _newest_ns(record: RunRecord, cursor: EmissionCursor, at_ns: int) -> int:
    """The newest stamp up to `at_ns` that `LiveState` takes notice of."""
    newest_ns = 0
    arrived = record.arrivals.upto(at_ns)
    if arrived:
        newest_ns = int(record.arrivals.column("scheduled_ns")[:arrived].max())
    steps = record.rows_upto("steps", at_ns)
    if steps:
        newest_ns = max(newest_ns, int(record.column("steps", "end_ns")[steps - 1]))
    for stamped in (record.ends, cursor.tokens):
        rows = stamped.upto(at_ns)
        if rows:
            newest_ns = max(newest_ns, int(stamped.times_ns[rows - 1]))
    return newest_ns


def _within(stamped: Stamped, name: str, as_of_ns: int, span_s: int) -> Floats | Ints:
    start, end = stamped.upto(as_of_ns - span_s * _S), stamped.upto(as_of_ns)
    return stamped.column(name)[start:end]


def _arrived(record: RunRecord, offered: int, as_of_ns: int) -> int:
    scheduled_ns = record.arrivals.column("scheduled_ns")[:offered]
    recent = (scheduled_ns > as_of_ns - ARRIVAL_SPAN_S * _S) & (scheduled_ns <= as_of_ns)
    return int(recent.sum())


def _by_status(record: RunRecord, ended: int) -> dict[str, int]:
    counts = np.bincount(record.ends.column("status")[:ended], minlength=len(STATUSES))
    return {name: int(n) for name, n in zip(STATUSES, counts, strict=True) if n}


def _recent_steps(record: RunRecord, name: str, as_of_ns: int) -> Ints:
    start = record.rows_upto("steps", as_of_ns - TOKEN_SPAN_S * _S)
    column: Ints = record.column("steps", name)[start : record.rows_upto("steps", as_of_ns)]
    return column


def _step_kinds(record: RunRecord, as_of_ns: int) -> dict[str, int]:
    start = record.rows_upto("steps", as_of_ns - TOKEN_SPAN_S * _S)
    end = record.rows_upto("steps", as_of_ns)
    return dict(Counter(record.frame("steps")["kind"][start:end].to_list()))


def _engine(record: RunRecord, at_ns: int, in_flight: int) -> dict[str, int | None]:
    """Its state after the last step; a remote server's own word, where it tells."""
    state: dict[str, int | None] = {
        "running": None, "waiting": in_flight, "live_blocks": None, "cached_blocks": None
    }  # fmt: skip
    rows = record.rows_upto("steps", at_ns)
    if rows:
        state = {name: int(record.column("steps", name)[rows - 1]) for name in state}
    for name in ("running", "waiting"):
        told = _server_told(record, name, at_ns)
        if told is not None:
            state[name] = int(told)
    return state


def _server_told(record: RunRecord, name: str, at_ns: int) -> float | None:
    told = record.column("server", name)[: record.rows_upto("server", at_ns)]
    told = told[~np.isnan(told)]
    return float(told[-1]) if told.size else None


def _devices(record: RunRecord, at_ns: int) -> dict[str, dict[str, float]]:
    rows = record.rows_upto("devices", at_ns)
    last = record.frame("devices")[max(0, rows - 256) : rows]
    latest = last.group_by("device", maintain_order=True).last()
    return {
        str(row.pop("device")): {
            name: value
            for name, value in row.items()
            if value is not None and name not in ("time_ns", "period_ns")
        }
        for row in latest.iter_rows(named=True)
    }


def _per_s(count: float, span_s: int, as_of_ns: int) -> float | None:
    """A rate over the span, or over the run where that is shorter."""
    length_s = min(span_s, as_of_ns / _S)
    return float(count) / length_s if length_s > 0 else None
