import math

import numpy as np
import pytest

from workloads.arrivals import (
    ARRIVAL_PROCESSES,
    MAX_ARRIVALS,
    Constant,
    Gamma,
    Poisson,
    Weibull,
    arrival_process,
)
from workloads.errors import WorkloadError

EVERY = [Poisson(), Constant(), Gamma(0.25), Gamma(4.0), Weibull(0.5), Weibull(2.0)]


def rng(seed=0):
    return np.random.default_rng(seed)


def unit_gaps(process, rate=1000.0, duration=100.0, seed=7):
    return np.diff(process.times_ns(rate, duration, rng(seed)), prepend=0) * 1e-9 * rate


def hundred_thousand_gaps(process, seed=7):
    """In units of the mean gap, which is a second: nanoseconds round none of them to 0."""
    times = process.times_ns(1.0, 110_000.0, rng(seed))
    gaps = np.diff(times, prepend=0)[:100_000] * 1e-9
    assert len(gaps) == 100_000
    return gaps


def kolmogorov_smirnov_p(samples, cdf):
    """Chance of a larger distance from the distribution, by Kolmogorov's limit law."""
    n = len(samples)
    expected = cdf(np.sort(samples))
    ranks = np.arange(n) / n
    distance = max((expected - ranks).max(), (ranks + 1 / n - expected).max())
    k = np.arange(1, 101)
    return 2 * ((-1.0) ** (k - 1) * np.exp(-2 * n * (k * distance) ** 2)).sum()


def erlang4_cdf(x):
    y = 4 * x
    return 1 - np.exp(-y) * (1 + y + y**2 / 2 + y**3 / 6)


@pytest.mark.parametrize("process", EVERY)
@pytest.mark.parametrize(("rate", "duration"), [(0.3, 20.0), (50.0, 3.0), (1e5, 0.01)])
def test_stamps_are_int64_ascending_and_before_the_end(process, rate, duration):
    times = process.times_ns(rate, duration, rng())
    assert times.dtype == np.int64
    assert (np.diff(times) >= 0).all()
    assert len(times) == 0 or (times[0] >= 0 and times[-1] < duration * 1e9)


@pytest.mark.parametrize("process", EVERY)
def test_the_rate_is_met(process):
    times = process.times_ns(1000.0, 100.0, rng(5))
    cv = getattr(process, "cv", 1.0)
    assert abs(len(times) - 100_000) < 4 * cv * math.sqrt(100_000) + 1


def test_poisson_passes_a_kolmogorov_smirnov_test():
    gaps = np.sort(unit_gaps(Poisson()))
    n = len(gaps)
    assert n > 99_000
    cdf = 1.0 - np.exp(-gaps)
    ranks = np.arange(n) / n
    distance = max((cdf - ranks).max(), (ranks + 1 / n - cdf).max())
    assert distance * math.sqrt(n) < 1.36  # the 5 % point of the Kolmogorov distribution
    assert gaps.mean() == pytest.approx(1.0, rel=0.01)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize(
    ("process", "cdf"),
    [
        (Poisson(), lambda x: 1 - np.exp(-x)),
        (Gamma(1.0), lambda x: 1 - np.exp(-x)),
        (Gamma(4.0), erlang4_cdf),
        (Weibull(0.5), lambda x: 1 - np.exp(-np.sqrt(2 * x))),
        (Weibull(1.0), lambda x: 1 - np.exp(-x)),
        (Weibull(2.0), lambda x: 1 - np.exp(-math.pi / 4 * x**2)),
    ],
)
def test_a_hundred_thousand_gaps_have_the_stated_distribution(process, cdf):
    gaps = hundred_thousand_gaps(process)
    assert kolmogorov_smirnov_p(gaps, cdf) > 0.01
    # The test is sharp enough to reject gaps that are 3 % too long.
    assert kolmogorov_smirnov_p(gaps * 1.03, cdf) < 0.01


@pytest.mark.parametrize("process", [Gamma(0.25), Gamma(4.0), Gamma.from_cv(1.5)])
def test_gamma_has_the_stated_cv_at_a_hundred_thousand_gaps(process):
    gaps = hundred_thousand_gaps(process)
    assert gaps.std() / gaps.mean() == pytest.approx(process.cv, rel=0.02)


@pytest.mark.parametrize(
    ("shape", "cv"), [(0.5, math.sqrt(5)), (1.0, 1.0), (2.0, math.sqrt(4 / math.pi - 1))]
)
def test_weibull_has_the_stated_mean_and_cv(shape, cv):
    assert Weibull(shape).cv == pytest.approx(cv, rel=1e-12)
    gaps = hundred_thousand_gaps(Weibull(shape))
    assert gaps.mean() == pytest.approx(1.0, abs=3 * cv / math.sqrt(100_000))
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.03)


