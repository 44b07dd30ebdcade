import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.arrivals import MAX_ARRIVALS, Constant, Gamma, Poisson, Weibull
from workloads.errors import WorkloadError
from workloads.modulated_arrivals import ModulatedArrivals
from workloads.modulation import Diurnal, Ramp, Sine, Square, Steady, Steps
from workloads.modulation_text import MODULATIONS, modulation
from workloads.rate_file import RateFile, read_rate_file

DURATION = 1_000.0
PROCESSES = [Poisson(), Constant(), Gamma(0.25), Weibull(0.5)]
CONTINUING = [
    Steady(),
    Square(period_s=70.0, low=0.5, high=3.0, duty=0.2),
    Square(period_s=70.0, low=0.0, high=1.0, duty=0.3),
    Sine(period_s=70.0, amplitude=0.8),
    Sine(period_s=70.0, amplitude=1.0),
    Square(period_s=70.0, low=0.0, high=4.0, duty=0.25, begin_s=50.0),
    Sine(period_s=70.0, amplitude=0.8, begin_s=33.0),
    Diurnal(period_s=86_400.0, begin_s=50_400.0),
    Diurnal(period_s=700.0),
    Diurnal(period_s=86_400.0),
    Diurnal(period_s=700.0, trough=0.0, peak=1.0),
    RateFile((0.0, 100.0, 400.0, 600.0), (0.0, 2.0, 0.0, 1.5)),
    RateFile((0.0, 100.0, 400.0, 600.0), (0.0, 2.0, 0.0, 1.5), "linear"),
]
STRETCHED = [Ramp(0.2, 2.0), Ramp(3.0, 0.0), Ramp(1.0, 1.0), Steps((0.0, 1.0, 0.0, 0.0, 2.5))]
EVERY = CONTINUING + STRETCHED


def rng(seed=0):
    return np.random.default_rng(seed)


def cumulative(shape, t_s, duration=DURATION):
    return shape.cumulative(np.asarray(t_s, dtype=np.float64), duration)


def total(shape, duration=DURATION):
    return float(cumulative(shape, [duration], duration)[0])


def kolmogorov_smirnov_p(samples, cdf):
    """Chance of a larger distance from the distribution, by Kolmogorov's limit law."""
    n = len(samples)
    expected = cdf(np.sort(samples))
    ranks = np.arange(n) / n
    distance = max((expected - ranks).max(), (ranks + 1 / n - expected).max())
    k = np.arange(1, 101)
    return 2 * ((-1.0) ** (k - 1) * np.exp(-2 * n * (k * distance) ** 2)).sum()


@pytest.mark.parametrize("shape", EVERY, ids=str)
def test_the_inverse_is_right_to_a_nanosecond(shape):
    expected = np.sort(rng().uniform(0.0, total(shape), 20_000))
    t_s = shape.inverse(expected, DURATION)
    assert (t_s >= 0).all() and (t_s <= DURATION).all()
    rounding = 1e-12  # of counts of up to a thousand
    before = cumulative(shape, np.maximum(t_s - 1e-9, 0.0))
    after = cumulative(shape, t_s + 1e-9)
    assert (before <= expected + rounding).all() and (expected <= after + rounding).all()


@pytest.mark.parametrize("shape", EVERY, ids=str)
def test_the_cumulative_starts_at_zero_and_never_falls(shape):
    counts = cumulative(shape, np.linspace(0.0, DURATION, 20_001))
    assert counts[0] == 0
    assert (np.diff(counts) >= -1e-12).all()


@pytest.mark.parametrize("shape", EVERY, ids=str)
def test_empty_arrays_stay_empty(shape):
    assert len(shape.cumulative(np.zeros(0), DURATION)) == 0
    assert len(shape.inverse(np.zeros(0), DURATION)) == 0


@pytest.mark.parametrize("process", PROCESSES, ids=str)
@pytest.mark.parametrize("shape", EVERY, ids=str)
def test_stamps_are_int64_ascending_and_before_the_end(shape, process):
    for rate, duration in [(0.3, 20.0), (40.0, 777.0), (1e4, 0.5)]:
        times = ModulatedArrivals(process, shape).times_ns(rate, duration, rng())
        assert times.dtype == np.int64
        assert (np.diff(times) >= 0).all()
        assert len(times) == 0 or (times[0] >= 0 and times[-1] < duration * 1e9)


