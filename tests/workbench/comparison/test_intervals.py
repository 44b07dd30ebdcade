"""Intervals and the distributions behind them, against tables and simulation."""

import math

import numpy as np
import pytest

from workbench.comparison.intervals import (
    count_test,
    detectable,
    order_statistic_shares,
    share_interval,
    t_interval,
    t_reach,
    t_tail,
)


def test_students_t_is_that_of_the_tables():
    assert t_reach(4) == pytest.approx(2.776, abs=1e-3)
    assert t_reach(math.inf) == pytest.approx(1.96, abs=1e-3)
    assert t_tail(2.776, 4) == pytest.approx(0.025, abs=1e-4)
    interval = t_interval(10, 2, 4)
    assert (interval.low, interval.high) == pytest.approx((4.447, 15.553), abs=1e-3)


def test_what_is_detectable_is_found_four_times_of_five():
    """Of differences as large as it says, tested together with nine others (Bonferroni)."""
    rng = np.random.default_rng(1)
    least = detectable(1.0, 8, tests=10)
    errors = np.sqrt(rng.chisquare(8, 20_000) / 8)
    found = np.abs(rng.normal(least, 1, 20_000)) / errors > t_reach(8, 0.025 / 10)
    assert found.mean() == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_order_statistics_hold_the_truth_as_often_as_they_say(share):
    rng = np.random.default_rng(7)
    low, high = order_statistic_shares(share, 500)
    truth, held = -math.log(1 - share), 0
    for _ in range(400):
        draw = rng.exponential(size=500)
        held += np.quantile(draw, low) <= truth <= np.quantile(draw, high)
    assert held / 400 > 0.91


def test_order_statistics_need_samples_beyond():
    assert order_statistic_shares(0.5, 3) is None
    assert order_statistic_shares(0.99, 100) is None
    assert order_statistic_shares(0.99, 600) is not None
    assert order_statistic_shares(0.99, 0.0) is None


def test_shares_have_wilsons_interval():
    interval = share_interval(9, 10)  # Wilson: 0.5958 to 0.9821
    assert (interval.low, interval.high) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert share_interval(10, 10).high == 1 and share_interval(0, 4).low == 0


def test_counts_are_tested_exactly():
    # Of 5 that fell all on one side, at the same rate: 2 · 0.5^5.
    assert count_test(0, 5, 100, 100) == pytest.approx(0.0625)
    assert count_test(5, 0, 100, 100) == pytest.approx(0.0625)
    assert count_test(0, 20, 100, 100) < 1e-5
    assert count_test(10, 10, 100, 100) == 1.0
    assert count_test(0, 0, 100, 100) == 1.0
    assert count_test(10, 20, 100, 200) == pytest.approx(1.0, abs=0.15)
