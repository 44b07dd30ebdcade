"""A run in figures: everything that the end report, a comparison and a script read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from workbench.analysis.devices import device_figures
from workbench.analysis.metrics import (
    NS_PER_MS,
    PER_REQUEST,
    Window,
    emission_gaps,
    request_metrics,
    stage_sum_errors,
)
from workbench.analysis.notes import notes_on
from workbench.analysis.objectives import Objectives, objectives
from workbench.analysis.server import ServerFigures, server_figures
from workbench.analysis.statistics import Distribution, distribution
from workbench.analysis.steps import KvFigures, StepFigures, kv_figures, step_figures
from workbench.analysis.throughput import Load, Throughput, load, throughput
from workbench.runs.schema import EMISSIONS, EVENTS, REQUESTS, SERVER, STEPS, Table
from workbench.runs.tables import polars_schema

Tables = Mapping[str, pl.DataFrame | None]
"""A run's tables by name; one that is missing counts as empty."""

_TOP_REASONS = 5


@dataclass(frozen=True, slots=True)
class Reason:
    """Why requests did not end ok, or were preempted, and how many."""

    what: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Requests of the run and of its window.

    Attributes:
        recorded: requests of the whole run; measured: of the window, the rest counts these.
        by_status: `ok`, `failed`, `cancelled`, `rejected`, `unfinished`.
        reasons: the most frequent reasons of those that did not end ok.
        fitted: shortened to fit the model's context.
        stage_sum_errors: requests of the whole run whose stages do not sum to TTFT; must be 0.
    """

    recorded: int
    measured: int
    by_status: dict[str, int]
    reasons: list[Reason]
    fitted: int
    stage_sum_errors: int


@dataclass(frozen=True, slots=True)
class CacheFigures:
    """The prefix cache and preemptions, over the window's requests that were started; of a remote
    server, which doesn't tell, over those that got a token.

    Attributes:
        prefix_hit_percent: prefix hit rate, %: cached prompt tokens ÷ prompt tokens.
        preemptions, recomputed_tokens: count and tokens; preemption_reasons: of the preemptions
            inside the window, numbers in a reason left out.
    """

    prompt_tokens: int
    cached_tokens: int
    prefix_hit_percent: float | None
    preemptions: int
    recomputed_tokens: int
    preemption_reasons: list[Reason]


@dataclass(frozen=True, slots=True)
class Summary:
    """A run's figures; None where one is undefined or was not recorded.

    Attributes:
        window: `start_ns`, `end_ns`, ns since the run's start; window_s: its length, s.
        drain_s: from the window's end until the last request ended, s.
        latency: by metric: `ttft_ms`, `engine_ttft_ms`, the stages `wait_ms`, `queue_ms`,
            `prefill_ms`, `transfer_ms`, `first_decode_ms`, `recompute_ms`; `tpot_ms`, `e2e_ms`,
            `output_speed` (tok/s/user) per request; `itl_ms`, `itl_per_token_ms` per gap.
        lengths: `input_tokens`, and `output_tokens` of the requests that ended ok.
        devices: figures by device, as `device_figures` names them.
        server: what a remote server told of itself.
        notes: what a reader must know, in sentences.
    """

    window: Window
    window_s: float
    drain_s: float | None
    requests: RequestCounts
    latency: dict[str, Distribution]
    lengths: dict[str, Distribution]
    throughput: Throughput
    objectives: Objectives
    load: Load
    cache: CacheFigures
    kv: KvFigures
    steps: StepFigures
    devices: dict[str, dict[str, float]]
    server: ServerFigures | None
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """The same as dicts, lists, str, numbers and None, ready for JSON."""
        return dataclasses.asdict(self)


def summarise(
    tables: Tables,
    window: Window,
    slo: Mapping[str, float | None] | None = None,
    *,
    usable_blocks: int | None = None,
    block_size: int | None = None,
    drain_end_ns: int | None = None,
    remote: bool = False,
    notes: Sequence[str] = (),
) -> Summary:
    """The figures of a run from its `requests`, `steps`, `emissions`, `events` and `devices`.

    Args:
        tables: as `workbench.runs.schema` has them, null where a stage was not reached.
        window: the measured window.
        slo: limits in ms for `ttft`, `tpot`, `itl` (a request's longest gap), `e2e`.
        usable_blocks, block_size: of the KV pool, the null block left out.
        drain_end_ns: when the run stopped; when the last request ended, if it is not given.
        remote: the requests went to a server that tells nothing, or little, of its stages.
        notes: sentences on the traffic, put after those on the figures.

    Raises:
        ValueError: a limit for something that has none.
    """
    requests, steps, emissions, events = (
        _table(tables, table) for table in (REQUESTS, STEPS, EMISSIONS, EVENTS)
    )
    measured = request_metrics(requests.filter(window.holds("scheduled_ns")))
    gaps = emission_gaps(_of_requests(emissions, measured))
    done = throughput(requests, steps, emissions, window)
    summary = Summary(
        window=window,
        window_s=window.length_s,
        drain_s=_drain_s(requests, window, drain_end_ns),
        requests=_request_counts(requests, measured, stages_told=not remote),
        latency=_latencies(measured, gaps),
        lengths={
            "input_tokens": distribution(measured["prompt_tokens"]),
            "output_tokens": distribution(
                measured.filter(pl.col("status") == "ok")["output_tokens"]
            ),
        },
        throughput=done,
        objectives=objectives(measured, gaps, slo or {}, window),
        load=load(requests, measured, window),
        cache=_cache_figures(measured, events, window, remote),
        kv=kv_figures(steps, window, usable_blocks, block_size),
        steps=step_figures(steps, window),
        devices=device_figures(tables.get("devices"), window, done.output_tokens),
        server=server_figures(tables.get(SERVER.name), window),
        notes=[],
    )
    return dataclasses.replace(summary, notes=[*notes_on(summary.as_dict()), *notes])


def _table(tables: Tables, table: Table) -> pl.DataFrame:
    given = tables.get(table.name)
    if given is not None and given.columns:
        return given
    return pl.DataFrame(schema=polars_schema(table))


def _of_requests(emissions: pl.DataFrame, measured: pl.DataFrame) -> pl.DataFrame:
    """Emissions of the measured requests; by a range of ids where they have no holes."""
    ids = measured["request_id"]
    first, last = ids.min(), ids.max()
    if isinstance(first, int) and isinstance(last, int) and last - first + 1 == ids.len():
        return emissions.filter(pl.col("request_id").is_between(first, last))
    return emissions.join(measured.select("request_id"), on="request_id", how="semi")


def _latencies(measured: pl.DataFrame, gaps: pl.DataFrame) -> dict[str, Distribution]:
    latency = {name: distribution(measured[name].drop_nulls()) for name in PER_REQUEST}
    latency["itl_ms"] = distribution(gaps["gap_ns"] / NS_PER_MS)
    if (gaps["tokens"] == 1).all():
        latency["itl_per_token_ms"] = latency["itl_ms"]
    else:
        latency["itl_per_token_ms"] = distribution(gaps["gap_ns"] / gaps["tokens"] / NS_PER_MS)
    return latency


def _request_counts(
    requests: pl.DataFrame, measured: pl.DataFrame, stages_told: bool
) -> RequestCounts:
    by_status = dict.fromkeys(("ok", "failed", "cancelled", "rejected", "unfinished"), 0)
    by_status.update(dict(measured.group_by("status").len().rows()))
    return RequestCounts(
        recorded=requests.height,
        measured=measured.height,
        by_status=by_status,
        reasons=_top(measured.filter(pl.col("status") != "ok"), "status", "reason"),
        fitted=int(measured["fitted"].sum()),
        stage_sum_errors=stage_sum_errors(requests, stages_told),
    )


def _cache_figures(
    measured: pl.DataFrame, events: pl.DataFrame, window: Window, remote: bool
) -> CacheFigures:
    reached = "first_token_ns" if remote else "started_ns"
    started = measured.filter(pl.col(reached).is_not_null())
    names = ("prompt_tokens", "cached_tokens", "preemptions", "recomputed_tokens")
    prompt, cached, preemptions, recomputed = (int(started[name].sum()) for name in names)
    preempted = events.filter(window.holds("time_ns") & (pl.col("kind") == "preempt"))
    without_numbers = pl.col("detail").str.replace_all(r"\d+", "…")
    return CacheFigures(
        prompt_tokens=prompt,
        cached_tokens=cached,
        prefix_hit_percent=100 * cached / prompt if prompt else None,
        preemptions=preemptions,
        recomputed_tokens=recomputed,
        preemption_reasons=_top(preempted.with_columns(without_numbers), "kind", "detail"),
    )


def _top(rows: pl.DataFrame, what: str, reason: str) -> list[Reason]:
    counts = (
        rows.group_by(what, reason)
        .len("count")
        .sort(["count", what, reason], descending=[True, False, False])
    )
    return [Reason(*row) for row in counts.head(_TOP_REASONS).rows()]


def _drain_s(requests: pl.DataFrame, window: Window, drain_end_ns: int | None) -> float | None:
    ended = requests["finished_ns"].max() if drain_end_ns is None else drain_end_ns
    return max(0, ended - window.end_ns) / 1e9 if isinstance(ended, int) else None
