"""Conditions: how they are read, and when the evidence holds for them."""

import dataclasses

import comparisons
import pytest

from workbench.comparison.comparison import Cell, Change, Effect
from workbench.comparison.gate import judge, parse_condition
from workbench.comparison.intervals import Interval
from workbench.errors import SpecError


@pytest.mark.parametrize(
    ("text", "kind", "above", "threshold", "unit"),
    [
        ("ttft_p99 > +5%", "relative", True, 0.05, "%"),
        ("ttft_p99>+5%", "relative", True, 0.05, "%"),
        ("tpot_mean < -2.5ms", "difference", False, -2.5, "ms"),
        ("ttft_p99 >= 1.5s", "value", True, 1.5, "s"),
        ("attainment < 90%", "value", False, 90.0, "%"),
        ("failed > 0", "value", True, 0.0, ""),
        (" latency.ttft_ms.p99 <= -.5 % ", "relative", False, -0.005, "%"),
    ],
)
def test_conditions_are_read(text, kind, above, threshold, unit):
    found = parse_condition(text)
    assert (found.kind, found.above, found.unit) == (kind, above, unit)
    assert found.threshold == pytest.approx(threshold) and found.text == text.strip()


@pytest.mark.parametrize(
    "text", ["", "ttft_p99", "ttft_p99 5%", "ttft > > 5%", "5% > ttft", "a > b"]
)
def test_what_is_no_condition_is_refused(text):
    with pytest.raises(SpecError, match="write METRIC"):
        parse_condition(text)


def changed(log_ratio, error, value=100.0, metric="ttft_p99", degrees=20.0):
    """A comparison of two sides in which one metric has this effect."""
    comparison = comparisons.two_sides()
    effect = Effect(True, log_ratio, error, degrees)
    cells = (
        Cell(value, (value,), 500, Interval(0.9 * value, 1.1 * value), False, None),
        Cell(
            value * 1.4, (value * 1.4,), 500, Interval(1.3 * value, 1.5 * value), False,
            Change(0.4 * value, 1.4, p=0.001, effect=effect, basis="requests"),
        ),
    )  # fmt: skip
    rows = tuple(
        dataclasses.replace(row, cells=cells) if row.metric.name == metric else row
        for row in comparison.rows
    )
    return dataclasses.replace(comparison, rows=rows)


def holds(text, comparison):
    (judgement,) = judge([parse_condition(text)], comparison)
    return judgement.holds


def test_a_condition_holds_where_the_evidence_lies_beyond_it():
    clear = changed(0.34, 0.02)  # +40 %, a standard error of 2 %
    assert holds("ttft_p99 > +5%", clear) == "yes"
    assert holds("ttft_p99 > +30%", clear) == "yes"
    assert holds("ttft_p99 > +38%", clear) == "undecided"
    assert holds("ttft_p99 > +60%", clear) == "no"
    assert holds("ttft_p99 < +5%", clear) == "no"
    assert holds("ttft_p99 > +20ms", clear) == "yes"
    assert holds("ttft_p99 > +0.1s", clear) == "no"
    assert holds("ttft_p99 < -500ms", clear) == "no"


def test_noise_decides_nothing():
    noisy = changed(0.34, 0.3)
    assert holds("ttft_p99 > +5%", noisy) == "undecided"
    assert holds("ttft_p99 < +5%", noisy) == "undecided"


def test_figures_themselves_are_held_against_a_limit():
    clear = changed(0.34, 0.02)
    assert holds("ttft_p99 > 120ms", clear) == "yes"
    assert holds("ttft_p99 > 0.139s", clear) == "undecided"
    assert holds("ttft_p99 < 120", clear) == "no"


def test_many_conditions_are_corrected_for_their_number():
    comparison = changed(0.34, 0.15)
    one = judge([parse_condition("ttft_p99 > +5%")], comparison)
    many = judge([parse_condition("ttft_p99 > +5%")] * 20, comparison)
    assert one[0].holds == "yes" and {each.holds for each in many} == {"undecided"}
    assert many[0].p == pytest.approx(20 * one[0].p, rel=1e-6)


def test_a_change_without_evidence_is_undecided():
    comparison = comparisons.two_sides()
    row = comparison.row("ttft_p99")
    plain = dataclasses.replace(row.cells[1], change=Change(5.0, 1.1))
    rows = tuple(
        dataclasses.replace(row, cells=(row.cells[0], plain)) if each is row else each
        for each in comparison.rows
    )
    comparison = dataclasses.replace(comparison, rows=rows)
    (judgement,) = judge([parse_condition("ttft_p99 > +5%")], comparison)
    assert judgement.holds == "undecided" and judgement.p is None
    assert "repeated runs can" in judgement.sentence


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ttft_p9 > +5%", "no side has the metric 'ttft_p9'; did you mean 'ttft_p99'"),
        ("ttft_p99 > 5%", "write a sign, such as \\+5%"),
        ("ttft_p99 > +5req/s", "is in ms, not in req/s"),
    ],
)
def test_wrong_metrics_and_units_are_told(text, said):
    with pytest.raises(SpecError, match=said):
        judge([parse_condition(text)], comparisons.two_sides())


def test_every_side_is_judged():
    comparison = comparisons.three_sides()
    found = judge([parse_condition("ttft_p50 > +5%")], comparison)
    assert [each.side for each in found] == [1, 2, 3]
    assert found[2].holds == "undecided" and "no such figure" in found[2].sentence
