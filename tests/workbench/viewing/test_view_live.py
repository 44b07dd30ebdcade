"""A living run: what comes is taken in, and its end is followed into its tables."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from recorded import ORIGIN_NS, LiveRun

from workbench.errors import StoreError
from workbench.launch.finish import finish_run
from workbench.runs.folder import RunFolder
from workbench.runs.segments import encode_segment, list_segments
from workbench.viewing import emissions as emissions_module
from workbench.viewing.view import RunView, open_view

S = 1_000_000_000


class WatchersClock:
    """The clock of the machine, as the run's time says."""

    def __init__(self) -> None:
        self.run_ns = 0

    def __call__(self) -> int:
        return ORIGIN_NS + self.run_ns


@pytest.fixture
def run(tmp_path: Path) -> Iterator[LiveRun]:
    run = LiveRun(tmp_path / "run", slo={"ttft": 2000.0})
    yield run
    run.die()


def opened(run: LiveRun, segments: int) -> RunView:
    run.advance(segments)
    return open_view(run.folder)


def test_what_comes_is_taken_in_and_nothing_else_changes_the_version(run: LiveRun) -> None:
    view = opened(run, 10)
    version, steps = view.version, view.frames.steps.height
    assert view.live and view.state == "running" and steps > 0
    assert not view.refresh() and view.version == version
    run.advance()
    assert view.refresh() and view.version > version
    assert view.frames.steps.height > steps
    run.folder.update(progress="almost there")
    assert view.refresh() and view.snapshot(view.end_ns).progress == "almost there"


def test_its_clock_goes_on_between_segments(run: LiveRun) -> None:
    clock = WatchersClock()
    run.advance(10)
    view = open_view(run.folder, clock)
    assert view.now_ns() == view.end_ns > 0
    clock.run_ns = view.end_ns + S
    assert view.now_ns() == view.end_ns + S
    snapshot = view.snapshot(view.now_ns())
    assert snapshot.state == "running" and snapshot.figures.now_ns == view.end_ns + S


def test_at_any_moment_it_shows_what_the_replay_will_show(run: LiveRun) -> None:
    view = opened(run, 0)
    moments, shown = [], []
    while run.left:
        run.advance(9)
        view.refresh()
        at_ns = view.end_ns
        moments.append(at_ns)
        shown.append((view.snapshot(at_ns), view.requests(at_ns), view.charts(at_ns, 0, 30, 60)))
    run.finish()
    replay = open_view(run.folder)
    for at_ns, (snapshot, table, charts) in zip(moments, shown, strict=True):
        again = replay.snapshot(at_ns)
        assert snapshot.figures == again.figures
        assert snapshot.attainment == again.attainment
        assert snapshot.events == again.events and snapshot.pools == again.pools
        admitted = "admitted_ns", "engine_ttft_ms", "wait_ms", "queue_ms"
        # Of what is in flight a living run knows when it was handed over, a moment earlier.
        assert table.drop(admitted).equals(replay.requests(at_ns).drop(admitted))
        for panel, lines in replay.charts(at_ns, 0, 30, 60).items():
            for ours, theirs in zip(charts[panel], lines, strict=True):
                if panel != "tokens":
                    assert ours.y.tolist() == pytest.approx(theirs.y.tolist())


def test_it_follows_into_the_saved_end_and_loses_nothing(run: LiveRun) -> None:
    view = opened(run, 40)
    before = view.frames.steps
    run.finish()
    assert view.refresh()
    assert (view.live, view.state) == (False, "finished")
    assert view.frames.steps[: before.height].equals(before)
    snapshot = view.snapshot(view.end_ns)
    assert snapshot.figures.ended.keys() >= {"ok", "cancelled"}
    assert snapshot.figures.in_flight == 0
    version = view.version
    assert not view.refresh() and view.version == version


