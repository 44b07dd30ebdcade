import numpy as np
import pytest

from workloads.errors import WorkloadError
from workloads.zipf import Zipf


def test_probabilities_follow_the_law():
    zipf = Zipf(1_000, 0.8)
    p = zipf.probabilities()
    assert p.sum() == pytest.approx(1.0) and len(p) == 1_000
    ranks = np.array([1, 9, 99, 999])
    assert p[0] / p[ranks] == pytest.approx((ranks + 1.0) ** 0.8)


def test_draws_follow_the_probabilities():
    zipf = Zipf(50, 1.2)
    u = (np.arange(200_000) + 0.5) / 200_000
    seen = np.bincount(zipf.quantile(u), minlength=50) / len(u)
    assert seen == pytest.approx(zipf.probabilities(), abs=1e-5)
    shaped = zipf.quantile(u[:6].reshape(2, 3))
    assert shaped.shape == (2, 3) and shaped.dtype == np.int64


def test_edges():
    assert Zipf(1, 3.0).quantile([1e-300, 1 - 2**-53]).tolist() == [0, 0]
    assert Zipf(7, 1.0).quantile([2.0**-53, 1 - 2**-53]).tolist() == [0, 6]
    assert Zipf(4, 0.0).probabilities() == pytest.approx([0.25] * 4)


@pytest.mark.parametrize(("count", "exponent"), [(0, 1.0), (10**8, 1.0), (3, -0.1), (3, np.inf)])
def test_impossible_laws_are_refused(count, exponent):
    with pytest.raises(WorkloadError, match="Zipf"):
        Zipf(count, exponent)
