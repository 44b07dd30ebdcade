import numpy as np
import pytest

from workbench.analysis.statistics import distribution, percentiles


def test_percentiles_interpolate_linearly_over_raw_samples():
    assert percentiles([40, 10, 30, 20], [0, 50, 75, 100]) == (10, 25, 32.5, 40)
    assert percentiles(range(101), [50, 90, 99]) == (50, 90, 99)
    assert percentiles([7], [50, 99]) == (7, 7)


def test_nothing_has_no_percentiles_and_nan_is_no_sample():
    assert percentiles([], [50, 99]) == (None, None)
    assert percentiles([np.nan, 3.0], [50]) == (3.0,)
    nothing = distribution([])
    assert nothing.n == 0 and nothing.mean is None and nothing.p99 is None
    assert distribution([np.nan, 3.0]).n == 1


@pytest.mark.parametrize(("n", "weak"), [(1, True), (99, True), (100, False)])
def test_p99_is_weak_under_100_samples(n, weak):
    figures = distribution(np.arange(n))
    assert (figures.n, figures.weak) == (n, weak)
    assert (figures.min, figures.max, figures.mean) == (0, n - 1, (n - 1) / 2)