@pytest.mark.parametrize("process", PROCESSES, ids=str)
def test_steady_leaves_a_process_alone(process):
    times = ModulatedArrivals(process, Steady()).times_ns(123.4, 56.7, rng(3))
    assert np.array_equal(times, process.times_ns(123.4, 56.7, rng(3)))


@pytest.mark.parametrize("process", PROCESSES, ids=str)
@pytest.mark.parametrize("shape", CONTINUING, ids=str)
def test_equal_seeds_give_equal_stamps_and_a_longer_run_continues_the_shorter(shape, process):
    arrivals = ModulatedArrivals(process, shape)
    short = arrivals.times_ns(20.0, 333.3, rng(3))
    assert np.array_equal(short, arrivals.times_ns(20.0, 333.3, rng(3)))
    longer = arrivals.times_ns(20.0, 5_000.0, rng(3))
    assert len(short) > 0
    assert np.array_equal(longer[: len(short)], short)
    assert longer[len(short)] >= 333.3e9


@pytest.mark.parametrize("shape", STRETCHED, ids=str)
def test_a_longer_run_stretches_what_is_laid_over_the_duration(shape):
    short = ModulatedArrivals(Poisson(), shape).times_ns(40.0, 100.0, rng(3))
    longer = ModulatedArrivals(Poisson(), shape).times_ns(10.0, 400.0, rng(3))
    assert len(short) == len(longer)
    assert np.abs(short * 4 - longer).max() <= 5  # whole nanoseconds


@pytest.mark.parametrize("process", PROCESSES, ids=str)
@pytest.mark.parametrize("shape", EVERY, ids=str)
def test_another_rate_stretches_the_pattern_in_expected_arrivals(shape, process):
    arrivals = ModulatedArrivals(process, shape)
    slow, fast = (arrivals.times_ns(rate, DURATION, rng(1)) * 1e-9 for rate in (10.0, 40.0))
    n = len(slow)
    assert len(fast) > n
    assert np.abs(cumulative(shape, slow) - 4 * cumulative(shape, fast[:n])).max() < 1e-7


@pytest.mark.parametrize("shape", EVERY, ids=str)
def test_constant_arrivals_are_counted_exactly(shape):
    rate = 50.0
    times = ModulatedArrivals(Constant(), shape).times_ns(rate, DURATION, rng()) * 1e-9
    edges = np.linspace(0.0, DURATION, 1_001)
    counts = np.searchsorted(times, edges)
    expected = rate * cumulative(shape, edges)
    assert np.abs(counts - expected).max() <= 1.0 + 1e-6
    assert abs(len(times) - rate * total(shape)) <= 1.0


@pytest.mark.parametrize("shape", EVERY, ids=str)
def test_poisson_counts_meet_the_expected_within_poisson_error(shape):
    rate = 100.0
    times = ModulatedArrivals(Poisson(), shape).times_ns(rate, DURATION, rng(8)) * 1e-9
    edges = np.linspace(0.0, DURATION, 41)
    expected = rate * np.diff(cumulative(shape, edges))
    counts = np.diff(np.searchsorted(times, edges))
    assert (counts[expected < 1e-9] == 0).all()
    kept = expected > 20.0
    errors = (counts[kept] - expected[kept]) / np.sqrt(expected[kept])
    assert np.abs(errors).max() < 4.0
    assert 0.4 < (errors**2).mean() < 1.8


@pytest.mark.parametrize("shape", EVERY, ids=str)
def test_poisson_gaps_are_exponential_in_expected_arrivals(shape):
    times = ModulatedArrivals(Poisson(), shape).times_ns(100.0, DURATION, rng(12)) * 1e-9
    gaps = 100.0 * np.diff(cumulative(shape, times))
    assert len(gaps) > 40_000
    assert kolmogorov_smirnov_p(gaps, lambda x: 1 - np.exp(-x)) > 0.01


def test_in_seconds_the_modulated_gaps_are_not_exponential():
    times = ModulatedArrivals(Poisson(), Square()).times_ns(100.0, DURATION, rng(11)) * 1e-9
    gaps = np.diff(times)
    assert kolmogorov_smirnov_p(gaps / gaps.mean(), lambda x: 1 - np.exp(-x)) < 1e-6


