"""GuideLLM's report: figures against hand-computed ones, and GuideLLM's own models."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from exported import five_requests, read_json
from recorded import recorded_run

from workbench.cli.main import main
from workbench.exporting.guidellm_distributions import of_concurrency, of_rates, of_values
from workbench.runs.folder import RunFolder


def export(run: Path, out: Path, *words: str) -> dict[str, Any]:
    assert main(["export", str(run), "--format", "guidellm", "--output", str(out), *words]) == 0
    report: dict[str, Any] = read_json(out)
    return report


@pytest.fixture
def benchmark(tmp_path: Path) -> dict[str, Any]:
    report = export(five_requests(tmp_path / "run").path, tmp_path / "benchmarks.json")
    found: dict[str, Any] = report["benchmarks"][0]
    return found


def test_the_metrics_of_single_requests(benchmark: dict[str, Any]) -> None:
    requests = benchmark["requests"]
    assert [one["request_id"] for one in requests["successful"]] == ["0", "1", "2", "4"]
    assert [one["request_id"] for one in requests["errored"]] == ["3"]
    assert requests["incomplete"] == [] and requests["total"] is None
    first, several, one_token = requests["successful"][1:]
    assert first["request_latency"] == pytest.approx(0.161)
    assert first["request_dispatch_delay"] == pytest.approx(0.010)
    assert first["request_scheduled_latency"] == pytest.approx(0.171)
    assert first["time_to_first_token_ms"] == pytest.approx(100)
    assert first["inter_token_latency_ms"] == pytest.approx(60 / 2)
    assert first["time_per_output_token_ms"] == pytest.approx(160 / 3)
    assert first["output_tokens_per_second"] == pytest.approx(3 / 0.161)
    assert first["tokens_per_second"] == pytest.approx(23 / 0.161)
    # Theirs is divided by n - 1, whatever came first.
    assert several["inter_token_latency_ms"] == pytest.approx(60 / 7)
    assert several["iter_tokens_per_iteration"] == pytest.approx(7 / 2)
    assert one_token["inter_token_latency_ms"] is None
    assert requests["errored"][0]["info"]["error"] == "the server said 500"


def test_the_figures_of_the_run(benchmark: dict[str, Any]) -> None:
    metrics = benchmark["metrics"]
    assert metrics["request_totals"] == {
        "successful": 3, "incomplete": 0, "errored": 1, "total": 4,
    }  # fmt: skip
    latency = metrics["request_latency"]["successful"]
    assert latency["mean"] == pytest.approx((0.161 + 0.270 + 0.060) / 3)
    assert latency["median"] == latency["percentiles"]["p50"] == pytest.approx(0.161)
    assert latency["count"] == 3 and latency["total_sum"] == pytest.approx(0.491)
    ttft = metrics["time_to_first_token_ms"]["successful"]
    assert (ttft["min"], ttft["median"], ttft["max"]) == (50, 100, 200)
    itl = metrics["inter_token_latency_ms"]["successful"]
    assert itl["mean"] == pytest.approx((2 * 30 + 7 * 60 / 7) / 9) and itl["count"] == 9
    tpot = metrics["time_per_output_token_ms"]["successful"]
    assert tpot["mean"] == pytest.approx((160 + 260 + 50) / 12) and tpot["count"] == 12
    # Inside the two seconds of the window end two requests, with eleven tokens.
    assert metrics["requests_per_second"]["successful"]["mean"] == pytest.approx(1.0)
    assert metrics["output_tokens_per_second"]["successful"]["mean"] == pytest.approx(5.5)
    assert metrics["output_tokens_per_second"]["total"]["mean"] == pytest.approx(6.0)
    concurrency = metrics["request_concurrency"]["successful"]
    assert concurrency["mean"] == pytest.approx((0.161 + 0.270) / 2)
    assert metrics["prompt_token_count"]["successful"]["mean"] == pytest.approx(30)
    assert metrics["text"]["tokens"]["output"]["total"]["total_sum"] == pytest.approx(13)
    assert benchmark["duration"] == pytest.approx(2.0)


def test_it_says_who_wrote_it_and_invents_nothing(tmp_path: Path, recorded: RunFolder) -> None:
    report = export(recorded.path, tmp_path / "benchmarks.json")
    assert report["metadata"]["guidellm_version"].startswith("none; exported by workbench")
    labels = report["config"]["metadata"]["labels"]
    assert labels["run_id"] == "20260101-120000-chat-0000"
    assert report["config"]["spec"]["backend"]["target"] == "workbench:monolithic"
    (benchmark,) = report["benchmarks"]
    assert benchmark["config"]["strategy"] == {"type_": "poisson", "rate": 2.0, "random_seed": 0}
    assert benchmark["scheduler_metrics"]["queued_time_avg"] == -1.0
    assert benchmark["metrics"]["time_to_last_round_trip_ms"]["total"]["count"] == 0


def test_a_remote_run_does_not_know_the_server_s_pieces(tmp_path: Path) -> None:
    run = recorded_run(tmp_path / "run", remote=True)
    report = export(run.path, tmp_path / "benchmarks.json")
    assert report["config"]["spec"]["backend"]["target"] == "http://127.0.0.1:9/v1"
    metrics = report["benchmarks"][0]["metrics"]
    assert metrics["request_streaming_iterations_count"]["total"]["count"] == 0
    assert metrics["time_to_first_output_token_ms"]["total"]["count"] == 0
    assert metrics["time_to_first_token_ms"]["successful"]["mean"] == pytest.approx(119)


@pytest.mark.parametrize(
    ("traffic", "strategy"),
    [
        ({"concurrency": 8}, {"type_": "concurrent", "streams": 8}),
        ({"arrival": "constant"}, {"type_": "constant", "rate": 2.0}),
        ({"arrival": "gamma"}, {"type_": "trace", "time_scale": 1.0, "schedule_turn": "timestamp"}),
    ],
)
def test_arrivals_in_their_words(
    tmp_path: Path, traffic: dict[str, Any], strategy: dict[str, Any]
) -> None:
    run = recorded_run(tmp_path / "run", requests=4)
    content = run.read()
    content["spec"]["traffic"] |= traffic
    run.write(content)
    report = export(run.path, tmp_path / "benchmarks.json")
    (benchmark,) = report["benchmarks"]
    assert benchmark["config"]["strategy"] == strategy
    has_schedule = strategy["type_"] != "concurrent"
    assert ("request_dispatch_delay" in benchmark["metrics"]) == has_schedule


def test_without_the_warm_up(tmp_path: Path) -> None:
    run = five_requests(tmp_path / "run")
    report = export(run.path, tmp_path / "benchmarks.json", "--window")
    successful = report["benchmarks"][0]["requests"]["successful"]
    assert [one["request_id"] for one in successful] == ["1", "2", "4"]


def test_distributions_by_hand() -> None:
    weighted = of_values(np.array([3.0, 1.0, 3.0]), np.array([1.0, 2.0, 1.0]))
    assert (weighted["mean"], weighted["median"], weighted["count"]) == (2.0, 1.0, 4)
    assert weighted["percentiles"]["p75"] == 3.0 and weighted["variance"] == 1.0
    # Two events in four seconds: each stands for the time half way to its neighbours.
    rates = of_rates(np.array([1.0, 3.0]), np.ones(2), 0.0, 4.0)
    assert rates["mean"] == pytest.approx(0.5) and rates["max"] == pytest.approx(1 / 1.5)
    # One from 0 to 2, another from 1 to 4.
    levels = of_concurrency(np.array([0.0, 1.0]), np.array([2.0, 4.0]), np.ones(2))
    assert levels["mean"] == pytest.approx(5 / 4) and levels["max"] == 2
    nothing = of_values(np.array([]))
    assert nothing["count"] == 0 and nothing["mean"] == 0.0


@pytest.mark.parametrize("options", [{"requests": 60}, {"remote": True}, {"ending": "failed"}])
def test_guidellm_reads_it_and_computes_the_same(tmp_path: Path, options: dict[str, Any]) -> None:
    """Their own code, given our requests, comes to our figures, but for what they fill with
    zeros, and for extremes of rates, which hang on the last digits of a stamp."""
    schemas = pytest.importorskip("guidellm.benchmark.schemas", reason="guidellm is not installed")
    from guidellm.benchmark.schemas.accumulator import (  # type: ignore[import-not-found]
        GenerativeRequestsAccumulator,
    )

    run = recorded_run(tmp_path / "run", **options)
    report = export(run.path, tmp_path / "benchmarks.json")
    read = schemas.GenerativeBenchmarksReport.load_file(tmp_path / "benchmarks.json")
    (loaded,) = read.benchmarks

    class Within:
        get_within_range = GenerativeRequestsAccumulator.get_within_range

        def __init__(self, requests: list[Any]) -> None:
            self.requests_stats = requests

    timings = SimpleNamespace(
        finalized_measure_start=loaded.start_time, finalized_measure_end=loaded.end_time
    )
    recomputed = schemas.GenerativeMetrics.compile(
        SimpleNamespace(
            timings=timings,
            config=loaded.config,
            completed=Within(loaded.requests.successful),
            incomplete=Within(loaded.requests.incomplete),
            errored=Within(loaded.requests.errored),
        )
    ).model_dump(mode="json")
    compared = _compare(report["benchmarks"][0]["metrics"], recomputed)
    assert compared > (80 if options.get("ending") == "failed" else 500)


def _compare(ours: Any, theirs: Any, path: str = "") -> int:
    """How many numbers of `ours` are those of `theirs`."""
    left_out = ("mode", "max", "p999", "p99", "std_dev", "variance")
    if isinstance(ours, dict):
        if ours.get("count") == 0 and "percentiles" in ours:
            assert theirs["mean"] == 0.0, path
            return 1
        skipped = left_out if "per_second" in path or "percentiles" in ours else ()
        return sum(_compare(ours[k], theirs[k], f"{path}.{k}") for k in ours if k not in skipped)
    if isinstance(ours, list):
        return sum(_compare(a, b, path) for a, b in zip(ours, theirs, strict=True))
    if isinstance(ours, float | int):
        assert math.isclose(ours, theirs, rel_tol=1e-4, abs_tol=1e-6), (path, ours, theirs)
        return 1
    assert ours == theirs or ours is None, path
    return 0
