"""The words for what was recorded against what is."""

from __future__ import annotations

import math

import pytest

from profiles.expected import Expectation, ExpectedRatio
from workbench.comparison.intervals import t_interval
from workbench.lab.drift import drifts, recorded_text


def ratio(value: float, error: float, n: int = 5) -> ExpectedRatio:
    """With a standard error of the logarithm, and the interval of n pairs."""
    interval = t_interval(math.log(value), error, n - 1)
    return ExpectedRatio(value, math.exp(interval.low), math.exp(interval.high), n - 1, n)


def recorded(**ratios: ExpectedRatio) -> Expectation:
    return Expectation("made-up", "m", "float32", "2026-11-21", "", None, {}, {}, ratios)


def verdict(was: ExpectedRatio, now: ExpectedRatio) -> str:
    (found,) = drifts(recorded(ttft_p50=was), {"ttft_p50": now})
    return found.verdict


def test_a_change_beyond_both_errors_is_a_drift_and_has_both_intervals() -> None:
    (found,) = drifts(
        recorded(output_throughput=ratio(2.31, 0.018)),
        {"output_throughput": ratio(1.9, 0.018)},
    )
    assert found.verdict == "drifted"
    assert found.sentence == (
        "output_throughput was ×2.31 [2.2, 2.43] on 2026-11-21, is ×1.9 [1.81, 2]"
    )


def test_the_same_figure_is_as_expected_and_says_what_would_show() -> None:
    (found,) = drifts(recorded(ttft_p50=ratio(0.5, 0.02)), {"ttft_p50": ratio(0.51, 0.02)})
    assert found.verdict == "as expected"
    assert found.sentence.endswith("; a drift of 9 % would show")


@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_noise_in_which_anything_could_hide_is_no_confirmation(noise: float) -> None:
    assert verdict(ratio(1.1, 0.01), ratio(1.1, noise)) == "can't tell"


def test_how_much_noise_is_too_much_depends_on_the_effect() -> None:
    assert verdict(ratio(1.1, 0.08), ratio(1.1, 0.08)) == "can't tell"
    assert verdict(ratio(9.0, 0.08), ratio(9.0, 0.08)) == "as expected"


def test_a_large_change_that_is_as_noisy_is_none() -> None:
    assert verdict(ratio(2.0, 0.5), ratio(1.0, 0.5)) == "can't tell"


def test_an_older_record_without_any_noise_is_compared_as_it_is() -> None:
    exact = ExpectedRatio(1.0, 1.0, 1.0, None, 3)
    assert verdict(exact, exact) == "as expected"
    assert verdict(exact, ExpectedRatio(1.01, 1.01, 1.01, None, 3)) == "drifted"


def test_several_metrics_are_corrected_for_their_number() -> None:
    was, now = ratio(1.0, 0.02), ratio(1.08, 0.02)
    assert verdict(was, now) == "drifted"
    names = ("a", "b", "c", "d")
    many = drifts(recorded(**dict.fromkeys(names, was)), dict.fromkeys(names, was) | {"a": now})
    assert {each.verdict for each in many} == {"as expected"}


def test_a_metric_that_has_no_interval_now_is_said() -> None:
    (found,) = drifts(recorded(ttft_p50=ratio(0.5, 0.02)), {})
    assert found.verdict == "can't tell" and "now it has no interval" in found.sentence


def test_a_record_in_a_line() -> None:
    shown = recorded_text(recorded(ttft_p50=ratio(0.5, 0.02), itl_p99=ratio(0.25, 0.02)))
    assert shown == "ttft_p50 ×0.5 [0.473, 0.529], itl_p99 ×0.25 [0.236, 0.264] (2026-11-21)"