def test_an_all_but_constant_weibull_has_no_negative_variance():
    assert Weibull(1e12).cv == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gamma_has_the_stated_cv_within_two_percent(burstiness):
    gaps = unit_gaps(Gamma(burstiness), duration=300.0)
    assert gaps.std() / gaps.mean() == pytest.approx(1 / math.sqrt(burstiness), rel=0.02)


def test_gamma_from_cv():
    assert Gamma.from_cv(2.0).burstiness == 0.25
    assert Gamma.from_cv(0.5).cv == 0.5


def test_constant_is_evenly_spaced_from_zero():
    assert Constant().times_ns(4.0, 1.0, rng()).tolist() == [
        0,
        250_000_000,
        500_000_000,
        750_000_000,
    ]
    assert len(Constant().times_ns(3.0, 0.1, rng())) == 1
    assert len(Constant().times_ns(7.0, 120.0, rng())) == 840


@pytest.mark.parametrize("process", EVERY)
def test_equal_seeds_give_equal_stamps_and_a_longer_run_continues_the_shorter(process):
    short = process.times_ns(20.0, 10.0, rng(3))
    assert np.array_equal(short, process.times_ns(20.0, 10.0, rng(3)))
    longer = process.times_ns(20.0, 500.0, rng(3))
    assert np.array_equal(short, longer[: len(short)])


def test_another_rate_stretches_the_same_pattern():
    slow = Poisson().times_ns(10.0, 100.0, rng(1))
    fast = Poisson().times_ns(40.0, 25.0, rng(1))
    assert len(slow) == len(fast)
    assert np.abs(slow - fast * 4).max() <= 4  # whole nanoseconds
    assert not np.array_equal(slow, Poisson().times_ns(10.0, 100.0, rng(2)))


@pytest.mark.parametrize("process", EVERY)
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, -math.inf])
def test_impossible_rates_and_durations_are_refused(process, value):
    with pytest.raises(WorkloadError, match="rate"):
        process.times_ns(value, 10.0, rng())
    with pytest.raises(WorkloadError, match="duration"):
        process.times_ns(10.0, value, rng())


@pytest.mark.parametrize("process", EVERY)
def test_every_process_keeps_its_pattern_at_another_rate(process):
    slow = process.times_ns(10.0, 100.0, rng(1))
    fast = process.times_ns(40.0, 25.0, rng(1))
    assert len(slow) == len(fast)
    assert np.abs(slow - fast * 4).max() <= 4  # whole nanoseconds


@pytest.mark.parametrize("process", EVERY)
def test_times_at_rate_one_reach_the_end_and_are_the_stamps(process):
    times = process.unit_times(500.0, rng(4))
    assert (np.diff(times) >= 0).all() and times[-1] >= 500.0
    stamps = process.times_ns(5.0, 100.0, rng(4))
    assert np.array_equal(stamps, (times[times < 500.0] / 5.0 * 1e9).astype(np.int64))


def test_a_process_too_bursty_to_reach_the_end_is_refused(monkeypatch):
    monkeypatch.setattr("workloads.arrivals.MAX_ARRIVALS", 10_000)
    with pytest.raises(WorkloadError, match="lower the rate, the duration or the burstiness"):
        Gamma(1e-9).times_ns(10.0, 10.0, rng())


def test_more_arrivals_than_memory_are_refused():
    with pytest.raises(WorkloadError, match="lower the rate"):
        Poisson().times_ns(MAX_ARRIVALS, 2.0, rng())


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_impossible_burstiness_is_refused(value):
    with pytest.raises(WorkloadError, match="burstiness"):
        Gamma(value)
    with pytest.raises(WorkloadError, match="cv"):
        Gamma.from_cv(value)


@pytest.mark.parametrize("value", [0.0, -1.0, 0.09, math.nan, math.inf])
def test_impossible_shapes_are_refused(value):
    with pytest.raises(WorkloadError, match="shape"):
        Weibull(value)


def test_names():
    assert arrival_process("gamma", burstiness=0.5) == Gamma(0.5)
    assert arrival_process("poisson") == Poisson()
    assert arrival_process("weibull", shape=2.0) == Weibull(2.0)
    assert [type(arrival_process(name)) for name in ARRIVAL_PROCESSES] == [
        Poisson,
        Constant,
        Gamma,
        Weibull,
    ]
    with pytest.raises(WorkloadError, match="choose one of poisson, constant, weibull, gamma"):
        arrival_process("poison")
    with pytest.raises(WorkloadError, match="it has no options"):
        arrival_process("poisson", burstiness=2.0)
    with pytest.raises(WorkloadError, match="its options are burstiness"):
        arrival_process("gamma", cv=2.0)
    with pytest.raises(WorkloadError, match="its options are shape"):
        arrival_process("weibull", burstiness=2.0)
