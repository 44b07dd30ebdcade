from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.runs.schema import EVENTS, STEPS
from workbench.runs.tables import polars_schema
from workbench.viewing.lanes import STEP_KINDS, WorkerSteps, edges_ns, lane
from workbench.viewing.step_detail import Member, StepEvent, step_detail
from workbench.viewing.timeline import StepIndex

MS = 1_000_000
FAR = 1 << 60


def steps_frame(*rows, **columns):
    """Rows of (kind, start ms, end ms, requests left after it)."""
    count = len(rows)
    filled = {
        "step": range(count),
        "kind": [row[0] for row in rows],
        "start_ns": [round(row[1] * MS) for row in rows],
        "end_ns": [round(row[2] * MS) for row in rows],
        "running": [row[3] for row in rows],
        "num_seqs": [1] * count,
    } | columns
    schema = polars_schema(STEPS)
    empty = {pl.Int64: 0, pl.String: ""}
    return pl.DataFrame(
        {
            name: pl.Series(name, filled.get(name, [empty[dtype]] * count), dtype)
            for name, dtype in schema.items()
        }
    )


def lane_of(frame, start_ms, end_ms, columns, known_ns=FAR):
    steps = WorkerSteps(0, frame)
    return lane(steps, start_ms * MS, end_ms * MS, columns, known_ns)


def drawn(lane):
    """The kind that has most of each cell's time; a dot where none has any."""
    most = lane.by_kind.argmax(axis=0)
    return "".join(
        STEP_KINDS[kind][0] if lane.by_kind[kind, cell] else "." for cell, kind in enumerate(most)
    )


def test_a_cell_has_the_kind_that_took_most_of_its_time():
    frame = steps_frame(
        ("prefill", 0, 10, 1), ("decode", 10, 12, 1), ("decode", 12, 14, 1), ("mixed", 14, 20, 0)
    )
    seen = lane_of(frame, 0, 20, 2)
    assert drawn(seen) == "pm"
    assert seen.busy.tolist() == [1, 1] and seen.gap.tolist() == [0, 0]
    shares = {kind: times.tolist() for kind, times in zip(STEP_KINDS, seen.by_kind, strict=True)}
    assert shares["prefill"] == [10 * MS, 0] and shares["decode"] == [0, 4 * MS]
    assert shares["mixed"] == [0, 6 * MS]
    assert drawn(lane_of(frame, 0, 20, 20)) == "p" * 10 + "dddd" + "m" * 6


def test_steps_begin_and_end_in_the_half_cell_they_begin_and_end_in():
    frame = steps_frame(("prefill", 2, 5, 1), ("decode", 6, 9, 1))
    seen = lane_of(frame, 0, 10, 10)
    assert drawn(seen) == "..ppp.ddd."
    assert [(step.step, step.begin, step.end) for step in seen.steps] == [(0, 4, 10), (1, 12, 18)]
    assert [step.duration_ms for step in seen.steps] == [3, 3]
    assert not lane_of(frame, 0, 10, 5).steps  # too narrow to be told apart


def test_every_step_is_seen_however_short():
    frame = steps_frame(("decode", 500, 500.01, 0))
    assert drawn(lane_of(frame, 0, 1000, 5)) == "..d.."


