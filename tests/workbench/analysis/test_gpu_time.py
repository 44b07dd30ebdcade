"""What the GPU did of the steps, worked out by hand; null where nobody timed it."""

from types import SimpleNamespace

import polars as pl
import pytest

from workbench.analysis.gpu_time import gpu_time, with_gpu_times
from workbench.analysis.metrics import Window
from workbench.analysis.summary import summarise
from workbench.runs.schema import EVENTS, STEPS
from workbench.tui.timeline_text import figures_lines
from workbench.tui.widgets.step_panel import step_facts
from workbench.viewing.step_detail import step_detail
from workbench.viewing.timeline import StepIndex

MS = 1_000_000


def steps(table_frame, *rows, worker=None):
    """Rows of kind, start and end on the host, start and end on the GPU, ms; and who is left."""
    full = []
    for index, (kind, start, end, gpu_start, gpu_end, left) in enumerate(rows):
        stamps = {
            "start_ns": start,
            "end_ns": end,
            "gpu_start_ns": gpu_start,
            "gpu_end_ns": gpu_end,
        }
        row = {name: None if at is None else round(at * MS) for name, at in stamps.items()}
        row |= {"step": index, "kind": kind, "running": left, "num_seqs": 1, "decode_tokens": 1}
        row |= {"schedule_ns": 200_000, "launch_ns": 300_000}
        full.append(row | {"worker": worker[index] if worker else 0})
    return table_frame(STEPS, full)


@pytest.fixture
def timed(table_frame):
    return steps(
        table_frame,
        ("prefill", -10, 9, -5, 8, 2),  # ends in the window; the GPU began before it
        ("decode", 10, 19, 11, 18, 2),  # after a prefill: its 3 ms are not between decodes
        ("decode", 20, 29, 18, 28, 2),  # was there already: no idle
        ("decode", 30, 39, 30, 38, 0),  # 2 ms idle; nothing is left after it
        ("decode", 80, 89, 80, 88, 1),  # the engine had nothing to do before it
        ("decode", 95, 120, 92, 119, 1),  # ends after the window, but computes in it
    )


def test_busy_and_idle_time_by_hand(timed):
    found = gpu_time(timed, Window(0, 100 * MS))
    assert found.steps == 5
    assert found.step_ms["all"].n == 5 and found.step_ms["prefill"].max == 13
    assert found.step_ms["decode"].mean == pytest.approx((7 + 10 + 8 + 8) / 4)
    assert found.busy_percent == pytest.approx(8 + 7 + 10 + 8 + 8 + 8)
    assert (found.decode_idle_ms.n, found.decode_idle_ms.max) == (2, 2)
    assert found.decode_idle_percent == pytest.approx(100 * 2 / (2 + 10 + 8))
    assert found.host_ms.mean == pytest.approx(0.5)


def test_a_step_that_was_not_timed_has_no_gaps_beside_it(table_frame):
    frame = steps(
        table_frame,
        ("decode", 0, 9, 1, 8, 1),
        ("decode", 10, 19, None, None, 1),
        ("decode", 20, 29, 21, 28, 1),
        ("decode", 30, 39, 29, 38, 1),
    )
    idle = with_gpu_times(frame)["decode_idle_ms"].to_list()
    assert idle == [None, None, None, 1.0]
    assert gpu_time(frame, Window(0, 40 * MS)).steps == 3


def test_each_worker_has_a_gpu_of_its_own(table_frame):
    frame = steps(
        table_frame,
        ("decode", 0, 9, 0, 8, 1),
        ("decode", 0, 9, 1, 9, 1),
        ("decode", 10, 19, 10, 18, 1),
        ("decode", 10, 19, 13, 18, 1),
        worker=[0, 1, 0, 1],
    )
    assert with_gpu_times(frame)["gpu_idle_ms"].to_list() == [None, None, 2.0, 4.0]
    assert gpu_time(frame, Window(0, 20 * MS)).busy_percent == pytest.approx(100 * (9 + 8) / 20)


def test_without_gpu_times_there_are_no_figures(timed):
    on_a_cpu = timed.with_columns(
        pl.lit(None, pl.Int64).alias(name) for name in ("gpu_start_ns", "gpu_end_ns", "launch_ns")
    )
    older = timed.drop("gpu_start_ns", "gpu_end_ns", "launch_ns")
    for frame in (on_a_cpu, older, timed.clear()):
        assert gpu_time(frame, Window(0, 100 * MS)) is None
        assert summarise({"steps": frame}, Window(0, 100 * MS)).steps.gpu is None
    assert gpu_time(timed, Window(0, 0)) is None


def test_the_summary_has_them_for_json(timed):
    summary = summarise({"steps": timed}, Window(0, 100 * MS)).as_dict()
    assert summary["steps"]["gpu"]["decode_idle_ms"]["p99"] == pytest.approx(1.98)


def test_the_timeline_and_a_step_in_full_tell_of_the_gpu(timed, table_frame):
    index = StepIndex(timed)
    figures = index.figures(0, 90 * MS, 200 * MS)
    assert figures.gpu.idle_percent == pytest.approx(100 * 2 / (2 + 10 + 8))
    line = next(line for line in figures_lines(figures, 6, False).splitlines() if "GPU" in line)
    assert "idle p50 1.00 ms" in line and "10.0 %" in line and len(line) <= 60
    assert index.figures(40 * MS, 60 * MS, 200 * MS).gpu is None

    view = SimpleNamespace(
        frames=SimpleNamespace(steps=timed, events=table_frame(EVENTS, [])),
        step_members=lambda step: pl.DataFrame(
            schema={"request_id": pl.Int64, "part": pl.String, "tokens": pl.Int64}
        ),
    )
    detail = step_detail(view, index, 3)
    assert (detail.gpu_ms, detail.gpu_idle_ms, detail.launch_ms) == (8, 2, 0.3)
    assert "launched in 0.300 ms, 8.00 ms on the GPU, idle 2.00 ms before" in step_facts(detail)
    untimed = timed.drop("gpu_start_ns", "gpu_end_ns")
    view.frames.steps = untimed
    detail = step_detail(view, StepIndex(untimed), 3)
    assert (detail.gpu_ms, detail.gpu_idle_ms) == (None, None)
    assert "launched" not in step_facts(detail), "the step was computed meanwhile"
