import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.errors import WorkloadError
from workloads.lengths import Empirical, Fixed, Lognormal, Uniform

EVERY = [
    Fixed(17),
    Uniform(5, 20),
    Lognormal.from_mean_and_median(211, 129, minimum=7, maximum=1_000),
    Lognormal.from_median_and_p90(7059, 12_985, minimum=128, maximum=15_360),
    Empirical([3, 1, 2, 100]),
]


@pytest.mark.parametrize("lengths", EVERY)
def test_sample_mean_agrees_with_mean_and_quantiles_with_the_sample(lengths):
    drawn = lengths.sample(np.random.default_rng(1), 50_000)
    assert drawn.dtype == np.int64 and drawn.shape == (50_000,)
    assert drawn.min() >= 1
    assert drawn.mean() == pytest.approx(lengths.mean(), rel=0.02)
    assert int(lengths.quantile(0.4)) == pytest.approx(np.percentile(drawn, 40), rel=0.03)


@pytest.mark.parametrize("lengths", EVERY)
def test_quantile_keeps_shape_and_rises(lengths):
    u = np.linspace(0.001, 0.999, 200)
    assert (np.diff(lengths.quantile(u)) >= 0).all()
    assert lengths.quantile(u.reshape(20, 10)).shape == (20, 10)
    assert np.array_equal(lengths.quantile(u.reshape(20, 10)).ravel(), lengths.quantile(u))


@pytest.mark.parametrize("lengths", EVERY)
def test_extreme_probabilities_stay_finite(lengths):
    low, high = lengths.quantile([2.0**-53, 1 - 2.0**-53])
    assert 1 <= low <= high < 20_000


def test_lognormal_keeps_the_published_mean_and_median_after_clipping():
    lengths = Lognormal.from_mean_and_median(211, 129, minimum=7, maximum=1_000)
    drawn = lengths.sample(np.random.default_rng(0), 200_000)
    assert drawn.mean() == pytest.approx(211, rel=0.01)
    assert np.median(drawn) == pytest.approx(129, rel=0.01)
    assert (drawn.min(), drawn.max()) == (7, 1_000)


def test_lognormal_without_effective_bounds_has_the_textbook_sigma():
    lengths = Lognormal.from_mean_and_median(1155, 1020, minimum=1, maximum=10**9)
    assert lengths.sigma == pytest.approx(np.sqrt(2 * np.log(1155 / 1020)), rel=1e-6)
    assert lengths.mean() == pytest.approx(1155)


def test_lognormal_through_two_percentiles():
    lengths = Lognormal.from_median_and_p90(208, 371, minimum=8, maximum=1_024)
    assert lengths.quantile([0.5, 0.9]).tolist() == [208, 371]


@given(
    median=st.floats(2, 1e4),
    ratio=st.floats(1.05, 2.5),
    low=st.floats(0, 1),
    headroom=st.floats(40, 1000),
)
def test_fit_holds_wherever_it_succeeds(median, ratio, low, headroom):
    lengths = Lognormal.from_mean_and_median(
        median * ratio, median, max(1, int(median * low)), int(median * headroom)
    )
    assert lengths.mean() == pytest.approx(median * ratio, rel=1e-6)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Lognormal.from_mean_and_median(100, 100, 1, 1000), "mean must be above"),
        (lambda: Lognormal.from_mean_and_median(90, 100, 1, 1000), "mean must be above"),
        (lambda: Lognormal.from_mean_and_median(float("nan"), 100, 1, 1000), "mean must be above"),
        (lambda: Lognormal.from_mean_and_median(900, 100, 1, 1000), "raise the maximum"),
        (lambda: Lognormal.from_mean_and_median(200, 100, 150, 1000), "median"),
        (lambda: Lognormal.from_median_and_p90(100, 2000, 1, 1000), "p90"),
        (lambda: Lognormal.from_median_and_p90(100, 100, 1, 1000), "p90"),
        (lambda: Lognormal(100, 0.0, 1, 1000), "sigma"),
        (lambda: Fixed(0), "minimum"),
        (lambda: Uniform(0, 5), "minimum"),
        (lambda: Uniform(6, 5), "minimum"),
        (lambda: Empirical([]), "at least one"),
        (lambda: Empirical([4, 0]), "minimum"),
    ],
)
def test_impossible_distributions_are_refused(build, says):
    with pytest.raises(WorkloadError, match=says):
        build()
