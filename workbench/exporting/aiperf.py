"""A run as AIPerf 0.13 writes one: `profile_export_aiperf.json` and `profile_export.jsonl`.

Every metric is computed from the run's stamps by AIPerf's definition; docs/export.md has them all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.exporting.aiperf_metrics import ERROR_ISL, GAPS, RECORD_METRICS, record_metrics
from workbench.exporting.clock import instant, origin_ns
from workbench.exporting.source import RunSource, content_of

SUMMARY_FILE = "profile_export_aiperf.json"
RECORDS_FILE = "profile_export.jsonl"
SCHEMA_VERSION = "1.4"

_SLICE_REQUESTS = 20_000
_PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)
_CANCELLED = ("cancelled", "unfinished")

Samples = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PhaseRecords:
    """The requests of one phase: of the warm-up, or of the measured window.

    Attributes:
        records: a row each, with the columns of `record_metrics` but the gaps.
        gaps_ms: between the emissions of one request, of all that ended ok.
    """

    records: pl.DataFrame
    gaps_ms: Samples


Phases = Mapping[str, PhaseRecords]
"""By AIPerf's name of the phase, `warmup` or `profiling`."""


def write_records(source: RunSource, file: IO[bytes], *, in_window: bool = False) -> Phases:
    """Writes a line for each request and returns what the summary is made of.

    Args:
        in_window: without the warm-up's requests.

    Raises:
        StoreError: a table is broken.
        OSError: the file takes no more.
    """
    requests = source.requests.with_columns(
        phase=pl.when(pl.col("scheduled_ns") < source.window.start_ns)
        .then(pl.lit("warmup"))
        .otherwise(pl.lit("profiling"))
    )
    if in_window:
        requests = requests.filter(source.window.holds("scheduled_ns"))
    zero_ns = origin_ns(source)
    frames: list[pl.DataFrame] = []
    gaps: dict[str, list[Samples]] = {"warmup": [], "profiling": []}
    for start in range(0, max(1, requests.height), _SLICE_REQUESTS):
        part = requests.slice(start, _SLICE_REQUESTS)
        records = record_metrics(part, source.emissions_of(part))
        for row in records.iter_rows(named=True):
            file.write(json.dumps(_line(row, zero_ns), allow_nan=False).encode() + b"\n")
        for phase, found in gaps.items():
            of_phase = records.filter(pl.col("phase") == phase)[GAPS]
            found.append(of_phase.drop_nulls().explode().drop_nulls().to_numpy())
        frames.append(records.drop(GAPS))
    every = pl.concat(frames)
    return {
        phase: PhaseRecords(every.filter(pl.col("phase") == phase), np.concatenate(found))
        for phase, found in gaps.items()
    }


def write_summary(source: RunSource, phases: Phases, file: IO[bytes]) -> None:
    """Writes the figures of the measured window, and those of the warm-up beside them.

    Raises:
        OSError: the file takes no more.
    """
    figures = phase_metrics(phases["profiling"])
    finished = source.state == "finished"
    reason = str(content_of(source, "reason") or "")
    times = (
        phases["profiling"]
        .records.select(pl.col("start_ns").min(), pl.col("end_ns").max())
        .row(0, named=True)
    )
    summary: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "exported_by": {
            "program": "workbench",
            "version": version("workbench"),
            "run_id": source.run_id,
            "state": source.state,
        },
        "benchmark_id": source.run_id,
        **figures,
        "run_info": {"benchmark_id": source.run_id}
        | _known(
            random_seed=content_of(source, "spec", "seed"), run_label=source.content.get("name")
        ),
        "was_cancelled": source.state == "interrupted",
        "is_complete": finished,
        "error_summary": _error_summary(phases["profiling"].records),
    }
    if not finished:
        summary["incomplete_reason"] = f"{source.state}: {reason}" if reason else source.state
    if times["start_ns"] is not None:
        summary["start_time"] = instant(source, times["start_ns"]).isoformat()
        summary["end_time"] = instant(source, times["end_ns"]).isoformat()
    if warmup := phase_metrics(phases["warmup"]):
        summary["warmup_metrics"] = warmup
    file.write(json.dumps(summary, indent=2, allow_nan=False).encode() + b"\n")


