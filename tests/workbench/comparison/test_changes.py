"""What differs, how sure that is, and in which word it ends."""

import dataclasses
import math

import numpy as np
import pytest

from workbench.comparison.allowance import allowance
from workbench.comparison.changes import Figures, change, interval_of
from workbench.comparison.compared_metrics import Metric
from workbench.comparison.comparison import Cell, Change, Effect, Row
from workbench.comparison.estimates import Estimate
from workbench.comparison.intervals import Interval
from workbench.comparison.verdicts import holm, judged

TTFT = Metric(
    "Latency", "TTFT p50", "ms", "ttft_p50", ("latency", "ttft_ms", "p50"), "lower", 1, "outcome"
)
SPEED = Metric("Throughput", "Output", "tok/s", "output", ("a", "b"), "higher", 1, "outcome")
FAILED = Metric("Requests", "Failed", "", "failed", ("requests", "by_status", "failed"), "lower")
SHARE = Metric("Throughput", "Attainment", "%", "attainment", ("a", "c"), "higher", 100)


def runs(*values, seeds=None):
    return Figures(values, tuple(seeds or range(len(values))), None)


def single(value, log_error=0.01, **more):
    error = None if log_error is None else log_error * value
    estimate = Estimate(
        value, error, log_error, 30.0, Interval(0.9 * value, 1.1 * value), 500, **more
    )
    return Figures((value,), (0,), estimate)


def test_repeated_runs_are_compared_on_the_scale_of_ratios():
    base, other = runs(100, 102, 98, 101), runs(110, 112, 109, 113, 111)
    found = change(TTFT, base, other, paired=False)
    assert found.basis == "runs" and found.effect.log
    assert found.ratio == pytest.approx(111 / 100.24, rel=1e-3)
    logs = [np.log(each.values) for each in (base, other)]
    error = math.sqrt(sum(each.var(ddof=1) / each.size for each in logs))
    assert found.effect.error == pytest.approx(error)
    assert found.ratio_interval.low < found.ratio < found.ratio_interval.high
    assert found.interval.low == pytest.approx(100.24 * (found.ratio_interval.low - 1), rel=1e-3)
    assert found.p < 1e-3
    again = change(TTFT, other, base, paired=False)
    assert again.p == pytest.approx(found.p) and again.difference < 0


def test_pairs_of_the_same_seed_take_out_what_seeds_do():
    """Seeds that differ by a factor of two, and a true 5 % that no unpaired test could see."""
    base = runs(100, 150, 200, 120, seeds=(3, 1, 2, 0))
    values = {3: 100, 1: 150, 2: 200, 0: 120}
    noise = {0: 1.001, 1: 0.999, 2: 1.002, 3: 0.998}
    order = (0, 1, 2, 3)
    other = runs(*(1.05 * values[seed] * noise[seed] for seed in order), seeds=order)
    paired = change(TTFT, base, other, paired=True)
    assert paired.basis == "paired runs" and paired.p < 1e-3
    assert paired.ratio == pytest.approx(1.05, abs=1e-3)
    alone = change(TTFT, base, other, paired=False)
    assert alone.basis == "runs" and alone.p > 0.5
    few = change(TTFT, runs(100, 150, 200), runs(105, 157, 211), paired=True)
    assert few.basis == "runs"


def test_a_single_run_beside_several_is_as_noisy_as_they_are():
    several = runs(100, 102, 98, 101)
    found = change(TTFT, several, single(130), paired=False)
    spread = np.log(several.values).std(ddof=1)
    assert found.effect.error == pytest.approx(spread * math.sqrt(1 / 4 + 1))
    assert found.effect.degrees == 3 and found.basis == "runs"


def test_single_runs_allow_for_what_they_can_not_show():
    base, other = single(100), single(104)
    allowed = [dataclasses.replace(each, allowance=0.02) for each in (base, other)]
    found = change(TTFT, *allowed, paired=False)
    assert found.effect.error == pytest.approx(math.sqrt(2 * 0.01**2 + 2 * 0.02**2))
    strict = change(TTFT, base, other, paired=False)
    assert strict.effect.error == pytest.approx(math.sqrt(2) * 0.01) and strict.p < found.p
    assert strict.effect.degrees == pytest.approx(60)


def test_what_holds_a_queue_is_allowed_more():
    def summary(**means):
        return {"latency": {f"{name}_ms": {"mean": mean} for name, mean in means.items()}}

    def mean_of(column):
        path = ("latency", f"{column}_ms", "mean")
        return dataclasses.replace(TTFT, path=path, name=f"{column}_mean")

    told = summary(ttft=100.0, queue=50.0, tpot=10.0)
    assert allowance(mean_of("tpot"), told, 0.02) == 0.02
    assert allowance(mean_of("queue"), told, 0.02) == pytest.approx(0.16)
    assert allowance(mean_of("ttft"), told, 0.02) == pytest.approx(0.09)
    assert allowance(SHARE, told | {"objectives": {"limits_ms": {"tpot": 5}}}, 0.02) == 0.02
    assert allowance(SHARE, told | {"objectives": {"limits_ms": {"ttft": 5}}}, 0.02) > 0.08
    untold = {"latency": {"ttft_ms": {"mean": 100.0, "min": 20.0}, "queue_ms": {"mean": None}}}
    assert allowance(mean_of("ttft"), untold, 0.02) == pytest.approx(0.02 * 6.6)
    assert allowance(mean_of("ttft"), None, 0.02) == 0.02


