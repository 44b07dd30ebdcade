"""A run as GuideLLM 0.8 writes one: `benchmarks.json`, one report with one benchmark.

Every metric is computed from the run's stamps by GuideLLM's definition; docs/export.md has them
all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from typing import IO, Any

import polars as pl

from engines.options import REMOTE
from workbench.exporting.clock import origin_ns
from workbench.exporting.guidellm_distributions import STATUSES, of_values
from workbench.exporting.guidellm_metrics import benchmark_metrics
from workbench.exporting.guidellm_requests import request_line, request_stats
from workbench.exporting.guidellm_spec import benchmark_config, load, report_config
from workbench.exporting.source import RunSource, content_of

FILE = "benchmarks.json"
REPORT_VERSION = 2

_SLICE_REQUESTS = 20_000
_UNKNOWN_S = -1.0
"""What GuideLLM writes for a mean that it has no samples of."""


def write_report(source: RunSource, file: IO[bytes], *, in_window: bool = False) -> None:
    """Writes the report; its `requests` are last, one a line.

    Args:
        in_window: only requests of the measured window are in it, and counted.

    Raises:
        StoreError: a table is broken.
        OSError: the file takes no more.
    """
    requests = source.requests
    if in_window:
        requests = requests.filter(source.window.holds("scheduled_ns"))
    remote = content_of(source, "engine", "name") == REMOTE
    stats = request_stats(requests, _iterations(source, requests), remote)
    for piece in _pieces(source, stats):
        file.write(piece.encode())


def _iterations(source: RunSource, requests: pl.DataFrame) -> pl.DataFrame:
    counts = [
        source.emissions_of(requests.slice(start, _SLICE_REQUESTS))
        .group_by("request_id")
        .len("iterations")
        for start in range(0, max(1, requests.height), _SLICE_REQUESTS)
    ]
    return pl.concat(counts).cast({"iterations": pl.Int64})


def _pieces(source: RunSource, stats: pl.DataFrame) -> Iterator[str]:
    """The report as JSON, bit by bit: a million requests are not one object."""
    zero_ns = origin_ns(source)
    benchmark = json.dumps(_benchmark(source, stats, zero_ns), allow_nan=False)
    yield _opened({"metadata": _metadata(source), "config": report_config(source)})
    yield ', "conclusions": [], "benchmarks": [\n'
    yield f'{benchmark[:-1]}, "requests": {{"total": null'
    for status in STATUSES:
        yield f',\n"{status}": ['
        rows = stats.filter(pl.col("group") == status)
        for number, row in enumerate(rows.iter_rows(named=True)):
            line = json.dumps(request_line(row, zero_ns), allow_nan=False)
            yield f",\n{line}" if number else f"\n{line}"
        yield "]"
    yield "}}]}\n"


def _opened(content: dict[str, Any]) -> str:
    """An object whose end is still to come."""
    return json.dumps(content, allow_nan=False)[:-1]


def _metadata(source: RunSource) -> dict[str, Any]:
    """Who wrote it. `guidellm_version` is no version of GuideLLM: its reader would put its own."""
    program = f"workbench {version('workbench')}"
    return {
        "version": REPORT_VERSION,
        "guidellm_version": f"none; exported by {program}",
        "python_version": str(content_of(source, "environment", "python") or "unknown"),
        "platform": str(
            content_of(source, "environment", "hardware", "operating_system") or "unknown"
        ),
        "exported_by": program,
    }


def _benchmark(source: RunSource, stats: pl.DataFrame, zero_ns: int) -> dict[str, Any]:
    window = source.window

    def unix_s(stamp_ns: int | None) -> float:
        return (zero_ns + (stamp_ns or 0)) / 1e9

    bounds = stats.select(pl.col("start_ns").min(), pl.col("end_ns").max()).row(0, named=True)
    first_ns, last_ns = bounds["start_ns"], bounds["end_ns"]
    times = {
        "start_time": unix_s(0),
        "request_start_time": unix_s(first_ns),
        "measure_start_time": unix_s(window.start_ns),
        "measure_end_time": unix_s(window.end_ns),
        "request_end_time": unix_s(last_ns),
        "end_time": unix_s(max(last_ns or 0, window.end_ns)),
    }
    counts = {status: stats.filter(pl.col("group") == status).height for status in STATUSES}
    traffic = load(source)
    return {
        "type_": "generative_benchmark",
        "config": benchmark_config(source),
        "scheduler_state": {
            "start_time": times["start_time"],
            "end_time": times["end_time"],
            "start_requests_time": times["request_start_time"],
            "end_requests_time": times["request_end_time"],
            "created_requests": stats.height,
            "processed_requests": stats.height,
            "successful_requests": counts["successful"],
            "errored_requests": counts["errored"],
            "cancelled_requests": counts["incomplete"],
        },
        "scheduler_metrics": times
        | {
            "requests_made": counts | {"total": stats.height},
            "generation_delay": of_values(stats["start_ns"].clear().cast(pl.Float64).to_numpy()),
            **_delays(stats),
            "strategy_type": traffic.strategy["type_"],
        },
        "metrics": benchmark_metrics(stats, window, traffic.has_schedule),
        "start_time": times["measure_start_time"],
        "end_time": times["measure_end_time"],
        "duration": window.length_s,
        "warmup_duration": times["measure_start_time"] - times["request_start_time"],
        "cooldown_duration": times["request_end_time"] - times["measure_end_time"],
        "warnings": [],
    }


def _delays(stats: pl.DataFrame) -> dict[str, float]:
    """GuideLLM's means over requests, s; of its own queues and workers there are none here."""
    unknown = (
        "queued_time_avg",
        "resolve_start_delay_avg",
        "resolve_targeted_start_delay_avg",
        "request_start_delay_avg",
        "resolve_end_delay_avg",
        "resolve_time_avg",
        "finalized_delay_avg",
        "processed_delay_avg",
    )
    means = {
        "request_targeted_start_delay_avg": stats["request_dispatch_delay"].mean(),
        "request_time_avg": stats["request_latency"].mean(),
    }
    known = {k: v if isinstance(v, float) else _UNKNOWN_S for k, v in means.items()}
    return dict.fromkeys(unknown, _UNKNOWN_S) | known