def test_a_gap_is_the_hosts_where_requests_were_left_and_idleness_where_none_were():
    frame = steps_frame(("decode", 0, 1, 1), ("decode", 4, 5, 0), ("decode", 9, 10, 0))
    seen = lane_of(frame, 0, 10, 10)
    assert seen.gap.tolist() == [0, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert seen.busy.tolist() == [1, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert seen.host_bound.tolist() == [False, True, True, True] + [False] * 6


def test_nothing_is_shown_after_what_is_known():
    frame = steps_frame(("decode", 0, 4, 1), ("decode", 4, 8, 1))
    seen = lane_of(frame, 0, 8, 8, known_ns=6 * MS)
    assert drawn(seen) == "dddddd.."
    assert seen.busy.tolist() == [1] * 6 + [0, 0]
    figures = StepIndex(frame).figures(0, 8 * MS, 6 * MS)
    assert figures.busy_percent == 100


def test_what_a_living_run_has_not_told_yet_is_no_idleness():
    busy = StepIndex(steps_frame(("decode", 0, 4, 1)))
    assert busy.told_until_ns(9 * MS) == 4 * MS and busy.told_until_ns(3 * MS) == 3 * MS
    assert StepIndex(steps_frame(("decode", 0, 4, 0))).told_until_ns(9 * MS) == 9 * MS
    assert StepIndex(steps_frame()).told_until_ns(9 * MS) == 9 * MS


def test_overlapping_steps_count_once():
    frame = steps_frame(("decode", 0, 6, 1), ("decode", 4, 10, 0))
    figures = StepIndex(frame).figures(0, 20 * MS, FAR)
    assert figures.busy_percent == 50 and figures.idle_percent == 50
    assert figures.p50_ms == 6


def test_figures_of_a_span():
    frame = steps_frame(
        ("prefill", 0, 10, 1),
        ("decode", 11, 13, 1),
        ("decode", 17, 19, 1),
        ("decode", 20, 22, 0),
        prefill_tokens=[100, 0, 0, 0],
        decode_tokens=[0, 2, 2, 1],
        num_seqs=[1, 2, 2, 1],
    )
    figures = StepIndex(frame).figures(5 * MS, 25 * MS, FAR)
    assert figures.steps == 4 and figures.by_kind == {"prefill": 1, "decode": 3}
    assert figures.busy_percent == pytest.approx(100 * 11 / 20)
    assert figures.gap_percent == pytest.approx(100 * 6 / 20)
    assert figures.idle_percent == pytest.approx(100 * 3 / 20)
    assert (figures.p50_ms, figures.prefill_tokens, figures.decode_tokens) == (2, 100, 5)
    assert figures.mean_batch == 1.5
    assert [(gap.after_step, gap.duration_ms) for gap in figures.gaps] == [(1, 4), (0, 1), (2, 1)]
    assert figures.gaps[0].start_ns == 13 * MS


def test_a_run_without_steps_has_no_figures():
    index = StepIndex(steps_frame())
    figures = index.figures(0, 10 * MS, FAR)
    assert figures.steps == 0 and figures.busy_percent is None and figures.p50_ms is None
    assert drawn(index.timeline(0, 10 * MS, 4, FAR).lanes[0]) == "...."
    assert index.step_at(5) is None and index.next_step(0, 1, FAR) is None


def test_batch_and_kv_run_along():
    frame = steps_frame(
        ("prefill", 1, 2, 1),
        ("decode", 2, 3, 1),
        ("decode", 5, 6, 0),
        num_seqs=[1, 3, 2],
        prefill_tokens=[40, 0, 0],
        decode_tokens=[0, 3, 2],
        live_blocks=[5, 6, 0],
    )
    seen = StepIndex(frame).timeline(0, 8 * MS, 8, known_ns=7 * MS)
    missing = pytest.approx(np.nan, nan_ok=True)
    assert seen.batch.tolist() == [missing, 1, 3, missing, missing, 2, missing, missing]
    assert seen.tokens.tolist() == [missing, 40, 3, missing, missing, 2, missing, missing]
    # A state lasts from the end of its step to the end of the next one.
    assert seen.live_blocks.tolist() == [missing, missing, 5, 6, 6, 6, 0, missing]


def test_workers_have_lanes_of_their_own():
    frame = steps_frame(
        ("prefill", 0, 4, 1), ("decode", 0, 2, 1), ("decode", 3, 8, 0), worker=[0, 1, 1]
    )
    index = StepIndex(frame)
    seen = index.timeline(0, 8 * MS, 8, FAR)
    assert index.workers == (0, 1)
    assert drawn(seen.lanes[0]) == "pppp...."
    assert drawn(seen.lanes[1]) == "dd.ddddd"
    assert seen.figures.busy_percent == pytest.approx(100 * 11 / 16)
    assert index.step_at(5 * MS, worker=1) == 2 and index.step_at(5 * MS, worker=0) == 0
    assert index.next_step(1, 1, FAR) == 2 and index.next_step(0, 1, FAR) == 0


def test_a_record_without_workers_is_one_lane():
    frame = steps_frame(("decode", 0, 4, 1))
    assert StepIndex(frame.drop("worker")).workers == (0,)
    assert StepIndex(frame.with_columns(worker=pl.lit(None, pl.Int64))).workers == (0,)


def test_from_moment_to_step_and_from_step_to_step():
    frame = steps_frame(("decode", 10, 12, 1), ("decode", 20, 22, 1), ("decode", 23, 25, 0))
    index = StepIndex(frame)
    at = [index.step_at(time * MS) for time in (0, 11, 13, 19, 21, 99)]
    assert at == [0, 0, 0, 1, 1, 2]
    assert index.next_step(0, 1, FAR) == 1 and index.next_step(2, 1, FAR) == 2
    assert index.next_step(1, -1, FAR) == 0 and index.next_step(1, 1, known_ns=22 * MS) == 1
    assert index.bounds_ns(1) == (20 * MS, 22 * MS) and index.bounds_ns(7) is None


def test_a_step_in_full():
    frame = steps_frame(
        ("prefill", 0, 4, 1),
        ("mixed", 5, 9, 2),
        schedule_ns=[0, 250_000],
        prefill_tokens=[64, 32],
        decode_tokens=[0, 1],
        live_blocks=[4, 7],
        blocked=["", "blocks"],
    )
    events = pl.DataFrame(
        {
            "time_ns": [9 * MS] * 2,
            "step": [1, 1],
            "kind": ["prefill", "preempt"],
            "request_id": [8, 3],
            "tokens": [32, 70],
            "detail": ["", "no KV block was free"],
        },
        schema=polars_schema(EVENTS),
    )
    members = pl.DataFrame({"request_id": [5, 8], "part": ["decode", "prefill"], "tokens": [1, 32]})
    view = SimpleNamespace(
        frames=SimpleNamespace(steps=frame, events=events), step_members=lambda step: members
    )
    detail = step_detail(view, StepIndex(frame), 1)
    assert (detail.kind, detail.duration_ms, detail.schedule_ms) == ("mixed", 4, 0.25)
    assert detail.gap_before_ms == 1 and detail.gap_is_host
    assert detail.blocked == "blocks" and detail.live_blocks == 7
    assert detail.members == (Member(8, "prefill", 32), Member(5, "decode", 1))
    assert detail.events == (StepEvent("preempt", 3, 70, "no KV block was free"),)
    assert step_detail(view, StepIndex(frame), 0).gap_before_ms is None
    assert step_detail(view, StepIndex(frame), 2) is None


runs = st.lists(
    st.tuples(
        st.sampled_from(STEP_KINDS),
        st.integers(-30, 200),
        st.integers(0, 300),
        st.integers(0, 2),
    ),
    max_size=30,
)


@given(runs, st.integers(0, 3000), st.integers(1, 5000), st.integers(1, 97), st.integers(0, 9000))
def test_busy_gap_and_idle_time_sum_to_the_span(rows, start, length, cells, known):
    now, frame_rows = 0, []
    for kind, pause, lasts, left in rows:
        begin = max(0, now + pause)
        now = begin + lasts
        frame_rows.append((kind, begin / MS, now / MS, left))
    steps = WorkerSteps(0, steps_frame(*frame_rows))
    edges = edges_ns(start, start + length, cells, known)
    if not len(steps):
        return
    spent = steps.spent(edges)
    assert (spent.by_kind >= 0).all() and (spent.gap >= 0).all() and (spent.idle >= 0).all()
    total = spent.busy.sum() + spent.gap.sum() + spent.idle.sum()
    assert total == max(0, min(start + length, max(known, start)) - start)
    covered = np.zeros(int(max(steps.end_ns.max(), start + length)) + 1, bool)
    for begin, end in zip(steps.start_ns, steps.end_ns, strict=True):
        covered[begin:end] = True
    assert spent.busy.sum() == covered[edges[0] : edges[-1]].sum()
