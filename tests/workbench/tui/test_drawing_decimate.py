import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.tui.drawing.decimate import extremes
from workbench.tui.drawing.trace import Trace, last_value, value_at
from workbench.tui.drawing.trend import trend

NAN = float("nan")


def trace(x, y, style="line"):
    return Trace("t", np.array(x, float), np.array(y, float), style)


def same(values, wanted):
    return np.array_equal(values, np.array(wanted, float), equal_nan=True)


def test_one_spike_among_a_hundred_thousand_samples_is_kept_exactly():
    x = np.linspace(0, 100, 100_000)
    y = np.ones_like(x)
    y[77_777] = 123.25
    found = extremes(Trace("t", x, y), 0, 100, 200)
    assert found.high.max() == 123.25 and (found.high == 123.25).sum() == 1
    assert found.low.min() == 1.0 and found.peak() == 123.25


def test_a_line_enters_and_leaves_by_the_samples_outside():
    found = extremes(trace([0, 10], [0, 10]), 4, 6, 2)
    assert same(found.enter, [4, 5]) and same(found.leave, [5, 6])
    assert same(found.low, [NAN, NAN])


def test_a_step_holds_its_value_until_the_next_and_ends_with_its_last_sample():
    found = extremes(trace([0, 5], [3, 7], "step"), 2, 8, 6)
    assert same(found.enter, [3, 3, 3, 7, NAN, NAN])
    assert same(found.high, [NAN, NAN, NAN, 7, NAN, NAN])


def test_points_are_not_joined():
    found = extremes(trace([1, 9], [5, 6], "points"), 0, 10, 5)
    assert same(found.high, [5, NAN, NAN, NAN, 6]) and same(found.enter, [NAN] * 5)


def test_gaps_break_a_line_on_both_sides():
    found = extremes(trace([0, 1, 2, 3, 4], [1, 1, NAN, 1, 1]), 0, 4, 8)
    assert same(found.enter, [1, 1, 1, NAN, NAN, NAN, 1, 1])
    assert same(found.leave, [1, 1, NAN, NAN, NAN, 1, 1, 1])


def test_nothing_before_the_first_sample_and_after_the_last():
    found = extremes(trace([4, 6], [1, 1]), 0, 10, 5)
    assert same(found.enter, [NAN, NAN, 1, 1, NAN])
    assert extremes(trace([], []), 0, 1, 3).peak() is None
    assert extremes(trace([1], [NAN]), 0, 2, 3).peak() is None


def test_the_last_column_holds_a_sample_on_the_windows_end():
    found = extremes(trace([0, 10], [1, 9], "points"), 0, 10, 4)
    assert found.high[-1] == 9


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=60),
    st.integers(1, 40),
    st.sampled_from(["line", "step", "points"]),
)
def test_extremes_of_columns_are_those_of_the_samples(times, columns, style):
    x = np.sort(np.array(times))
    y = np.sin(x * 7)
    inside = y[(x >= 20) & (x <= 80)]
    found = extremes(Trace("t", x, y, style), 20, 80, columns)
    if inside.size:
        assert np.nanmax(found.high) == inside.max() and np.nanmin(found.low) == inside.min()
    else:
        assert np.isnan(found.high).all()


def test_values_under_a_playhead_and_last_known_ones():
    series = trace([0, 1, 2, 3], [5, 6, NAN, NAN])
    assert [value_at(series, at) for at in (-1, 0.5, 1, 2.5)] == [None, 5, 6, None]
    assert last_value(series, 0, 3) == 6 and last_value(series, 1.5, 3) is None


def test_traces_are_equal_when_they_look_alike():
    one, other = trace([0, 1], [1, NAN]), trace([0, 1], [1, NAN])
    assert one == other and one != trace([0, 1], [1, 2]) and one != trace([0], [1])


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([0, 4, 8], 5, "  ▁▅█"),
        ([], 3, "   "),
        ([NAN, 0, 0], 3, " ▁▁"),
        ([1, 1, 1, 9, 1, 1, 1, 1], 4, "▂█▂▂"),
        ([9, 9, 9, 0, 9, 9, 9, 9], 4, "█▁██"),
        ([1], 0, ""),
    ],
)
def test_trends_rise_from_zero_and_keep_spikes_and_dips(values, width, drawn):
    assert trend(np.array(values, float), width, "▁▂▃▄▅▆▇█") == drawn
