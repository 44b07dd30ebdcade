"""Stalls: the rule."""

import numpy as np

from workbench.analysis.stalls import stall_above_ns

MS = 1_000_000


def test_a_stall_is_well_above_the_median_gap():
    steady = np.array([50, 50, 51, 49, 50]) * MS
    assert stall_above_ns(steady) == 100 * MS
    fast = np.array([1, 1, 1, 1]) * MS
    assert stall_above_ns(fast) == 3 * MS
    uneven = np.array([10, 50, 90, 130, 170]) * MS
    assert stall_above_ns(uneven) == 210 * MS


def test_two_gaps_have_no_usual():
    assert stall_above_ns(np.array([50, 400]) * MS) is None