def phase_metrics(phase: PhaseRecords) -> dict[str, dict[str, Any]]:
    """AIPerf's metrics of a phase by their tags, each with its `unit`; those that no request
    defines are left out."""
    ok = phase.records.filter(pl.col("status") == "ok")
    failed = phase.records.filter(pl.col("status") != "ok")
    metrics: dict[str, dict[str, Any]] = {}
    for tag, unit in RECORD_METRICS.items():
        samples = phase.gaps_ms if tag == GAPS else ok[tag].drop_nulls().to_numpy()
        if samples.size:
            metrics[tag] = {"unit": unit} | _distribution(samples.astype(np.float64))
    if failed.height:
        errors = failed[ERROR_ISL].to_numpy().astype(np.float64)
        metrics[ERROR_ISL] = {"unit": "tokens"} | _distribution(errors)
        metrics["total_error_isl"] = _total("tokens", int(errors.sum()))
        metrics["error_request_count"] = _total("requests", failed.height)
    if phase.records.height:
        metrics["completed_request_count"] = _total("requests", phase.records.height)
        share = 100 * failed.height / phase.records.height
        metrics["request_error_rate"] = _total("%", share)
    if ok.height:
        metrics |= _throughputs(ok)
    return metrics


def _throughputs(ok: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Counts and rates of requests that ended ok, over the time from the first one's beginning to
    the last one's last token."""
    isl, osl = int(ok["input_sequence_length"].sum()), int(ok["output_sequence_length"].sum())
    first, last = ok["start_ns"].min(), ok["last_token_ns"].max()
    totals = {
        "request_count": _total("requests", ok.height),
        "total_isl": _total("tokens", isl),
        "total_osl": _total("tokens", osl),
    }
    if not isinstance(first, int) or not isinstance(last, int) or last <= first:
        return totals
    duration_s = (last - first) / 1e9
    return totals | {
        "benchmark_duration": _total("sec", duration_s),
        "request_throughput": _total("requests/sec", ok.height / duration_s),
        "output_token_throughput": _total("tokens/sec", osl / duration_s),
        "input_token_throughput": _total("tokens/sec", isl / duration_s),
        "total_token_throughput": _total("tokens/sec", (isl + osl) / duration_s),
    }


def _distribution(samples: Samples) -> dict[str, Any]:
    """AIPerf's statistics: percentiles by linear interpolation, std of the population."""
    found = np.percentile(samples, _PERCENTILES)
    return {
        "avg": float(samples.mean()),
        **{f"p{q}": float(value) for q, value in zip(_PERCENTILES, found, strict=True)},
        "min": float(samples.min()),
        "max": float(samples.max()),
        "std": float(samples.std()),
        "count": int(samples.size),
        "sum": float(samples.sum()),
    }


def _total(unit: str, value: float) -> dict[str, Any]:
    """A figure of the whole phase: AIPerf puts it into `avg`."""
    return {"unit": unit, "avg": value}


def _error_summary(records: pl.DataFrame) -> list[dict[str, Any]]:
    failed = records.filter(pl.col("status") != "ok")
    counts = failed.group_by("status", "reason").len("count")
    ordered = counts.sort(["count", "status", "reason"], descending=[True, False, False])
    return [
        {"error_details": {"type": status, "message": reason or status}, "count": count}
        for status, reason, count in ordered.iter_rows()
    ]


def _line(row: Mapping[str, Any], zero_ns: int) -> dict[str, Any]:
    """One request as AIPerf's `MetricRecordInfo`."""
    status, session = row["status"], row["session_id"]
    metadata = {
        "session_num": row["request_id"] if session is None else session,
        "credit_issued_ns": zero_ns + row["scheduled_ns"],
        "request_start_ns": zero_ns + row["start_ns"],
        "request_end_ns": zero_ns + row["end_ns"],
        "worker_id": "workbench",
        "record_processor_id": "workbench",
        "benchmark_phase": row["phase"],
        "was_cancelled": status in _CANCELLED,
        "workbench_request_id": row["request_id"],
    }
    if session is not None:
        metadata |= {"conversation_id": str(session), "turn_index": row["turn"]}
    if status in _CANCELLED:
        metadata["cancellation_time_ns"] = zero_ns + row["end_ns"]
    if status == "ok":
        return {"metadata": metadata, "metrics": _values(row, RECORD_METRICS.items())}
    return {
        "metadata": metadata,
        "metrics": _values(row, [(ERROR_ISL, "tokens")]),
        "error": {"type": status, "message": row["reason"] or status},
    }


def _values(row: Mapping[str, Any], tags: Iterable[tuple[str, str]]) -> dict[str, Any]:
    return {
        tag: {"value": row[tag], "unit": unit} for tag, unit in tags if row[tag] not in (None, [])
    }


def _known(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, "")}