@pytest.mark.parametrize("process", [Gamma(0.25), Gamma(4.0), Weibull(0.5)], ids=str)
def test_burstiness_survives_modulation(process):
    shape = Sine(period_s=70.0, amplitude=0.8)
    times = ModulatedArrivals(process, shape).times_ns(100.0, DURATION, rng(5)) * 1e-9
    gaps = np.diff(cumulative(shape, times))
    assert gaps.std() / gaps.mean() == pytest.approx(process.cv, rel=0.04)


@pytest.mark.parametrize("process", [Poisson(), Constant()], ids=str)
@pytest.mark.parametrize(
    ("shape", "silent"),
    [
        (Square(period_s=100.0, low=0.0, high=1.0, duty=0.25), [(0, 75), (100, 175), (900, 975)]),
        (Steps((0.0, 1.0, 0.0, 0.0, 2.5)), [(0, 200), (400, 800)]),
        (Steps((1.0, 0.0)), [(500, 1_000)]),
        (RateFile((0.0, 100.0, 400.0), (0.0, 2.0, 0.0)), [(0, 100), (400, 1_000)]),
        (RateFile((0.0, 10.0, 20.0, 30.0), (5.0, 0.0, 0.0, 5.0), "linear"), [(10, 20)]),
    ],
    ids=str,
)
def test_silence_holds_no_arrivals(shape, silent, process):
    times = ModulatedArrivals(process, shape).times_ns(50.0, DURATION, rng(2)) * 1e-9
    assert len(times) > 1_000
    for start, end in silent:
        # A count that rounding puts just below a piece's end is a nanosecond early, no more.
        assert not ((times > start + 1e-6) & (times < end - 1e-6)).any()


def test_a_run_that_ends_within_silence_has_no_arrivals():
    arrivals = ModulatedArrivals(Constant(), Square(period_s=100.0, low=0.0, high=1.0, duty=0.5))
    assert len(arrivals.times_ns(50.0, 50.0, rng())) == 0
    assert arrivals.mean_factor(50.0) == 0
    assert len(arrivals.times_ns(50.0, 51.0, rng())) == 100


@pytest.mark.parametrize(
    "shape",
    [Square(70.0, 0.1, 9.0, 0.3), Sine(70.0, 1.0), Diurnal(70.0), Diurnal(70.0, 0.0, 5.0)],
    ids=str,
)
def test_periodic_shapes_keep_the_mean_rate(shape):
    arrivals = ModulatedArrivals(Poisson(), shape)
    assert arrivals.mean_factor(70.0) == pytest.approx(1.0, rel=1e-12)
    assert arrivals.mean_factor(700.0) == pytest.approx(1.0, rel=1e-12)
    assert cumulative(shape, [35.0 + 700.0]) == pytest.approx(700.0 + cumulative(shape, [35.0]))


def test_the_other_means_are_what_the_factors_say():
    assert ModulatedArrivals(Poisson(), Ramp(0.5, 2.0)).mean_factor(60.0) == 1.25
    assert ModulatedArrivals(Poisson(), Steps((0.5, 1.0, 3.0))).mean_factor(60.0) == pytest.approx(
        1.5
    )
    file = RateFile((0.0, 10.0), (2.0, 4.0))
    assert ModulatedArrivals(Poisson(), file).mean_factor(40.0) == 3.5
    assert file.absolute and not Ramp().absolute


def test_after_the_last_arrival_comes_none():
    ends_silent = RateFile((0.0, 10.0), (3.0, 0.0))
    assert ends_silent.inverse(np.array([29.0, 30.0, 31.0]), 60.0).tolist() == [
        pytest.approx(29 / 3),
        math.inf,
        math.inf,
    ]
    assert Ramp(2.0, 0.0).inverse(np.array([0.0, 60.0, 61.0]), 60.0).tolist() == [
        0.0,
        math.inf,
        math.inf,
    ]


def test_only_the_ratio_of_low_and_high_matters():
    scaled = Square(60.0, low=5.0, high=30.0, duty=0.2)
    t_s = np.linspace(0.0, 200.0, 101)
    assert np.allclose(cumulative(scaled, t_s), cumulative(Square(), t_s))


def test_the_defaults_of_square_are_its_factors_and_the_burst_comes_last():
    assert cumulative(Square(), [48.0, 60.0, 108.0]) == pytest.approx([24.0, 60.0, 84.0])


