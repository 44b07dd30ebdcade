import dataclasses

import pytest
from comparisons import ODD, three_sides, two_sides

from workbench.comparison.compared_metrics import Metric
from workbench.comparison.comparison import Cell, Change, Part
from workbench.comparison.intervals import Interval
from workbench.comparison.wording import (
    change_interval_text,
    change_text,
    detectable_text,
    difference_text,
    interval_text,
    legend,
    metric_text,
    part_text,
    percent_text,
    ratio_text,
    side_headings,
    signed_text,
    tallies,
    value_text,
    verdict_text,
)

TIME = Metric("Latency", "TTFT p99", "ms", "ttft_p99", ("latency", "ttft_ms", "p99"), "lower")
SHARE = Metric("Throughput", "Attainment", "%", "attainment", ("attainment",), "higher", 100)
COUNT = Metric("Requests", "Failed", "", "failed", ("failed",), "lower")


def change(base, value, **more):
    return Change(value - base, value / base if base else None, **more)


@pytest.mark.parametrize(
    ("base", "value", "text"),
    [
        (10, 22.5, "▲ +12.5"),
        (10, 6.9, "▼ -3.10"),
        (10, 10, "= 0"),
        (1, 1.0004, "▲ ±0"),
    ],
)
def test_differences_have_an_arrow_and_a_sign(base, value, text):
    assert difference_text(TIME, change(base, value)) == text


def test_what_is_undefined_is_a_dash():
    assert ratio_text(None) == detectable_text(None) == "–"
    assert difference_text(TIME, None) == signed_text(TIME, None) == "–"
    assert ratio_text(Change(1.0, None)) == percent_text(None) == "–"
    assert change_text(TIME, None) == change_interval_text(TIME, None) == "–"
    assert verdict_text(None) == interval_text(None) == "–"
    assert change_interval_text(TIME, change(10, 12)) == "–"
    assert value_text(TIME, Cell(None, (None,), 0, None, True, None)) == "–"


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (1.41, "+41 %"),
        (0.968, "-3.2 %"),
        (1, "0 %"),
        (1.0001, "+0.0 %"),
        (12.4, "+1,140 %"),
        (0, "-100 %"),
        (0.0001, "-99.9 %"),
        (0.002, "-99.8 %"),
    ],
)
def test_ratios_as_percent_never_reach_100_before_nothing_is_left(ratio, text):
    assert percent_text(ratio) == text


def test_changes_are_relative_but_for_percentages_and_from_zero():
    assert change_text(TIME, change(100, 59)) == "▼ -41 %"
    assert change_text(TIME, change(100, 100)) == "= 0 %"
    assert change_text(SHARE, change(90, 92.5)) == "▲ +2.50 pp"
    assert change_text(COUNT, change(0, 3)) == "▲ +3"


def test_the_interval_is_of_what_the_change_says():
    told = change(100, 59, interval=Interval(-48, -33), ratio_interval=Interval(0.52, 0.67))
    assert change_interval_text(TIME, told) == "-48 … -33 %"
    assert change_interval_text(SHARE, told) == "-48.0 … -33.0 pp"
    from_zero = change(0, 3, interval=Interval(-1, 7))
    assert change_interval_text(COUNT, from_zero) == "-1.00 … +7.00"


def test_verdicts_are_words_with_a_sign():
    verdicts = ("better", "worse", "no evidence", "too noisy")
    texts = [verdict_text(verdict) for verdict in verdicts]
    assert texts == ["✓ better", "✗ worse", "· no evidence", "? too noisy"]


def test_other_short_texts():
    assert value_text(TIME, Cell(12.5, (12.5,), 80, None, True, None)) == "12.5*"
    assert interval_text(Interval(12.5, 14)) == "12.5 … 14.0"
    assert detectable_text(change(1, 2, detectable=0.052)) == "5.2 %"
    assert detectable_text(change(1, 2, detectable=0.61)) == "61 %"
    assert metric_text(TIME) == "TTFT p99, ms"
    assert metric_text(COUNT) == "Failed"
    assert part_text(Part("queue", -180.0, 0.93), "ms") == "queue: ▼ -180 ms, 93 %"
    assert part_text(Part("steps", 2.0, None), "") == "steps: ▲ +2.00"


def test_things_are_counted_and_measures_are_rounded():
    cell = Cell(3.0, (3.0,), None, None, False, None)
    assert (value_text(COUNT, cell), value_text(TIME, cell)) == ("3", "3.00")
    assert signed_text(COUNT, change(5, 3)) == "-2"
    mean = Cell(4.46, (4.46,), None, None, False, None)
    assert value_text(COUNT, mean) == "4.46"


def test_headings_say_who_is_the_baseline_and_how_many_runs():
    assert side_headings(three_sides()) == ("A (baseline)", "B (5 runs)", ODD, "failed")


def test_tallies_count_verdicts_of_each_side():
    first, second, last = tallies(three_sides())
    assert first == "B against A: 6 better, 2 worse, 2 no evidence, 1 too noisy."
    assert second.endswith("8 worse, 2 no evidence, 1 too noisy.")
    assert last == "failed against A: no metric could be judged."


def test_the_legend_explains_only_what_occurs():
    told = " ".join(legend(two_sides()))
    assert "* is a p99 of fewer than 100 samples." in told
    assert "(pp)" in told and "repeated runs" in told
    comparison = two_sides()
    plain = [row for row in comparison.rows if row.metric.name == "tpot_mean"]
    told = " ".join(legend(dataclasses.replace(comparison, rows=tuple(plain))))
    assert "*" not in told and "repeated" not in told and "(pp)" not in told
