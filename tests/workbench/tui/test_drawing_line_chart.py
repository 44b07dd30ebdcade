import dataclasses

import numpy as np
import pytest

from workbench.tui.drawing.chart_data import EMPTY_CHART, ChartData, Limit, Mark
from workbench.tui.drawing.glyphs import ASCII, UNICODE
from workbench.tui.drawing.line_picture import GUTTER, draw_chart
from workbench.tui.drawing.trace import Trace

BLOCK = dataclasses.replace(UNICODE, raster="block")
X = np.linspace(0, 120, 241)


def wave(name="p50", high=900.0, style="line", color="$series-1"):
    return Trace(name, X, high / 2 * (1 + np.sin(X / 9)), style, color)


def flat(value, name="p50", style="line"):
    return Trace(name, X, np.full_like(X, value), style)


def chart(*traces, **more):
    return ChartData(traces, 0.0, 120.0, **more)


def drawn(data, width=60, height=10, glyphs=UNICODE, **more):
    canvas, _ = draw_chart(data, "TTFT", width, height, glyphs, **more)
    return canvas.text().split("\n")


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII, BLOCK])
@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 10, 40])
@pytest.mark.parametrize("width", [1, 7, 8, 20, 33, 120, 400])
def test_every_size_is_filled_exactly(width, height, glyphs):
    data = chart(
        wave(),
        wave("p99", 1400, color="$series-2"),
        wave("max", 1500, "points"),
        limits=(Limit(700, "SLO 700 ms"), Limit(90_000, "far")),
        marks=(Mark(30, "R"),),
        cursor_s=100.0,
        shaded_until_s=10.0,
        unit="ms",
    )
    canvas, _ = draw_chart(data, "TTFT", width, height, glyphs)
    rows = list(canvas.rows())
    assert len(rows) == height
    assert all(sum(len(text) for text, _ in row) == width for row in rows)
    if glyphs is ASCII:
        assert canvas.text().isascii()


def test_the_legend_names_each_trace_with_its_sign_and_last_value():
    data = chart(flat(1876), flat(4294, "p99"), flat(9, "max", "points"), unit="ms")
    assert drawn(data)[0] == "TTFT ms  ─ p50 1,876  ┄ p99 4,294  • max 9"
    assert drawn(data, glyphs=ASCII)[0] == "TTFT ms  * p50 1,876  + p99 4,294  o max 9"


def test_a_narrow_legend_loses_names_before_values():
    data = chart(flat(1876), flat(4294, "p99"), unit="ms", limits=(Limit(5000, "SLO 5 s"),))
    assert drawn(data, 60)[0].endswith("╌ SLO 5 s")
    assert drawn(data, 36)[0] == "TTFT ms  ─ p50 1,876  ┄ p99 4,294"
    assert drawn(data, 30)[0] == "TTFT  ─ p50 1,876  ┄ p99 4,294"
    assert drawn(data, 28)[0] == "TTFT ─ p50 1,876 ┄ p99 4,294"
    assert drawn(data, 24)[0] == "TTFT  ─ 1,876  ┄ 4,294"
    assert drawn(data, 20)[0] == "TTFT  ─ 1,876"


def test_names_are_cut_short_before_they_go():
    data = chart(flat(99, "gpu0"), flat(81, "memory"), flat(17, "tensor"), flat(52, "DRAM"))
    assert drawn(data, 48)[0] == "TTFT ─ gpu0 99 ┄ memory 81 ┈ tensor 17 ─ DRAM 52"
    assert drawn(data, 44)[0] == "TTFT ─ gpu0 99 ┄ memo 81 ┈ tens 17 ─ DRAM 52"
    assert drawn(data, 40)[0] == "TTFT ─ gpu 99 ┄ mem 81 ┈ ten 17 ─ DRA 52"
    assert drawn(data, 39)[0] == "TTFT  ─ 99  ┄ 81  ┈ 17  ─ 52"


def test_the_playhead_shows_its_time_and_the_values_there():
    data = chart(Trace("p50", np.array([0.0, 60, 120]), np.array([1.0, 2, 3])), cursor_s=72.5)
    rows = drawn(data, 67, 8)
    assert "p50 2" in rows[0] and "▲1m12" in rows[-1]
    column = GUTTER + int(72.5 / 120 * 60)
    assert rows[-1][column] == "▲" and sum(row[column] == "│" for row in rows[1:-1]) >= 4
    late = drawn(dataclasses.replace(data, cursor_s=119.0), 67, 8)
    assert late[-1].endswith("1m59▲")


def test_before_the_first_sample_the_playhead_has_no_value():
    series = Trace("p50", np.array([60.0, 120]), np.array([1.0, 2]))
    assert drawn(chart(series, cursor_s=10.0))[0].endswith("p50 –")


