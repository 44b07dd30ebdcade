"""What the charts draw: percentiles of raw samples in intervals that stay where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from recorded import recorded_run

from workbench.analysis.metrics import request_metrics
from workbench.runs.folder import RunFolder
from workbench.runs.tables import load_tables
from workbench.viewing.history import PANELS, Line
from workbench.viewing.intervals import percentiles_by_interval, round_width_ns
from workbench.viewing.view import RunView, open_view

S = 1_000_000_000
MS = 1_000_000


@pytest.fixture(scope="module")
def view(recorded: RunFolder) -> RunView:
    return open_view(recorded)


def by_name(lines: tuple[Line, ...]) -> dict[str, Line]:
    return {line.name: line for line in lines}


@pytest.mark.parametrize(
    "length_s, columns, width_ms",
    [(60, 60, 1000), (60, 61, 1000), (60, 59, 2000), (100, 30, 5000), (1, 150, 10), (0, 80, 1)],
)
def test_widths_are_round_and_the_columns_suffice(
    length_s: float, columns: int, width_ms: int
) -> None:
    assert round_width_ns(length_s, columns) == width_ms * MS


def test_percentiles_are_those_of_numpy_in_each_interval() -> None:
    random = np.random.default_rng(3)
    intervals = np.sort(random.integers(-5, 40, 500))
    samples = random.exponential(1.0, 500)
    samples[::17] = np.nan
    found, (p50, p99) = percentiles_by_interval(intervals, samples, (50.0, 99.0))
    for number, interval in enumerate(found):
        own = samples[(intervals == interval) & ~np.isnan(samples)]
        assert p50[number] == pytest.approx(np.percentile(own, 50))
        assert p99[number] == pytest.approx(np.percentile(own, 99))
    far = percentiles_by_interval(np.array([0, 1 << 40]), np.array([2.0, 3.0]), (50.0,))
    assert far[0].tolist() == [0, 1 << 40] and far[1][0].tolist() == [2.0, 3.0]


def test_ttft_is_drawn_where_the_first_token_came(view: RunView, recorded: RunFolder) -> None:
    table = request_metrics(load_tables(recorded)["requests"]).filter(
        pl.col("first_token_ns").is_between(4 * S, 5 * S, closed="left")
    )
    lines = by_name(view.charts(view.end_ns, 0, 30, 30)["ttft"])
    at = lines["p50"].x_s.tolist().index(4.5)
    assert lines["p50"].y[at] == pytest.approx(np.median(table["ttft_ms"]))
    assert lines["p99"].y[at] == pytest.approx(np.percentile(table["ttft_ms"], 99))


def test_lines_stay_where_they_are_while_time_passes(view: RunView) -> None:
    early, late = view.charts(12 * S, 2, 12, 10), view.charts(12 * S + 300 * MS, 2.3, 12.3, 10)
    for panel in ("ttft", "tpot", "tokens", "gpu", "power", "cpu"):
        for before, after in zip(early[panel], late[panel], strict=True):
            earlier = dict(zip(before.x_s.tolist(), before.y.tolist(), strict=True))
            later = dict(zip(after.x_s.tolist(), after.y.tolist(), strict=True))
            whole = {x for x in earlier if x in later and x < 12}
            assert len(whole) >= min(3, len(earlier))
            assert all(earlier[x] == later[x] for x in whole)


@pytest.mark.parametrize("columns", [8, 33, 90, 5000])
def test_tokens_per_second_add_up_to_all_tokens(
    view: RunView, recorded: RunFolder, columns: int
) -> None:
    tables, end_s = load_tables(recorded), view.end_ns / 1e9
    width_s = round_width_ns(end_s, columns) / 1e9
    lines = by_name(view.charts(view.end_ns + 1, 0, end_s + 1e-6, columns)["tokens"])
    last_s = end_s % width_s
    lengths_s = np.append(np.full(lines["output"].x_s.size - 1, width_s), last_s)
    assert lines["output"].y @ lengths_s == pytest.approx(tables["emissions"]["tokens"].sum())
    assert lines["prompt"].y @ lengths_s == pytest.approx(tables["steps"]["prefill_tokens"].sum())


def test_an_interval_that_is_not_over_is_no_dip_in_the_rate(view: RunView) -> None:
    output = by_name(view.charts(10 * S + 100 * MS, 0, 10.1, 10)["tokens"])["output"]
    assert output.x_s[-1] == 9.0  # of 8 to 10 s, in intervals of 2 s


def test_nothing_after_the_moment_is_drawn(view: RunView) -> None:
    for lines in view.charts(9 * S, 0, 33, 200).values():
        for line in lines:
            assert line.x_s.size and line.x_s[-1] <= 9.1
            assert (np.diff(line.x_s) >= 0).all()


def test_states_hold_until_they_change_and_keep_their_extremes(
    view: RunView, recorded: RunFolder
) -> None:
    steps = load_tables(recorded)["steps"]
    for columns in (10, 2000):
        queue = by_name(view.charts(view.end_ns, 0, view.end_ns / 1e9, columns)["queue"])
        assert queue["running"].style == "step"
        assert queue["running"].y.max() == steps["running"].max()
        assert queue["waiting"].y.max() == steps["waiting"].max()
        assert queue["waiting"].y[-1] == steps["waiting"][-1]
    middle = steps.row(200, named=True)
    zoomed = view.charts(
        view.end_ns, middle["end_ns"] / 1e9 + 1e-4, middle["end_ns"] / 1e9 + 2e-4, 80
    )
    running = by_name(zoomed["queue"])["running"]
    assert running.y[0] == middle["running"]


def test_kv_is_a_share_of_the_pool(view: RunView, recorded: RunFolder) -> None:
    steps = load_tables(recorded)["steps"]
    kv = by_name(view.charts(view.end_ns, 0, view.end_ns / 1e9, 50)["kv"])
    assert kv["live"].y.max() == pytest.approx(100 * steps["live_blocks"].max() / 96)
    assert kv["cached"].y.max() == pytest.approx(100 * steps["cached_blocks"].max() / 96)


def test_every_panel_is_there_in_its_order(view: RunView) -> None:
    charts = view.charts(view.end_ns, 0, 30, 100)
    assert tuple(charts) == PANELS
    assert [line.name for line in charts["gpu"]] == ["gpu0", "memory"]
    assert [line.name for line in charts["cpu"]] == ["process", "host"]
    assert charts["gpu"][1].y[0] == pytest.approx(37.5)


def test_an_empty_span_of_a_run_with_data_keeps_its_lines(view: RunView) -> None:
    charts = view.charts(view.end_ns, 500, 600, 100)
    assert [line.x_s.size for line in charts["ttft"]] == [0, 0]


def test_what_is_absent_has_a_reason(tmp_path: Path) -> None:
    view = open_view(recorded_run(tmp_path / "a", gpus=0))
    charts = view.charts(view.end_ns, 0, 30, 100)
    assert charts["gpu"] == () == charts["power"] and charts["cpu"]
    assert "NVML" in view.why_absent("gpu") and "NVML" in view.why_absent("power")
    empty = open_view(recorded_run(tmp_path / "b", ending="failed"))
    assert empty.why_absent("ttft") == "no request has a first token yet"
    assert all(empty.why_absent(panel) for panel in PANELS)


def test_a_remote_server_draws_what_it_tells(tmp_path: Path) -> None:
    view = open_view(recorded_run(tmp_path / "run", remote=True))
    charts = view.charts(view.end_ns, 0, 20, 100)
    assert {line.name for line in charts["queue"]} == {"running", "waiting"}
    assert charts["kv"][0].y.max() == pytest.approx(90.0)
    assert [line.name for line in charts["tokens"]] == ["output"]
    assert charts["gpu"] == ()
    folder = recorded_run(tmp_path / "silent", remote=True)
    folder.parquet("server").unlink()
    silent = open_view(folder)
    assert silent.charts(silent.end_ns, 0, 20, 100)["kv"] == ()
    assert silent.why_absent("kv") == "a remote server doesn't tell"