def test_the_same_requests_are_drawn_together():
    """Figures that vary alike from draw to draw: their ratio is known better than either."""
    rng = np.random.default_rng(2)
    drawn = np.exp(0.1 * rng.normal(size=400))
    base = single(100.0, 0.1, replicates=100 * drawn)
    other = single(105.0, 0.1, replicates=105 * drawn * np.exp(0.005 * rng.normal(size=400)))
    paired = change(TTFT, base, other, paired=True)
    alone = change(TTFT, base, other, paired=False)
    assert paired.basis == "paired requests" and alone.basis == "requests"
    assert paired.effect.error == pytest.approx(0.005, rel=0.2)
    assert alone.effect.error == pytest.approx(0.1 * math.sqrt(2))


def test_figures_of_zero_are_compared_by_their_difference():
    base = Figures((0.0,), (0,), Estimate(0.0, 1.0, None, 9.0, Interval(-2, 2), 50))
    other = Figures((4.0,), (0,), Estimate(4.0, 1.0, 0.3, 9.0, Interval(2, 6), 50))
    found = change(TTFT, base, other, paired=False)
    assert found.ratio is None and found.difference == 4
    assert not found.effect.log and found.ratio_interval is None
    between = change(TTFT, runs(0.0, 1.0, 0.0), runs(4.0, 5.0, 4.5), False)
    assert not between.effect.log and between.p < 0.01


def test_nothing_to_judge_by_is_no_evidence_at_all():
    plain = change(TTFT, Figures((5.0,), (0,), None), Figures((6.0,), (0,), None), False)
    assert plain.difference == 1 and plain.p is None and plain.interval is None
    wide = change(TTFT, single(100, 4.0), single(300, 4.0), False)
    assert wide.p > 0.5 and wide.interval is None and wide.ratio_interval is None


def test_counts_that_come_in_clumps_are_worth_fewer():
    def counted(n, inflation=1.0):
        return Figures((n,), (0,), Estimate(n, n=400, inflation=inflation))

    assert change(FAILED, counted(0.0), counted(12.0), False).p < 0.001
    clumped = change(FAILED, counted(0.0), counted(12.0, 6.0), False)
    assert clumped.p == pytest.approx(0.5) and clumped.basis == "counts"
    none = change(FAILED, counted(0.0), counted(0.0), False)
    assert none.p is None and none.basis == "counts"


def test_shares_are_pooled():
    def share(value, n, inflation=1.0):
        return Figures((value,), (0,), Estimate(value, degrees=50.0, n=n, inflation=inflation))

    found = change(SHARE, share(90.0, 400), share(70.0, 400), False)
    assert found.p < 1e-6 and found.difference == -20
    assert found.interval.low < -20 < found.interval.high < 0
    assert change(SHARE, share(90.0, 400, 40.0), share(70.0, 400), False).p > 0.05
    assert change(SHARE, share(100.0, 50), share(100.0, 50), False).p == 1


def test_a_sides_own_interval_is_between_its_runs():
    interval = interval_of(runs(100, 102, 98, 101))
    assert interval.low < 98.5 and interval.high > 101.5
    assert interval_of(single(100)) == Interval(90, pytest.approx(110))
    assert interval_of(runs(3.0)) is None
    assert runs(100, 400).mean == pytest.approx(200) and runs(0, 10).mean == 5


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.001]) == pytest.approx([0.5, 0.002])
    assert holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]


def row(metric, p, difference=1.0, error=0.01):
    against = Change(difference, 1.0, p=p, effect=Effect(True, 0.1, error, 20))
    base = Cell(10.0, (10.0,), 100, None, False, None)
    return Row(metric, (base, Cell(11.0, (11.0,), 100, None, False, against)))


def verdicts(rows, untold=frozenset()):
    return [each.cells[1].change.verdict for each in judged(rows, untold)]


def test_verdicts_follow_direction_evidence_and_noise():
    assert verdicts([row(TTFT, 0.001), row(SPEED, 0.001)]) == ["worse", "better"]
    assert verdicts([row(TTFT, 0.001, -1.0), row(SPEED, 0.001, -1.0)]) == ["better", "worse"]
    assert verdicts([row(TTFT, 0.2)]) == ["no evidence"]
    assert verdicts([row(TTFT, 0.2, error=0.2)]) == ["too noisy"]
    assert verdicts([row(dataclasses.replace(TTFT, better=None), 0.001)]) == [None]
    assert verdicts([row(TTFT, None)]) == [None]
    assert verdicts([row(TTFT, None)], frozenset({(TTFT.key, 1)})) == ["too noisy"]


def test_each_family_is_corrected_by_itself():
    cause = [dataclasses.replace(TTFT, family="cause", path=("a", str(n))) for n in range(40)]
    rows = [row(TTFT, 0.02), *(row(metric, 0.02) for metric in cause)]
    found = judged(rows, frozenset())
    assert found[0].cells[1].change.verdict == "worse"
    assert found[0].cells[1].change.adjusted_p == pytest.approx(0.02)
    assert {each.cells[1].change.verdict for each in found[1:]} == {"no evidence"}


def test_what_could_have_been_found_is_told():
    (found,) = judged([row(TTFT, 0.2)], frozenset())
    assert 0.02 < found.cells[1].change.detectable < 0.04
    (noisy,) = judged([row(TTFT, 0.2, error=2.0)], frozenset())
    assert noisy.cells[1].change.detectable is None
