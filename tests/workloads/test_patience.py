import numpy as np
import pytest

from workloads.errors import WorkloadError
from workloads.patience import Patience
from workloads.thinking import ThinkTime

SECOND = 1_000_000_000


def test_a_share_of_the_users_leave_and_always_the_same_ones():
    patience = Patience(0.3, 2.5, seed=4)
    left = [patience.leaves_ns(i, 7) for i in range(4000)]
    assert {x for x in left if x is not None} == {7 + 5 * SECOND // 2}
    assert 0.27 < np.mean([x is not None for x in left]) < 0.33
    again = [Patience(0.3, 2.5, seed=4).leaves_ns(i, 7) for i in reversed(range(4000))]
    assert again[::-1] == left


def test_nobody_leaves_or_everybody():
    assert all(Patience(0.0, 1.0).leaves_ns(i, 0) is None for i in range(100))
    assert all(Patience(1.0, 1.0).leaves_ns(i, 0) == SECOND for i in range(100))


@pytest.mark.parametrize(("share", "after"), [(-0.1, 1.0), (1.1, 1.0), (0.5, 0.0)])
def test_impossible_patience_is_refused(share, after):
    with pytest.raises(WorkloadError, match="cancel_"):
        Patience(share, after)


def test_think_times_have_their_mean_and_depend_on_seed_and_request_alone():
    think = ThinkTime(2.0, seed=3)
    drawn = [think.after_ns(i) / SECOND for i in range(4000)]
    assert min(drawn) > 0
    assert np.mean(drawn) == pytest.approx(2.0, rel=0.05)
    assert np.std(drawn) == pytest.approx(2.0, rel=0.1)
    assert ThinkTime(2.0, seed=3).after_ns(17) == think.after_ns(17)
    assert ThinkTime(2.0, seed=4).after_ns(17) != think.after_ns(17)
    assert ThinkTime(1.5, "constant").after_ns(9) == 3 * SECOND // 2
    assert ThinkTime(0.0).after_ns(9) == 0


@pytest.mark.parametrize(
    ("mean", "kind"), [(-1.0, "constant"), (1.0, "slow"), (float("nan"), "constant")]
)
def test_impossible_think_times_are_refused(mean, kind):
    with pytest.raises(WorkloadError, match="think time"):
        ThinkTime(mean, kind)