def test_a_ramp_from_zero_goes_with_the_square_root():
    times = ModulatedArrivals(Constant(), Ramp(0.0, 2.0)).times_ns(1.0, 100.0, rng())
    assert len(times) == 100
    assert np.abs(times * 1e-9 - 10.0 * np.sqrt(np.arange(100))).max() < 2e-9


def test_the_day_peaks_at_three_and_rests_twelve_hours_later():
    hours = np.arange(0.0, 24.0, 0.01)
    counts = Diurnal().cumulative(np.append(hours, 24.0) * 3600.0, 86_400.0)
    factors = np.diff(counts) / 36.0
    assert hours[factors.argmax()] == pytest.approx(15.0, abs=0.1)
    assert hours[factors.argmin()] == pytest.approx(3.0, abs=0.02)
    assert factors.max() == pytest.approx(1.45, rel=1e-4)
    assert factors.min() == pytest.approx(0.25, rel=1e-4)
    rising = np.diff(factors)[(hours[:-1] > 3.0) & (hours[:-1] < 14.9)]
    assert (rising > 0).all()
    assert (factors > 1.0).mean() > 0.5  # the day is broad, the night narrow


def test_step_and_linear_rates_of_a_file():
    step = RateFile((0.0, 10.0, 30.0), (1.0, 3.0, 2.0))
    assert cumulative(step, [5.0, 10.0, 20.0, 30.0, 40.0]).tolist() == [5, 10, 40, 70, 90]
    linear = RateFile((0.0, 10.0, 30.0), (1.0, 3.0, 2.0), "linear")
    assert cumulative(linear, [5.0, 10.0, 30.0, 40.0]).tolist() == [7.5, 20, 70, 90]


def test_for_a_file_the_rate_is_a_factor():
    arrivals = ModulatedArrivals(Constant(), RateFile((0.0, 10.0), (2.0, 4.0)))
    assert len(arrivals.times_ns(1.0, 20.0, rng())) == 60
    assert len(arrivals.times_ns(0.5, 20.0, rng())) == 30


def test_more_arrivals_than_memory_are_refused():
    with pytest.raises(WorkloadError, match="lower the rate"):
        ModulatedArrivals(Poisson(), Ramp(1.0, 3.0)).times_ns(MAX_ARRIVALS, 1.0, rng())
    with pytest.raises(WorkloadError, match="lower the rate"):
        ModulatedArrivals(Poisson(), Steps((1e300,))).times_ns(1e9, 1.0, rng())


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_impossible_rates_and_durations_are_refused(value):
    arrivals = ModulatedArrivals(Poisson(), Sine())
    with pytest.raises(WorkloadError, match="rate"):
        arrivals.times_ns(value, 10.0, rng())
    with pytest.raises(WorkloadError, match="duration"):
        arrivals.times_ns(10.0, value, rng())
    with pytest.raises(WorkloadError, match="duration"):
        arrivals.mean_factor(value)


@given(
    lengths=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8),
    rates=st.lists(st.sampled_from([0.0, 0.01, 1.0, 7.3, 400.0]), min_size=9, max_size=9),
    interpolation=st.sampled_from(["step", "linear"]),
    process=st.sampled_from(PROCESSES),
    seed=st.integers(0, 1_000),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_file_is_inverted(lengths, rates, interpolation, process, seed):
    times = np.append(0.0, np.cumsum(lengths))
    rates = rates[: len(times)]
    if not any(rates):
        return
    shape = RateFile(tuple(times.tolist()), tuple(rates), interpolation)
    duration = float(times[-1]) + 1.0
    most = total(shape, duration)
    if most == 0:
        return
    expected = np.linspace(0.0, most, 200, endpoint=False)
    assert np.allclose(
        cumulative(shape, shape.inverse(expected, duration)), expected, rtol=1e-9, atol=1e-12 * most
    )
    stamps = ModulatedArrivals(process, shape).times_ns(1_000.0 / most, duration, rng(seed))
    assert (np.diff(stamps) >= 0).all()
    assert len(stamps) == 0 or (stamps[0] >= 0 and stamps[-1] < duration * 1e9)


