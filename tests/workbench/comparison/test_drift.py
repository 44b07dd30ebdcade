import numpy as np
import pytest

from workbench.comparison.drift import (
    LEAST_SAMPLES,
    correlation_time,
    drift,
    mann_kendall,
    pettitt,
    steps_around_zero,
    theil_sen,
)

ALPHA = 0.0025
"""A hundredth, over four series."""


def noise(rng, n, phi):
    """An AR(1) series of variance 1 in its steady state."""
    steps = rng.standard_normal(n) * np.sqrt(1 - phi**2)
    steps[0] = rng.standard_normal()
    for place in range(1, n):
        steps[place] += phi * steps[place - 1]
    return steps


def latencies(rng, n, phi, shape=1.0, sigma=0.3):
    return shape * 200 * np.exp(sigma * noise(rng, n, phi))


def waits(rng, n, servers):
    """TTFT in a queue of Poisson arrivals at 70 % load, its beginning left out."""
    count = n + 500
    service = rng.lognormal(-0.32, 0.8, count)
    due = np.cumsum(rng.exponential(1 / (0.7 * servers), count))
    free = np.zeros(servers)
    out = np.empty(count)
    for place in range(count):
        server = int(free.argmin())
        start = max(free[server], due[place])
        free[server] = start + service[place]
        out[place] = start - due[place] + 0.2 * service[place]
    return out[500:]


def found(make, seeds):
    return sum(drift(make(np.random.default_rng(seed)), ALPHA) is not None for seed in range(seeds))


def test_mann_kendall_by_hand():
    # 11 of 15 pairs rise, 4 fall: score 7, variance 6·5·17/18; z = 6 / 5.323.
    assert mann_kendall(np.array([1.0, 4, 2, 6, 3, 5])) == pytest.approx(0.25966, abs=1e-5)
    assert mann_kendall(np.arange(12.0)) < 1e-5
    assert mann_kendall(np.arange(12.0)) == mann_kendall(-np.arange(12.0))
    assert mann_kendall(np.ones(12)) == 1
    assert mann_kendall(np.arange(12.0), inflation=3.0) > mann_kendall(np.arange(12.0))


def test_pettitt_finds_where_the_level_changed():
    values = np.array([3.0, 1, 4, 2, 5, 9, 7, 8, 6, 10, 11, 12])
    p, at = pettitt(values)
    # The score is 5 · 7 = 35: p = 2 exp(-6 · 35² / (12³ + 12²)).
    assert (p, at) == (pytest.approx(2 * np.exp(-6 * 35**2 / (12**3 + 12**2))), 5)
    assert pettitt(np.ones(12))[0] == 1


def test_theil_sen_is_not_led_by_one_that_lies_far_out():
    values = 3.0 * np.arange(20)
    values[7] = 10_000
    assert theil_sen(values) == pytest.approx(3)


def test_steps_of_a_random_walk():
    walk = np.cumsum(np.random.default_rng(1).standard_normal(20))
    assert steps_around_zero(walk) > 0.05
    assert steps_around_zero(walk + 5 * np.arange(20)) < 1e-6
    assert steps_around_zero(np.ones(20)) == 1 and steps_around_zero(np.arange(20.0)) == 0


@pytest.mark.parametrize(("phi", "time"), [(0.0, 1), (0.5, 3), (0.9, 19)])
def test_the_correlation_time_of_an_autoregressive_series(phi, time):
    rng = np.random.default_rng(2)
    times = [correlation_time(noise(rng, 4000, phi)) for _ in range(20)]
    assert time * 0.9 <= np.mean(times) <= time * 1.5 + 0.3


@pytest.mark.parametrize("phi", [0.0, 0.8, 0.95])
@pytest.mark.parametrize("n", [60, 200, 1000])
def test_stationary_latencies_raise_no_alarm(phi, n):
    assert found(lambda rng: latencies(rng, n, phi), seeds=60) <= 1


@pytest.mark.parametrize("servers", [1, 4])
def test_a_queue_in_its_steady_state_raises_no_alarm(servers):
    assert found(lambda rng: waits(rng, 400, servers), seeds=60) <= 1


@pytest.mark.parametrize(("phi", "n"), [(0.0, 200), (0.5, 500), (0.9, 5000)])
def test_latencies_that_double_are_found(phi, n):
    def ramp(rng):
        return latencies(rng, n, phi, np.linspace(1, 2, n))

    assert found(ramp, seeds=20) >= 18
    moved = drift(ramp(np.random.default_rng(0)), ALPHA)
    assert moved.shape == "trend" and moved.at == n
    assert moved.before == pytest.approx(200, rel=0.2)
    assert moved.after == pytest.approx(400, rel=0.2)


@pytest.mark.parametrize(("phi", "n"), [(0.0, 500), (0.5, 1000), (0.9, 5000)])
def test_a_step_of_30_percent_is_found_where_it_is(phi, n):
    shape = np.where(np.arange(n) < n // 2, 1.0, 1.3)
    assert found(lambda rng: latencies(rng, n, phi, shape), seeds=20) >= 18
    moved = drift(latencies(np.random.default_rng(0), n, phi, shape, sigma=0.1), ALPHA)
    assert moved.shape == "step" and moved.at == pytest.approx(n / 2, rel=0.1)
    assert moved.after / moved.before == pytest.approx(1.3, rel=0.05)


def test_a_queue_that_grows_is_a_trend_though_every_wait_depends_on_the_one_before():
    rng = np.random.default_rng(3)
    steps = rng.exponential(1.3, 600) - rng.exponential(1.0, 600)
    moved = drift(np.maximum(0, np.cumsum(steps)) + 0.2, ALPHA)
    assert moved.shape == "trend" and moved.after > 5 * moved.before


def test_a_change_that_is_sure_but_small_does_not_matter():
    rng = np.random.default_rng(4)
    shape = np.where(np.arange(5000) < 2500, 1.0, 1.05)
    assert drift(latencies(rng, 5000, 0.0, shape, sigma=0.05), ALPHA) is None


def test_a_level_of_0_that_stays_so_has_not_moved():
    rng = np.random.default_rng(6)
    rare = (rng.random(1000) < np.linspace(0, 0.4, 1000)) * rng.exponential(1.0, 1000)
    assert drift(rare, ALPHA) is None


def test_too_few_samples_are_not_judged():
    assert drift(np.arange(LEAST_SAMPLES - 1.0), ALPHA) is None
    assert drift(np.arange(float(LEAST_SAMPLES)), ALPHA) is not None
    assert drift(np.full(500, 7.0), ALPHA) is None


def test_a_long_series_is_judged_by_groups_and_its_step_told_in_its_own_places():
    rng = np.random.default_rng(5)
    shape = np.where(np.arange(100_000) < 60_000, 1.0, 1.5)
    moved = drift(latencies(rng, 100_000, 0.0, shape), ALPHA)
    assert moved.shape == "step" and moved.at == pytest.approx(60_000, rel=0.03)