def test_a_flat_line_lies_in_one_row_and_a_spike_reaches_the_top():
    values = np.full_like(X, 10.0)
    values[100] = 100.0
    rows = drawn(chart(Trace("p50", X, values)), 67, 12)
    assert rows[1].startswith("   100┤") and rows[1][GUTTER:].strip()
    spikes = [row for row in rows[1:-2] if row[GUTTER:].strip()]
    assert len(spikes) == 9


@pytest.mark.parametrize("glyphs", [UNICODE, BLOCK, ASCII])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_spikes_survive_dashes(glyphs, place):
    values = np.full_like(X, 10.0)
    values[101] = 100.0
    others = [flat(10.0, f"t{index}") for index in range(place)]
    rows = drawn(chart(*others, Trace("p99", X, values)), 67, 12, glyphs)
    assert rows[1][GUTTER:].strip() and rows[5][GUTTER:].strip()


def test_steep_lines_have_no_holes():
    x = np.array([0.0, 60.0, 120.0])
    rows = drawn(chart(Trace("p50", x, np.array([0.0, 100.0, 0.0]))), 27, 22, ASCII)
    body = [row[GUTTER:].ljust(20) for row in rows[1:-1]]
    assert all("*" in row for row in body)
    assert all(any(row[column] == "*" for row in body) for column in range(20))


def test_a_limit_is_a_labelled_dashed_line_or_an_arrow_above():
    near = drawn(chart(flat(100), limits=(Limit(250, "SLO 250"),)), 60, 12, show_axis=False)
    (line,) = [row for row in near[1:] if "SLO 250" in row]
    assert line.count("╌") > 30
    far = drawn(chart(flat(85), limits=(Limit(5000, "SLO 5 s"),)), 60, 12)
    assert "SLO 5 s↑" in far[1] and not any("╌" in row for row in far[1:])


def test_a_fixed_top_stays_and_values_over_it_lie_on_it():
    rows = drawn(chart(flat(150), y_top=100.0), 40, 8)
    assert rows[1].startswith("   100┤") and rows[1][GUTTER:].strip()


def test_marks_have_their_letter_and_warm_up_is_shaded():
    rows = drawn(chart(flat(4.2), marks=(Mark(60, "R"),), shaded_until_s=30.0), 67, 8)
    assert rows[1][GUTTER + 30] == "R" and rows[5][GUTTER + 30] == "┊"
    assert "·" in rows[1][GUTTER : GUTTER + 15] and "·" not in rows[1][GUTTER + 15 :]


def test_a_shared_time_axis_is_left_out_and_its_row_used():
    data = chart(wave())
    assert "└" in drawn(data)[-1]
    assert not any("└" in row for row in drawn(data, show_axis=False))
    assert not any("└" in row for row in drawn(data, height=3))


@pytest.mark.parametrize("traces", [(), (flat(float("nan")),)])
def test_without_values_the_reason_is_said_in_the_middle(traces):
    data = ChartData(traces, 0, 10, empty="no GPU: NVML not found")
    rows = drawn(data, 60, 9)
    assert rows[4].strip() == "no GPU: NVML not found"
    assert rows[4].index("no GPU") == (60 - len("no GPU: NVML not found")) // 2
    assert drawn(EMPTY_CHART, 12, 6)[2].strip() == "no data"


def test_logarithmic_axes_have_decades_and_leave_out_zero():
    values = np.where(X < 60, 3.0, 450.0)
    values[0] = 0.0
    rows = drawn(chart(Trace("p50", X, values), log=True), 60, 12)
    labels = [row[: GUTTER - 1].strip() for row in rows[1:-1]]
    assert [label for label in labels if label] == ["1,000", "100", "10", "1"]
    nothing = drawn(chart(flat(0.0), log=True, empty="all zero"), 60, 8)
    assert "all zero" in "\n".join(nothing)


def test_the_scale_is_handed_on_so_that_live_charts_do_not_flicker():
    _, scale = draw_chart(chart(flat(100)), "TTFT", 60, 10, UNICODE)
    _, kept = draw_chart(chart(flat(60)), "TTFT", 60, 10, UNICODE, previous=scale)
    _, shrunk = draw_chart(chart(flat(30)), "TTFT", 60, 10, UNICODE, previous=kept)
    assert kept == scale and shrunk.top == 30


def test_many_points_are_dots_and_few_are_signs():
    few = Trace("max", X[::24], X[::24], "points")
    assert "•" in "".join(drawn(chart(few), 60)[1:])
    many = Trace("max", X, X, "points")
    assert "•" not in "".join(drawn(chart(many), 60)[1:])