@given(
    shape=st.one_of(
        st.builds(
            Square,
            st.floats(0.01, 1e5),
            st.floats(0.0, 1.0),
            st.floats(1.0, 20.0),
            st.floats(0.001, 0.999),
        ),
        st.builds(Sine, st.floats(0.01, 1e5), st.floats(0.0, 1.0)),
        st.builds(Diurnal, st.floats(0.01, 1e5), st.floats(0.0, 1.0), st.floats(1.0, 20.0)),
    ),
    duration=st.floats(0.1, 1e5),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_periodic_shape_is_inverted(shape, duration):
    most = total(shape, duration)
    if most == 0:
        return
    expected = np.linspace(0.0, most, 200, endpoint=False)
    t_s = shape.inverse(expected, duration)
    assert (np.diff(t_s) >= -1e-9).all()
    scale = max(duration, shape.period_s)
    highest = 1_000.0  # no factor is above 1/duty, and a nanosecond at it is the tolerance
    assert np.abs(cumulative(shape, t_s) - expected).max() <= highest * 1e-9 + 1e-14 * scale


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("steady", Steady()),
        ("square", Square()),
        ("square:period=30s,high=3,duty=0.2", Square(period_s=30.0, high=3.0, duty=0.2)),
        (" square : period = 500ms , low = 0 ", Square(period_s=0.5, low=0.0)),
        ("sine:period=60,amplitude=0.8", Sine(60.0, 0.8)),
        ("sine:period=1.5m", Sine(90.0)),
        ("diurnal:period=24h", Diurnal()),
        ("diurnal:peak=3,trough=1,period=1e3", Diurnal(1_000.0, 1.0, 3.0)),
        ("ramp:from=0.2,to=2", Ramp(0.2, 2.0)),
        ("steps:0.5,1,2", Steps((0.5, 1.0, 2.0))),
        ("steps:3", Steps((3.0,))),
    ],
)
def test_modulations_are_read_from_text(text, shape):
    assert modulation(text) == shape


@pytest.mark.parametrize("name", sorted(set(MODULATIONS) - {"steps"}))
def test_the_usage_shows_the_defaults(name):
    form = MODULATIONS[name]
    assert modulation(form.usage) == modulation(name) == form.build()
    assert form.summary


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("squar", "unknown modulation 'squar': choose one of square,"),
        ("", "unknown modulation '': choose one of"),
        ("square:hihg=3", "unknown option of square 'hihg': choose one of high,"),
        ("ramp:start=1", "unknown option of ramp 'start': choose one of"),
        ("square:high", "square: 'high' is not OPTION=VALUE: write it as square:period=60s"),
        ("square:", "square: '' is not OPTION=VALUE"),
        ("square:high=3,high=4", "square: high is given twice"),
        ("square:high=lots", "square: high is 'lots': give a number"),
        ("square:high=inf", "square: high is 'inf': give a number"),
        ("square:high=-1", "square: high is -1.0: give a number of at least 0"),
        ("square:low=4", r"square: low 4.0 is above high 3.0: swap them"),
        ("square:low=0,high=0", "square: no factor is above 0"),
        ("square:duty=1", "square: duty is 1.0: give a share of the period"),
        ("square:period=3d", "square: period is '3d': give a duration such as 500ms"),
        ("square:period=s", "square: period is 's': give a duration"),
        ("square:period=0", "square: period is 0.0 s: give at least 0.001 s"),
        ("sine:amplitude=1.1", "sine: amplitude is 1.1: give a number from 0 to 1"),
        ("sine:period=nan", "sine: period is 'nan'"),
        ("diurnal:trough=2", "diurnal: trough 2.0 is above peak 1.45"),
        ("ramp:from=0,to=0", "ramp: no factor is above 0"),
        ("ramp:from=-1", "ramp: from is -1.0: give a number of at least 0"),
        ("steps", "steps: no factor is above 0"),
        ("steps:1,,2", "steps: factor is '': give a number"),
        ("steps:1,-2", "steps: factor 2 is -2.0: give a number of at least 0"),
        ("steps:0,0", "steps: no factor is above 0"),
        ("steady:period=3", "steady takes no options, here 'period=3'"),
    ],
)
def test_what_cannot_be_read_says_what_is_allowed(text, message):
    with pytest.raises(WorkloadError, match=message):
        modulation(text)


