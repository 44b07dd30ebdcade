"""The timeline's picture: rows that fit, signs without colour, labels, workers without room."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.runs.schema import STEPS
from workbench.runs.tables import polars_schema
from workbench.tui.drawing.glyphs import ASCII, UNICODE
from workbench.tui.drawing.lanes_layout import lanes_layout
from workbench.tui.drawing.lanes_picture import GUTTER, Chosen, LanesData, draw_lanes
from workbench.viewing.lanes import STEP_KINDS
from workbench.viewing.timeline import StepIndex

MS = 1_000_000
DIM = dict.fromkeys(
    (*STEP_KINDS, *(f"{kind} below" for kind in STEP_KINDS), "foreground", "series-1", "series-2"),
    "#333333",
)


def steps(workers=1):
    """On each worker: 40 ms of prefill, a host gap of 20 ms, 40 ms of decode."""
    return frame(
        {"kind": kind, "start_ns": start * MS, "end_ns": end * MS, "worker": worker}
        for worker in range(workers)
        for kind, start, end in (("prefill", 0, 40), ("decode", 60, 100))
    )


def frame(rows):
    """Steps of which these columns are said; the others are empty."""
    schema, rows = polars_schema(STEPS), list(enumerate(rows))
    empty = {pl.Int64: 1, pl.String: ""}
    return pl.DataFrame(
        {
            name: [{"step": number, **row}.get(name, empty[dtype]) for number, row in rows]
            for name, dtype in schema.items()
        },
        schema=schema,
    )


def picture(height=12, workers=1, glyphs=UNICODE, width=GUTTER + 50, chosen=None):
    timeline = StepIndex(steps(workers)).timeline(0, 100 * MS, width - GUTTER, 1 << 60)
    return draw_lanes(LanesData(timeline, chosen, 10), width, height, glyphs, DIM).text()


@given(st.integers(2, 80), st.integers(1, 40))
def test_every_row_is_used_once_and_none_lies_outside(height, workers):
    layout = lanes_layout(height, workers)
    rows = [row for block in layout.lanes for row in block.rows]
    rows += [row for block in layout.lanes for row in (block.busy_row, block.gap_row)]
    rows += [row for band in layout.bands for row in band.rows]
    used = [row for row in rows if row is not None] + [layout.axis_row]
    used += [layout.left_out_row] if layout.left_out else []
    assert len(set(used)) == len(used) and set(used) <= set(range(height))
    assert len(layout.lanes) + layout.left_out == workers


def test_kinds_have_signs_of_their_own():
    lane = picture().splitlines()[0][GUTTER:]
    assert lane[:20].strip("█ ") in ("", "0 prefill 40.0 ms")
    assert "·" in lane[20:30] and "█" not in lane[30:] and "▒" in lane[30:]


def test_steps_too_short_to_be_told_apart_share_the_rows_by_their_time():
    many = frame(
        {"kind": kind, "start_ns": at * MS, "end_ns": end * MS, "prefill_tokens": 7_771}
        for second in range(0, 200, 10)
        for kind, at, end in (
            ("decode", second, second + 4), ("mixed", second + 4, second + 6),
            ("prefill", second + 6, second + 10),
        )
    )  # fmt: skip
    timeline = StepIndex(many).timeline(0, 200 * MS, 5, 1 << 60)
    height = 20
    text = draw_lanes(LanesData(timeline, None, 10), GUTTER + 5, height, UNICODE, DIM).text()
    rows = lanes_layout(height, 1).lanes[0].rows
    assert len(rows) == 5
    lane = [row[GUTTER:] for row in text.splitlines()[rows.start : rows.stop]]
    assert lane == ["█" * 5, "█" * 5, "▓" * 5, "▒" * 5, "▒" * 5]
    assert "tokens 7.8k" in text


def test_signs_are_letters_in_ascii():
    text = picture(glyphs=ASCII)
    lane = text.splitlines()[0][GUTTER:]
    assert text.isascii() and lane.startswith("P") and "d" in lane[30:] and "." in lane[20:30]


def test_steps_that_have_room_are_labelled():
    text = picture(width=GUTTER + 80)
    assert " 0 prefill 40.0 ms " in text and " 1 decode 40.0 ms " in text
    assert "prefill" not in picture(width=GUTTER + 5)


def test_the_selected_step_is_named_on_the_axis():
    axis = picture(chosen=Chosen(1, 0, 60 * MS, 100 * MS)).splitlines()[-1]
    assert "step 1 at 0.060 s" in axis and "▲" in axis


@pytest.mark.parametrize("height", [4, 9])
def test_workers_that_have_no_room_are_told_of(height):
    text = picture(height=height, workers=12)
    shown = text.count("worker ")
    assert f"{12 - shown} more workers" in text


def test_rows_below_the_lanes_name_their_top():
    text = picture(height=14)
    for label in ("busy", "host gap", "batch 1", "tokens 2", "KV 10.0%"):
        assert label in text
