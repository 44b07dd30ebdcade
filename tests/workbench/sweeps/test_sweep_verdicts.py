import pytest

from workbench.sweeps.figures import Figures, figures_of
from workbench.sweeps.verdicts import (
    FAILED,
    MISSES,
    OK,
    SATURATED,
    UNDECIDED,
    judge,
    requests_needed,
    wilson,
)


def run(value, met=100, measured=100, tokens=None, **rest):
    given = {"offered_per_s": value, "achieved_share": 1.0, "output_tokens_per_s": tokens}
    return Figures(value, measured=measured, met=met, **(given | rest))


def verdicts(*runs, target=0.9):
    return [point.verdict for point in judge(runs, target)]


def test_wilsons_interval_has_its_published_values():
    # Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for met, of, low, high in (
        (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):  # fmt: skip
        assert wilson(met, of) == pytest.approx((low, high), abs=5e-5)
    assert wilson(0, 0) == (0, 1)


@pytest.mark.parametrize(("attainment", "target"), [(0.95, 0.9), (0.85, 0.9), (1.0, 0.9)])
def test_as_many_requests_as_are_needed_decide_and_fewer_do_not(attainment, target):
    needed = requests_needed(attainment, target)
    for of, decides in ((needed, True), (needed - 1, False)):
        low, high = wilson(attainment * of, of)
        assert (not low <= target <= high) is decides
    assert requests_needed(0.9, 0.9) is None


def test_the_interval_decides_a_verdict():
    assert verdicts(run(1, met=100)) == [OK]
    assert verdicts(run(1, met=91)) == [UNDECIDED]
    assert verdicts(run(1, met=70)) == [MISSES]
    assert verdicts(run(1, met=0, measured=0)) == [UNDECIDED]
    assert verdicts(run(1, met=None), target=None) == [OK]


def test_an_undecided_point_counts_by_its_attainment():
    passes = [judge([run(1, met=met)], 0.9)[0].passes for met in (91, 89)]
    assert passes == [True, False]


def test_runs_of_a_point_are_judged_together():
    (point,) = judge([run(1, met=91), run(1, met=100, repeat=1, measured=100)], 0.9)
    assert (point.measured, point.met, point.verdict) == (200, 191, OK)


def test_a_point_is_failed_only_if_all_its_runs_are():
    lost = Figures(2, failed="out of memory")
    (point,) = judge([lost], 0.9)
    assert (point.verdict, point.why, point.passes) == (FAILED, "out of memory", False)
    assert verdicts(run(2), Figures(2, repeat=1, failed="out of memory")) == [OK]


def test_saturation_shows_in_the_load():
    assert verdicts(run(1, achieved_share=0.98)) == [SATURATED]
    # By less than one request: only the last one's wait for the step before it.
    assert verdicts(run(1, achieved_share=0.98, measured=49, met=49)) == [OK]
    assert verdicts(run(1, fell_behind=True)) == [SATURATED]
    # One run of two is not most of them.
    assert verdicts(run(1, fell_behind=True), run(1, repeat=1)) == [OK]


def test_saturation_shows_in_throughput_that_stops_growing():
    assert verdicts(run(4, tokens=100), run(8, tokens=190)) == [OK, OK]
    assert verdicts(run(4, tokens=100), run(8, tokens=104)) == [OK, SATURATED]
    # 1.9 % for 25 % is too little, 2.1 % is enough, and less than 25 % of load says nothing.
    assert verdicts(run(4, tokens=1000), run(5, tokens=1019)) == [OK, SATURATED]
    assert verdicts(run(4, tokens=1000), run(5, tokens=1021)) == [OK, OK]
    assert verdicts(run(4, tokens=1000), run(4.9, tokens=1000)) == [OK, OK]
    assert verdicts(run(4, tokens=1000), run(6, tokens=1001, measured=29, met=29))[1] != SATURATED


def test_a_dip_under_more_output_is_no_saturation():
    assert verdicts(run(4, tokens=100), run(8, tokens=80), run(16, tokens=150)) == [OK, OK, OK]


def test_growth_is_seen_against_what_was_offered_in_fact():
    slow = run(8, tokens=104, offered_per_s=4.2)
    assert verdicts(run(4, tokens=100), slow) == [OK, OK]


def test_a_closed_loop_has_its_concurrency_as_load():
    summary = {
        "requests": {"measured": 50},
        "load": {"offered_per_s": 9.0, "achieved_per_s": 9.0, "achieved_share": 1.0},
        "throughput": {"output_tokens_per_s": 100.0},
    }
    closed = {"state": "finished", "summary": summary, "spec": {"traffic": {"concurrency": 4}}}
    four, eight = figures_of(closed, 4, 0), figures_of(closed, 8, 0)
    assert four.offered_per_s is None
    # Neither has a use for more: eight at a time do what four do.
    assert verdicts(four, eight, target=None) == [SATURATED, SATURATED]


def test_a_run_that_did_not_finish_has_only_its_reason():
    assert figures_of({"state": "failed", "reason": "no memory"}, 3, 1).failed == "no memory"
    assert figures_of({"state": "killed"}, 3, 1).failed == "the run is killed"
