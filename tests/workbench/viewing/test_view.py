"""An ended run at any moment: the same figures as its report and as the headless screen."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from recorded import recorded_run

from workbench.analysis.live import LiveSnapshot, LiveState
from workbench.analysis.metrics import PER_REQUEST, emission_gaps, request_metrics
from workbench.errors import StoreError
from workbench.runs.folder import RunFolder
from workbench.runs.schema import REQUESTS
from workbench.runs.segments import SegmentTables, list_segments, read_segments
from workbench.runs.tables import load_tables
from workbench.viewing.view import RunView, open_view

S = 1_000_000_000


@pytest.fixture(scope="module")
def view(recorded: RunFolder) -> RunView:
    return open_view(recorded)


def newest_ns(segment: SegmentTables) -> int:
    """The last thing that a segment tells."""
    stamps = [
        segment[table][column].max()
        for table, column in (
            ("steps", "end_ns"),
            ("requests", "finished_ns"),
            ("arrivals", "submitted_ns"),
            ("emissions", "time_ns"),
            ("devices", "time_ns"),
            ("server", "time_ns"),
        )
        if column in segment.get(table, {})
    ]
    return int(max(stamps, default=0))


def assert_same(figures: LiveSnapshot, expected: LiveSnapshot) -> None:
    for field in dataclasses.fields(LiveSnapshot):
        ours, theirs = getattr(figures, field.name), getattr(expected, field.name)
        if isinstance(theirs, dict) or theirs is None:
            assert ours == theirs, field.name
        else:
            assert ours == pytest.approx(theirs, rel=1e-9), field.name


@pytest.mark.parametrize("remote", [False, True])
def test_every_tile_is_what_the_headless_screen_shows_at_that_moment(
    tmp_path: Path, remote: bool
) -> None:
    folder = recorded_run(tmp_path / "run", remote=remote, ending="dead")
    state, view, now_ns, compared = LiveState(96), open_view(folder), 0, 0
    if remote:
        state.usable_blocks = None
    for number, segment in enumerate(read_segments(list_segments(folder.segments))[0]):
        state.feed(segment)
        now_ns = max(now_ns, newest_ns(segment))
        if number % 7 == 3:
            assert_same(view.snapshot(now_ns).figures, state.snapshot(now_ns))
            compared += 1
    later_ns = now_ns + 5 * S
    assert_same(view.snapshot(later_ns).figures, state.snapshot(later_ns))
    assert compared > 8


def test_at_the_end_it_says_what_the_report_says(view: RunView, recorded: RunFolder) -> None:
    summary = recorded.read()["summary"]
    snapshot = view.snapshot(view.end_ns)
    assert snapshot.attainment == summary["objectives"]["attainment"]
    assert snapshot.goodput_per_s == pytest.approx(summary["objectives"]["goodput_per_s"])
    assert snapshot.offered_per_s == pytest.approx(summary["load"]["offered_per_s"])
    assert snapshot.achieved_per_s == pytest.approx(summary["load"]["achieved_per_s"])
    assert snapshot.limits == {"ttft": 2000.0, "tpot": 60.0}
    assert (snapshot.state, snapshot.left_s, snapshot.live) == ("finished", None, False)
    assert 0 < snapshot.attainment < 1


def test_an_itl_limit_judges_as_the_report_does(tmp_path: Path) -> None:
    folder = recorded_run(tmp_path / "run", slo={"itl": 150.0})
    view = open_view(folder)
    expected = folder.read()["summary"]["objectives"]["attainment"]
    assert view.snapshot(view.end_ns).attainment == expected
    assert 0 < expected < 1


def test_in_the_middle_it_knows_nothing_of_what_comes(view: RunView) -> None:
    at_ns = view.end_ns // 2
    snapshot = view.snapshot(at_ns)
    assert snapshot.state == "running" and snapshot.left_s == pytest.approx(
        snapshot.duration_s - at_ns / 1e9
    )
    assert snapshot.steps.end_ns[-1] <= at_ns and len(snapshot.steps.kind) == 120
    assert snapshot.events[-1].time_ns <= at_ns
    assert all(event.kind != "prefill" for event in snapshot.events)
    (pool,) = snapshot.pools
    assert pool.free + sum(pool.live) + sum(pool.cached) == pool.usable == 96
    assert snapshot.figures.ended.get("ok", 0) < 35


def test_after_the_last_arrival_it_drains(view: RunView) -> None:
    assert view.snapshot(view.end_ns - S).state == "draining"


def test_going_back_and_forth_does_not_change_a_moment(view: RunView, recorded: RunFolder) -> None:
    moments = [view.end_ns * part // 10 for part in (9, 1, 2, 3, 8, 5)]
    for at_ns in moments:
        fresh = open_view(recorded)
        here, there = view.snapshot(at_ns), fresh.snapshot(at_ns)
        assert here.figures == there.figures
        for name, trend in here.trends.items():
            assert trend.tolist() == pytest.approx(there.trends[name].tolist(), nan_ok=True)
        assert view.requests(at_ns).equals(fresh.requests(at_ns))


def test_all_requests_have_their_record_and_metrics_in_the_end(
    view: RunView, recorded: RunFolder
) -> None:
    tables = load_tables(recorded)
    table = view.requests(view.end_ns)
    expected = request_metrics(tables["requests"])
    assert table.select(expected.columns).equals(expected)
    assert (table["state"] == table["status"]).all()
    longest = (
        emission_gaps(tables["emissions"]).group_by("request_id").agg(pl.col("gap_ns").max() / 1e6)
    )
    joined = table.join(longest, on="request_id", how="left")
    assert joined["longest_stall_ms"].to_list() == joined["gap_ns"].to_list()
    assert view.requests(view.end_ns) is table


def test_requests_of_the_past_are_as_they_were_known_then(
    view: RunView, recorded: RunFolder
) -> None:
    tables = load_tables(recorded)
    stamps = [name for name in REQUESTS.names if name.endswith("_ns") and "recompute" not in name]
    seen = set()
    for step in tables["steps"].iter_rows(named=True):
        if step["step"] % 23:
            continue
        at_ns = step["end_ns"] + 1500
        table = view.requests(at_ns)
        seen |= set(table["state"])
        known = table.select(pl.max_horizontal(pl.col(stamps).max()))
        assert known.item() <= at_ns
        running = table.filter(pl.col("state") == "running").height
        waiting = table.filter(pl.col("state") == "waiting").height
        assert (running + waiting, waiting) == (step["running"] + step["waiting"], step["waiting"])
        emitted = tables["emissions"].filter(pl.col("time_ns") <= at_ns)
        assert table["output_tokens"].sum() == emitted["tokens"].sum()
    assert {"running", "waiting", "ok", "rejected", "cancelled"} <= seen


def test_in_flight_rows_have_the_stamps_that_the_record_has_later(view: RunView) -> None:
    now, end = view.requests(view.end_ns // 2), view.requests(view.end_ns)
    stamps = ["request_id", "scheduled_ns", "started_ns", "first_token_ns", "prompt_tokens"]
    flying = now.filter(pl.col("status").is_null() & pl.col("first_token_ns").is_not_null())
    later = end.filter(pl.col("request_id").is_in(flying["request_id"].to_list()))
    assert flying.height > 2
    assert flying.select(stamps).equals(later.select(stamps))
    assert flying["ttft_ms"].to_list() == later["ttft_ms"].to_list()
    assert flying["finished_ns"].null_count() == flying.height
    assert set(PER_REQUEST) <= set(now.columns)


def test_members_of_every_step_are_those_that_it_counted(view: RunView) -> None:
    for step in view.frames.steps.iter_rows(named=True):
        members = view.step_members(step["step"])
        assert members.height == step["num_seqs"]
        prefill = members.filter(pl.col("part") == "prefill")
        assert prefill["tokens"].sum() == step["prefill_tokens"]
    assert view.step_members(10**6).is_empty()


def test_emissions_of_one_request_and_of_a_span(view: RunView, recorded: RunFolder) -> None:
    emissions = load_tables(recorded)["emissions"]
    mine = view.emissions_of(7)
    assert mine.equals(emissions.filter(pl.col("request_id") == 7)) and mine.height > 3
    start_ns, end_ns = int(mine["time_ns"][1]), int(mine["time_ns"][3])
    expected = emissions.filter(pl.col("time_ns").is_between(start_ns, end_ns))
    assert view.emissions(start_ns, end_ns).equals(expected)
    assert view.emissions_of(5).is_empty()


def test_the_story_of_a_request_as_of_a_moment(view: RunView) -> None:
    whole = view.story(7, view.end_ns)
    assert whole is not None and not whole.in_flight
    row = view.requests(view.end_ns).row(7, named=True)
    assert whole.ttft_ns == row["first_token_ns"] - row["scheduled_ns"]
    early = view.story(7, row["first_token_ns"] + 1)
    assert early is not None and early.in_flight and early.output_tokens == 1
    assert view.story(7, 0) is None


def test_steps_are_gone_through_one_by_one(view: RunView) -> None:
    first, second = view.frames.steps["end_ns"][0], view.frames.steps["end_ns"][1]
    assert view.step_end(0, 1) == first and view.step_end(first, 1) == second
    assert view.step_end(second, -1) == first and view.step_end(first, -1) is None
    assert view.step_end(view.end_ns, 1) is None


@pytest.mark.parametrize("ending", ["failed", "dead"])
def test_a_run_without_a_request_draws_nothing_and_raises_nothing(
    tmp_path: Path, ending: str
) -> None:
    folder = recorded_run(tmp_path / "run", ending=ending)
    for path in list_segments(folder.segments):
        path.unlink()
    view = open_view(folder)
    snapshot = view.snapshot(view.now_ns())
    assert snapshot.state == ending and snapshot.figures.offered == 0
    assert snapshot.figures.ttft_p50_ms is None and snapshot.attainment is None
    assert set(view.charts(0, 0.0, 0.0, 100).values()) == {()}
    assert view.requests(0).height == 0 and "ttft_ms" in view.requests(0).columns
    assert view.emissions_of(0).is_empty() and view.story(0, 0) is None


def test_a_viewer_loads_no_torch_and_no_textual() -> None:
    told = "import sys, workbench.viewing.view; print({'torch', 'textual'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_an_interrupted_run_opens_as_a_finished_one(tmp_path: Path) -> None:
    view = open_view(recorded_run(tmp_path / "run", ending="interrupted"))
    assert view.snapshot(view.end_ns).state == "interrupted"


@pytest.mark.parametrize("ending, says", [("broken", "can't be read"), ("newer", "newer")])
def test_what_cannot_be_read_is_said_in_a_sentence(tmp_path: Path, ending: str, says: str) -> None:
    folder = recorded_run(tmp_path / "run", ending=ending)
    with pytest.raises(StoreError, match=says):
        open_view(folder)
    with pytest.raises(StoreError, match="not a run"):
        open_view(RunFolder(tmp_path / "nothing"))


def test_runs_of_the_first_schema_lack_columns_and_open(
    tmp_path: Path, recorded: RunFolder
) -> None:
    folder = recorded_run(tmp_path / "run")
    steps = pl.read_parquet(folder.parquet("steps")).drop("worker", "blocked")
    steps.write_parquet(folder.parquet("steps"))
    folder.parquet("pools").unlink()
    folder.update(schema=1)
    snapshot = open_view(folder).snapshot(10 * S)
    assert snapshot.pools == () and set(snapshot.steps.blocked) == {""}
    assert set(snapshot.steps.worker.tolist()) == {0}


def test_a_remote_run_has_what_its_server_told(tmp_path: Path) -> None:
    view = open_view(recorded_run(tmp_path / "run", remote=True))
    snapshot = view.snapshot(7 * S + 1)
    assert (snapshot.figures.running, snapshot.figures.kv_usage_percent) == (2, 70.0)
    stamps = view.emissions(0, view.end_ns)["time_ns"]
    at_ns = int(stamps[len(stamps) // 2])
    states = view.requests(at_ns).filter(pl.col("status").is_null())["state"].to_list()
    assert len(states) == view.snapshot(at_ns).figures.in_flight > 0
    assert "running" in states