def test_a_run_that_ends_between_two_reads_is_read_from_its_tables(
    run: LiveRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its segments go away while they are read, and while older ones are looked up."""
    monkeypatch.setattr(emissions_module, "RECENT_NS", 2 * S)
    view = opened(run, 20)
    for _ in range(20):
        run.advance(2)
        view.refresh()
    run.finish()
    assert not list_segments(run.folder.segments)
    assert view.snapshot(5 * S).figures.output_tokens > 0
    assert view.state == "finished"
    assert view.emissions(0, S * 5).height > 0


def test_older_emissions_come_from_disk_and_are_the_same(
    run: LiveRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = opened(run, run.left)
    monkeypatch.setattr(emissions_module, "RECENT_NS", 2 * S)
    view = open_view(run.folder)
    for start_ns, end_ns in ((0, 60 * S), (3 * S, 4 * S), (view.end_ns - S, view.end_ns)):
        assert view.emissions(start_ns, end_ns).equals(whole.emissions(start_ns, end_ns))
    assert view.emissions_of(7).equals(whole.emissions_of(7))
    assert view.snapshot(9 * S).figures == whole.snapshot(9 * S).figures


def test_requests_in_flight_are_told_by_their_emissions(run: LiveRun) -> None:
    view = opened(run, 45)
    table = view.requests(view.end_ns)
    flying = table.filter(pl.col("status").is_null())
    assert {"running", "waiting"} == set(flying["state"])
    emitting = flying.filter(pl.col("output_tokens") > 0)
    assert emitting.height and emitting["ttft_ms"].null_count() == 0
    assert emitting["longest_stall_ms"].null_count() < emitting.height
    assert flying["finished_ns"].null_count() == flying.height


def test_a_killed_run_is_dead_until_it_is_recovered(run: LiveRun) -> None:
    view = opened(run, 45)
    run.die()
    assert view.refresh()
    assert (view.live, view.state) == (False, "dead")
    assert view.now_ns() == view.end_ns and view.snapshot(view.end_ns).figures.offered > 0
    finish_run(run.folder, "killed", "its process ended by SIGKILL")
    assert view.refresh() and view.state == "killed"
    assert view.requests(view.end_ns)["state"].to_list().count("unfinished") > 0


def test_a_torn_segment_is_counted_and_passed_over(run: LiveRun) -> None:
    paths = run.advance(45)
    paths[5].write_bytes(paths[5].read_bytes()[:100])
    view = open_view(run.folder)
    assert len(view.problems) == 1 and paths[5].name in view.problems[0]
    figures = view.snapshot(view.end_ns).figures
    assert figures.in_flight >= 0
    assert view.requests(view.end_ns).height == figures.offered > 0
    view.charts(view.end_ns, 0, 10, 80)


def test_a_segment_of_another_kind_does_not_take_its_neighbours_along(run: LiveRun) -> None:
    paths = run.advance(20)
    paths[5].write_bytes(encode_segment(5, {"steps": {"step": np.arange(3)}}))
    view = open_view(run.folder)
    assert len(view.problems) == 1 and paths[5].name in view.problems[0]
    assert view.frames.steps["end_ns"][-1] == view.end_ns


def test_a_folder_that_is_deleted_meanwhile_is_said(run: LiveRun) -> None:
    view = opened(run, 20)
    shutil.rmtree(run.folder.path)
    with pytest.raises(StoreError, match="not a run"):
        view.refresh()


def test_a_saved_folder_that_is_deleted_meanwhile_is_said(
    recorded: RunFolder, tmp_path: Path
) -> None:
    copy = RunFolder(Path(shutil.copytree(recorded.path, tmp_path / "copy")))
    view = open_view(copy)
    shutil.rmtree(copy.path)
    with pytest.raises(StoreError, match="not a run"):
        view.refresh()
    with pytest.raises(StoreError):
        view.emissions(0, view.end_ns)


def test_thousands_of_segments_are_read_in_batches(
    run: LiveRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.viewing import reading

    one_by_one = LiveRun(run.folder.path.parent / "other")
    step_by_step = open_view(one_by_one.folder)
    while one_by_one.left:
        one_by_one.advance()
        step_by_step.refresh()
    monkeypatch.setattr(reading, "_BATCH_SEGMENTS", 7)
    at_once = opened(run, run.left)
    assert at_once.snapshot(9 * S).figures == step_by_step.snapshot(9 * S).figures
    assert at_once.frames.steps.equals(step_by_step.frames.steps)
    one_by_one.die()
