"""Counters: their rate, or nothing."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from profiles.counters import RateCounter

SECOND_US = 1_000_000


def test_one_reading_makes_no_rate_and_two_make_one() -> None:
    counter = RateCounter(fastest_per_s=1e9)
    assert math.isnan(counter.take())
    counter.read(100, 0, bits=64)
    assert math.isnan(counter.take())
    counter.read(300, SECOND_US // 2, bits=64)
    assert counter.take() == 400
    assert math.isnan(counter.take())


def test_a_reading_that_is_repeated_or_older_changes_nothing() -> None:
    counter = RateCounter(fastest_per_s=1e9)
    for value, time_us in ((0, 0), (500, SECOND_US), (500, SECOND_US), (100, 10)):
        counter.read(value, time_us, bits=64)
    assert counter.take() == 500


def test_a_counter_that_starts_anew_makes_no_rate_and_then_goes_on() -> None:
    counter = RateCounter(fastest_per_s=1e9)
    counter.read(5_000, 0, bits=64)
    counter.read(100, SECOND_US, bits=64)
    assert math.isnan(counter.take())
    counter.read(300, 2 * SECOND_US, bits=64)
    assert counter.take() == 200


def test_readings_too_far_apart_are_not_sure_until_the_next_take() -> None:
    counter = RateCounter(fastest_per_s=1 << 16)  # 16 bits come round in a second
    assert counter.longest_gap_ns(16) == 10**9
    counter.read(0, 0, bits=16)
    counter.read(10, SECOND_US, bits=16)
    assert not counter.is_sure
    assert math.isnan(counter.take())
    assert counter.is_sure
    counter.read(20, SECOND_US + SECOND_US // 2, bits=16)
    assert counter.take() == 20


@given(steps=st.lists(st.integers(0, (1 << 16) - 1), min_size=1, max_size=20))
def test_what_a_narrow_counter_hides_is_counted(steps: list[int]) -> None:
    counter = RateCounter(fastest_per_s=1 << 16)
    total = 60_000
    counter.read(total, 0, bits=16)
    gap_us = SECOND_US - 1
    for index, step in enumerate(steps, start=1):
        total += step
        counter.read(total % (1 << 16), index * gap_us, bits=16)
    rate = counter.take()
    assert math.isclose(rate, sum(steps) / (len(steps) * gap_us) * 1e6, abs_tol=1e-9)
