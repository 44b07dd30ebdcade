"""AIPerf's files: figures against hand-computed ones, and AIPerf's own models."""

from __future__ import annotations

import json
import stat
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from exported import S, five_requests, read_json
from recorded import recorded_run

from workbench.cli.main import main
from workbench.exporting import aiperf

CREATED = "2026-01-01T12:00:00+00:00"


def export(run: Path, out: Path, *words: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    assert main(["export", str(run), "--format", "aiperf", "--output", str(out), *words]) == 0
    lines = (out / "profile_export.jsonl").read_text().splitlines()
    return read_json(out / "profile_export_aiperf.json"), [json.loads(line) for line in lines]


@pytest.fixture
def exported(tmp_path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return export(five_requests(tmp_path / "run").path, tmp_path / "artifacts")


def values(record: dict[str, Any]) -> dict[str, Any]:
    return {tag: metric["value"] for tag, metric in record["metrics"].items()}


def test_the_metrics_of_single_requests(
    exported: tuple[dict[str, Any], list[dict[str, Any]]],
) -> None:
    _, records = exported
    assert [record["metadata"]["workbench_request_id"] for record in records] == [0, 1, 2, 3, 4]
    told = values(records[1])
    assert told.pop("inter_chunk_latency") == pytest.approx([20.0, 40.0])
    assert told == pytest.approx(
        {
            "time_to_first_token": 100.0,
            "time_to_second_token": 20.0,
            "request_latency": 160.0,
            "decode_duration": 60.0,
            "inter_token_latency": 30.0,
            "output_token_throughput_per_user": 1000 / 30,
            "e2e_output_token_throughput": 3 / 0.16,
            "prefill_throughput_per_user": 20 / 0.1,
            "input_sequence_length": 20,
            "output_sequence_length": 3,
        }
    )
    assert records[1]["metrics"]["inter_token_latency"]["unit"] == "ms"
    # Its first emission had four of eight tokens.
    assert values(records[2])["inter_token_latency"] == pytest.approx((260 - 200) / (8 - 4))
    # One token: there is no time between tokens, and nothing is written for it.
    one_token = values(records[4])
    assert one_token["time_to_first_token"] == one_token["request_latency"] == 50.0
    assert not {"inter_token_latency", "time_to_second_token", "inter_chunk_latency"} & set(
        one_token
    )


def test_a_single_emission_of_several_tokens_has_their_fallback(tmp_path: Path) -> None:
    run = five_requests(tmp_path / "run")
    requests = pl.read_parquet(run.parquet("requests"))
    at_once = requests.with_columns(
        first_tokens=pl.when(pl.col("request_id") == 2).then(8).otherwise("first_tokens")
    )
    at_once.write_parquet(run.parquet("requests"))
    _, records = export(run.path, tmp_path / "artifacts")
    assert values(records[2])["inter_token_latency"] == pytest.approx((260 - 200) / (8 - 1))


def test_failed_and_warm_up_requests_are_told_apart(
    exported: tuple[dict[str, Any], list[dict[str, Any]]],
) -> None:
    summary, records = exported
    phases = [record["metadata"]["benchmark_phase"] for record in records]
    assert phases == ["warmup", *["profiling"] * 4]
    assert values(records[3]) == {"error_isl": 50}
    assert records[3]["error"] == {"type": "failed", "message": "the server said 500"}
    assert all("error" not in records[i] for i in (0, 1, 2, 4))
    assert summary["error_summary"] == [{"error_details": records[3]["error"], "count": 1}]
    assert summary["warmup_metrics"]["request_count"]["avg"] == 1
    assert summary["warmup_metrics"]["time_to_first_token"]["avg"] == pytest.approx(100.0)


def test_stamps_count_from_the_creation_of_the_run(
    exported: tuple[dict[str, Any], list[dict[str, Any]]],
) -> None:
    summary, records = exported
    created_ns = int(datetime.fromisoformat(CREATED).timestamp()) * S
    metadata = records[1]["metadata"]
    assert metadata["credit_issued_ns"] - created_ns == 1_000_000_000
    assert metadata["request_start_ns"] - created_ns == 1_010_000_000
    assert metadata["request_end_ns"] - created_ns == 1_171_000_000
    assert summary["start_time"] == "2026-01-01T12:00:01.010000+00:00"
    assert summary["end_time"] == "2026-01-01T12:00:03.060000+00:00"


def test_the_figures_of_the_run(exported: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    summary, _ = exported
    ttft = np.array([100.0, 200.0, 50.0])
    told = summary["time_to_first_token"]
    assert told["unit"] == "ms" and told["count"] == 3
    assert told["avg"] == pytest.approx(ttft.mean())
    assert told["std"] == pytest.approx(ttft.std())
    assert (told["min"], told["max"], told["sum"]) == (50.0, 200.0, 350.0)
    for q in (1, 5, 10, 25, 50, 75, 90, 95, 99):
        assert told[f"p{q}"] == pytest.approx(np.percentile(ttft, q))
    assert summary["inter_token_latency"]["avg"] == pytest.approx((30 + 15) / 2)
    assert summary["inter_token_latency"]["count"] == 2
    assert summary["inter_chunk_latency"]["avg"] == pytest.approx((20 + 40 + 30 + 30) / 4)
    # From the first request's sending, 1010 ms, to the last one's last token, 3050 ms.
    totals = {
        "benchmark_duration": ("sec", 2.04),
        "request_count": ("requests", 3),
        "request_throughput": ("requests/sec", 3 / 2.04),
        "total_osl": ("tokens", 12),
        "output_token_throughput": ("tokens/sec", 12 / 2.04),
        "total_isl": ("tokens", 90),
        "input_token_throughput": ("tokens/sec", 90 / 2.04),
        "total_token_throughput": ("tokens/sec", 102 / 2.04),
        "error_request_count": ("requests", 1),
        "completed_request_count": ("requests", 4),
        "request_error_rate": ("%", 25.0),
    }
    for tag, (unit, figure) in totals.items():
        assert summary[tag]["unit"] == unit
        assert summary[tag]["avg"] == pytest.approx(figure)


def test_it_says_who_wrote_it_and_invents_nothing(
    exported: tuple[dict[str, Any], list[dict[str, Any]]],
) -> None:
    summary, _ = exported
    assert summary["exported_by"]["program"] == "workbench"
    assert summary["benchmark_id"] == summary["exported_by"]["run_id"]
    assert summary["run_info"]["random_seed"] == 0
    assert summary["is_complete"] is True and summary["was_cancelled"] is False
    unknown = {"aiperf_version", "input_config", "telemetry_data", "goodput", "output_token_count"}
    assert not unknown & set(summary)


def test_an_interrupted_run_is_not_complete(tmp_path: Path) -> None:
    run = recorded_run(tmp_path / "run", ending="interrupted")
    summary, _ = export(run.path, tmp_path / "artifacts")
    assert summary["is_complete"] is False and summary["was_cancelled"] is True
    assert summary["incomplete_reason"].startswith("interrupted")


def test_without_the_warm_up(tmp_path: Path) -> None:
    run = five_requests(tmp_path / "run")
    summary, records = export(run.path, tmp_path / "artifacts", "--window")
    assert len(records) == 4 and "warmup_metrics" not in summary
    for path in (tmp_path / "artifacts").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_requests_in_several_slices_say_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recorded_run(tmp_path / "run")
    whole = export(run.path, tmp_path / "whole")
    monkeypatch.setattr(aiperf, "_SLICE_REQUESTS", 3)
    assert _rounded(export(run.path, tmp_path / "sliced")) == _rounded(whole)


def _rounded(content: Any) -> Any:
    """The last digit of a quotient may differ by where it lies in a column."""
    if isinstance(content, float):
        return float(f"{content:.12g}")
    if isinstance(content, dict):
        return {key: _rounded(value) for key, value in content.items()}
    return [_rounded(value) for value in content] if isinstance(content, list | tuple) else content


@pytest.mark.parametrize("remote", [False, True])
def test_aiperf_reads_it(tmp_path: Path, remote: bool) -> None:
    models = pytest.importorskip(
        "aiperf.common.models.record_models", reason="aiperf is not installed"
    )
    from aiperf.common.models.export_models import JsonExportData  # type: ignore[import-not-found]

    run = recorded_run(tmp_path / "run", requests=60, remote=remote)
    summary, records = export(run.path, tmp_path / "artifacts")
    read = JsonExportData.model_validate(summary)
    assert read.time_to_first_token.avg == summary["time_to_first_token"]["avg"]
    assert read.request_count.avg == summary["request_count"]["avg"]
    for record in records:
        one = models.MetricRecordInfo.model_validate(record)
        assert one.metadata.benchmark_phase in ("warmup", "profiling")
        assert set(one.metrics) == set(record["metrics"])


def test_aiperf_names_its_metrics_and_units_so(
    exported: tuple[dict[str, Any], list[dict[str, Any]]],
) -> None:
    registry = pytest.importorskip(
        "aiperf.metrics.metric_registry", reason="aiperf is not installed"
    ).MetricRegistry
    summary, _ = exported
    metrics = {
        tag: told for tag, told in summary.items() if isinstance(told, dict) and "unit" in told
    }
    assert len(metrics) > 20
    for tag, told in metrics.items():
        known = registry.get_class(tag)
        assert told["unit"] == str(known.display_unit or known.unit)
        assert ("count" in told) == (known.type.value == "record")
