from itertools import pairwise

import numpy as np
import pytest

from workbench.tui.drawing.axis import LABEL_WIDTH, clock, time_ticks, value_label, value_ticks
from workbench.tui.drawing.scale import Scale, limit_in_view, linear_scale, log_scale


@pytest.mark.parametrize(
    ("time_s", "step_s", "said"),
    [
        (0, 30, "0 s"),
        (30, 30, "30 s"),
        (60, 30, "1m"),
        (90, 30, "1m30"),
        (65, 5, "1m05"),
        (12.5, 0.5, "12.5 s"),
        (12.305, 0.005, "12.305 s"),
        (72.5, 0.1, "1m12.5"),
        (3600, 600, "1h"),
        (5400, 600, "1h30"),
        (3661, 1, "1h01m01"),
        (59.96, 0.1, "1m"),
        (-30, 30, "-30 s"),
    ],
)
def test_times_read_as_a_clock(time_s, step_s, said):
    assert clock(time_s, step_s) == said


@pytest.mark.parametrize("width", [13, 20, 45, 80, 173, 393])
@pytest.mark.parametrize("span_s", [0.004, 0.9, 12, 119, 600, 5400, 86_400, 1e7])
@pytest.mark.parametrize("start_s", [0.0, 37.3, 7261.0])
def test_time_labels_never_overlap_and_stay_inside(width, span_s, start_s):
    ticks = time_ticks(start_s, start_s + span_s, width)
    columns = [tick.column for tick in ticks]
    assert columns == sorted(set(columns)) and all(0 <= at < width for at in columns)
    for tick, after in pairwise(ticks):
        assert tick.column + 1 + len(tick.label) < after.column
    assert all(tick.column + len(tick.label) < width for tick in ticks)
    if width >= 45:
        assert sum(bool(tick.label) for tick in ticks) >= 2
        assert len({tick.label for tick in ticks if tick.label}) >= 2


def test_ticks_are_where_their_times_are():
    ticks = time_ticks(0, 120, 120)
    assert [(tick.column, tick.label) for tick in ticks[:4]] == [
        (0, "0 s"),
        (10, "10 s"),
        (20, "20 s"),
        (30, "30 s"),
    ]
    assert time_ticks(5, 5, 80) == [] and time_ticks(0, 1, 0) == []


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (0.25, "0.25"),
        (1250, "1,250"),
        (10_000, "10k"),
        (12_500, "12.5k"),
        (1.6e6, "1.6M"),
        (3e9, "3G"),
        (0.000012, "1e-05"),
    ],
)
def test_values_read_short(value, said):
    assert value_label(value) == said and len(said) <= LABEL_WIDTH


@pytest.mark.parametrize("top", [1, 1.2, 1.6, 2, 300, 4000, 5e4, 6e5, 0.08])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 8, 11, 28])
def test_value_ticks_go_from_the_top_to_zero_with_room_between(top, rows):
    ticks = value_ticks(Scale(0, top), rows, 4)
    places = [tick.row for tick in ticks]
    assert places[0] == 0 and (rows == 1 or places[-1] == rows - 1)
    assert all(after - at >= 2 for at, after in pairwise(places)) or rows < 3
    assert all(len(tick.label) <= LABEL_WIDTH for tick in ticks)


def test_thousands_look_alike_on_one_axis():
    ticks = value_ticks(Scale(0, 40_000), 16)
    assert [tick.label for tick in ticks] == ["40k", "32k", "24k", "16k", "8k", "0"]
    assert "4,000" in [tick.label for tick in value_ticks(Scale(0, 8_000), 10)]


def test_decades_are_labelled():
    labels = [tick.label for tick in value_ticks(Scale(1, 1000, log=True), 10)]
    assert labels == ["1,000", "100", "10", "1"]


def test_the_top_grows_at_once_and_shrinks_late():
    scale = linear_scale(100)
    assert scale.top == 100
    assert linear_scale(101, scale).top == 120
    assert linear_scale(51, scale) is scale
    assert linear_scale(49, scale).top == 50
    assert linear_scale(0).top == 1


def test_decades_hold_the_values_and_are_given_up_late():
    scale = log_scale(3, 450)
    assert (scale.bottom, scale.top) == (1, 1000)
    assert log_scale(15, 90, scale) == scale
    assert log_scale(250, 900, scale).bottom == 100
    assert log_scale(10, 10).top > 10


def test_rows_lie_between_the_edges_even_for_values_beyond_them():
    values = np.array([0.0, 5.0, 10.0, 99.0, -3.0, np.nan])
    rows = Scale(0, 10).rows(values, 11)
    assert rows[:5].tolist() == [10, 5, 0, 0, 10] and np.isnan(rows[5])
    logarithmic = Scale(1, 100, log=True).rows(np.array([1.0, 10.0, 100.0, 0.0, -1.0]), 3)
    assert logarithmic[:3].tolist() == [2, 1, 0] and np.isnan(logarithmic[3:]).all()


def test_a_limit_far_above_the_values_does_not_flatten_them():
    assert limit_in_view(300, 100, None) and not limit_in_view(301, 100, None)
    assert limit_in_view(700, 100, Scale(0, 800)) and not limit_in_view(900, 100, Scale(0, 1000))