@pytest.mark.parametrize(
    "content",
    [
        "0,2\n10,4.5\n20,0\n",
        "seconds,requests_per_s\n0,2\n10,4.5\n20,0",
        "\ufeffseconds requests_per_s\r\n0 2\r\n10 4.5\r\n20 0\r\n",
        "# measured\n\n  time , rate # the heading\n0, 2 # start\n\n10 , 4.5\n\t20,0\n# end\n",
        "0\t2\n10\t4.5\n2e1\t0\n",
    ],
)
def test_rate_files_are_read(tmp_path, content):
    path = tmp_path / "rates.csv"
    path.write_bytes(content.encode())
    assert read_rate_file(path) == RateFile((0.0, 10.0, 20.0), (2.0, 4.5, 0.0))
    assert read_rate_file(path, "linear").interpolation == "linear"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0,2\nten,3\n", r"line 2, column 1: found 'ten': expected seconds,requests_per_s"),
        ("# x\n0,2\n10,fast\n", "line 3, column 2: found 'fast'"),
        ("a,b\nc,d\n0,1\n", "line 2, column 1: found 'c'"),
        ("x,5\n", "line 1, column 1: found 'x'"),
        ("0;2\n", "line 1, column 1: found '0;2'"),
        ("0,2,3\n", "line 1, column 3: found '3'"),
        ("0,2\n10\n", "line 2, column 2: it is missing"),
        ("0,2\n10,\n", "line 2, column 2: found ''"),
        ("0,2\n10,-1\n", "line 2, column 2: -1 requests/s is not a finite number of at least 0"),
        ("0,nan\n", "line 1, column 2: nan requests/s"),
        ("0,2\ninf,3\n", "line 2, column 1: inf is not a finite number of seconds"),
        ("0,2\n\n10,3\n5,1\n", "line 4, column 1: 5 s follows 10 s, but times must rise"),
        ("0,2\n0,3\n", "line 2, column 1: 0 s follows 0 s, but times must rise"),
        ("3,2\n", "line 1, column 1: 3 s is not 0, where the run starts"),
        ("", "it has no rates: give lines of seconds,requests_per_s"),
        ("# nothing\n\nseconds,requests_per_s\n", "it has no rates"),
        ("0,0\n10,0\n", "no rate is above 0"),
    ],
)
def test_broken_rate_files_say_where(tmp_path, content, message):
    path = tmp_path / "rates.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(WorkloadError, match=message) as error:
        read_rate_file(path)
    assert str(path) in str(error.value)


def test_files_that_are_missing_or_no_text_are_refused(tmp_path):
    with pytest.raises(WorkloadError, match="cannot be read"):
        read_rate_file(tmp_path / "none.csv")
    path = tmp_path / "binary"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WorkloadError, match="cannot be read"):
        read_rate_file(path)


def test_rates_given_in_code_are_checked_too():
    with pytest.raises(WorkloadError, match="1 times and 2 rates"):
        RateFile((0.0,), (1.0, 2.0))
    with pytest.raises(WorkloadError, match="time 2: 0 s follows 0 s"):
        RateFile((0.0, 0.0), (1.0, 2.0))
    with pytest.raises(WorkloadError, match="rate 2: -2 requests/s"):
        RateFile((0.0, 1.0), (1.0, -2.0))
    with pytest.raises(WorkloadError, match="no rate is above 0"):
        RateFile((), ())
    with pytest.raises(WorkloadError, match="unknown interpolation 'cubic'"):
        RateFile((0.0,), (1.0,), "cubic")


def test_a_run_may_begin_in_the_middle_of_a_period():
    whole = ModulatedArrivals(Constant(), Square(100.0, 0.0, 4.0, 0.25))
    late = ModulatedArrivals(Constant(), Square(100.0, 0.0, 4.0, 0.25, begin_s=70.0))
    assert whole.times_ns(1.0, 75.0, rng()).size == 0
    first = late.times_ns(1.0, 30.0, rng()) / 1e9
    assert first.size == 100 and first.min() >= 5.0 and first.max() < 30.0
    noon = modulation("diurnal:begin=12h").cumulative(np.array([3600.0]), 1e5)[0]
    midnight = modulation("diurnal").cumulative(np.array([3600.0]), 1e5)[0]
    assert noon > 1.2 * 3600 > midnight
    with pytest.raises(WorkloadError, match="begin"):
        modulation("sine:period=10s,begin=10s")
