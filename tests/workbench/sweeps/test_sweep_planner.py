"""The planner against simulated servers: what it finds, in how many runs, and the same again."""

import math
import random

import pytest

from workbench.sweeps.figures import Figures
from workbench.sweeps.outcome import outcome_of
from workbench.sweeps.planner import (
    Ask,
    Done,
    Grid,
    Search,
    bracket_of,
    saturates_at,
)
from workbench.sweeps.verdicts import SATURATED, UNDECIDED, judge

SLO_S = 1.0


class QueueServer:
    """M/M/1: a request waits an exponential time of mean 1 / (capacity - rate).

    A share exp(-(capacity - rate) · limit) of the requests misses the limit, drawn for each of
    them by the run's seed; from the capacity on the backlog grows.
    """

    def __init__(self, capacity: float, requests: int = 400, seed: int = 0) -> None:
        self.capacity, self.requests, self.seed = capacity, requests, seed
        self.asked: list[tuple[float, int]] = []

    def true_limit(self, target: float) -> float:
        return self.capacity + math.log(1 - target) / SLO_S

    def run(self, rate: float, repeat: int) -> Figures:
        self.asked.append((rate, repeat))
        draw = random.Random(f"{self.seed}/{rate}/{repeat}")
        left = self.capacity - rate
        missing = math.exp(-left * SLO_S) if left > 0 else 1.0
        met = sum(draw.random() >= missing for _ in range(self.requests))
        noise = 1 + draw.gauss(0, 0.005)
        return Figures(
            rate, repeat, measured=self.requests, met=met, offered_per_s=rate,
            achieved_share=1.0, fell_behind=rate > 1.05 * self.capacity,
            output_tokens_per_s=100 * min(rate, self.capacity) * noise,
        )  # fmt: skip


class ClosedServer:
    """A closed loop: throughput grows with the concurrency up to a batch size."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.asked: list[float] = []

    def run(self, concurrency: float, repeat: int) -> Figures:
        self.asked.append(concurrency)
        done = 50.0 * min(concurrency, self.batch)
        return Figures(concurrency, repeat, measured=100, output_tokens_per_s=done)


def drive(plan, server, results=(), most=200):
    """Runs what the plan asks for; all results and why it ended."""
    results = list(results)
    for _ in range(most):
        ask = plan.next(results)
        if isinstance(ask, Done):
            return results, ask
        assert isinstance(ask, Ask) and ask.value is not None
        assert (ask.value, ask.repeat) not in {(run.value, run.repeat) for run in results}
        results.append(server.run(ask.value, ask.repeat))
    raise AssertionError("the plan does not end")


def find(low=1.0, high=64.0, tolerance=0.05, repeats=1):
    return Search("rate", low, high, tolerance, target=0.9, find=True, repeats=repeats)


@pytest.mark.parametrize("capacity", [5.0, 9.3, 17.0, 40.0])
@pytest.mark.parametrize("seed", range(5))
def test_max_goodput_is_the_true_limit_within_tolerance(capacity, seed):
    server = QueueServer(capacity, requests=2000, seed=seed)
    plan = find()
    results, _ = drive(plan, server)
    goodput = outcome_of("rate", plan, results, ended=True).goodput
    true = server.true_limit(0.9)
    assert goodput.failing_per_s / goodput.rate_per_s <= 1.05
    # The bracket holds the limit, up to what 2,000 requests tell apart.
    assert goodput.rate_per_s <= 1.03 * true and goodput.failing_per_s >= 0.97 * true
    assert len(results) <= 16


def test_without_noise_the_bracket_holds_the_limit_exactly():
    class Exact(QueueServer):
        def run(self, rate, repeat):
            met = 1000 if rate <= 6.1 else 0
            self.asked.append((rate, repeat))
            return Figures(rate, repeat, measured=1000, met=met, offered_per_s=rate)

    server, plan = Exact(10), find()
    results, done = drive(plan, server)
    bracket = bracket_of(judge(results, 0.9))
    assert bracket.passing.value <= 6.1 < bracket.failing.value <= 1.05 * bracket.passing.value
    assert "within the tolerance" in done.why
    # Doubling, then the geometric middle of what is left.
    assert [value for value, _ in server.asked] == [1, 2, 4, 8, 5.657, 6.727, 6.169, 5.907]


def test_a_search_that_is_cut_off_anywhere_goes_on_to_the_same_answer():
    plan = find()
    whole, _ = drive(plan, QueueServer(9.3, requests=150, seed=3))
    for cut in range(len(whole)):
        again, _ = drive(plan, QueueServer(9.3, requests=150, seed=3), whole[:cut])
        assert again == whole
    # And whatever run is lost in between, it is made again, if it is still wanted.
    for lost in range(len(whole)):
        kept = whole[:lost] + whole[lost + 1 :]
        again, _ = drive(plan, QueueServer(9.3, requests=150, seed=3), kept)
        known = outcome_of("rate", plan, whole, ended=True).goodput
        assert outcome_of("rate", plan, again, ended=True).goodput.rate_per_s == pytest.approx(
            known.rate_per_s, rel=0.05
        )


def test_the_order_of_results_does_not_matter():
    plan = find()
    results, done = drive(plan, QueueServer(9.3, requests=150))
    assert plan.next(results[::-1]) == done


def test_an_undecided_end_is_run_once_more_and_no_oftener():
    server, plan = QueueServer(9.3, requests=40, seed=1), find()
    results, _ = drive(plan, server)
    bracket = bracket_of(judge(results, 0.9))
    ends = [end for end in (bracket.passing, bracket.failing) if end.verdict == UNDECIDED]
    assert ends and all(len(end.runs) == 2 for end in ends)
    assert max(repeat for _, repeat in server.asked) == 1
    notes = outcome_of("rate", plan, results, ended=True).notes
    assert any("undecided" in note and "requests would tell" in note for note in notes) or any(
        "no length of run tells" in note for note in notes
    )


def test_repeats_run_every_point_so_often():
    server = QueueServer(9.3, requests=2000)
    results, _ = drive(find(repeats=3), server)
    points = judge(results, 0.9)
    assert all(len(point.runs) >= 3 for point in points)
    assert server.asked[:3] == [(1, 0), (1, 1), (1, 2)]


def test_a_range_that_ends_too_early_or_begins_too_high_says_so():
    plan = find(1, 4)
    results, _ = drive(plan, QueueServer(100))
    outcome = outcome_of("rate", plan, results, ended=True)
    assert outcome.goodput.rate_per_s == 4 and outcome.goodput.failing_per_s is None
    assert any("raise the end of the range" in note for note in outcome.notes)
    plan = find(50, 64)
    results, done = drive(plan, QueueServer(10))
    outcome = outcome_of("rate", plan, results, ended=True)
    assert outcome.goodput.rate_per_s is None and len(results) == 1
    assert "not even the lowest" in done.why
    assert any("Not even 50" in note for note in outcome.notes)


def test_a_calibrated_start_that_is_too_high_is_halved():
    open_ended = Search("rate", None, None, 0.05, target=0.9, find=True)
    assert open_ended.next([]) == Ask(None, 0, "calibration")
    server, plan = QueueServer(10, requests=1000), open_ended.calibrated(20.0)
    results, _ = drive(plan, server)
    assert [value for value, _ in server.asked][:3] == [20, 10, 5]
    goodput = outcome_of("rate", plan, results, ended=True).goodput
    assert goodput.rate_per_s == pytest.approx(server.true_limit(0.9), rel=0.08)
    hopeless = open_ended.calibrated(1e6)
    results, done = drive(hopeless, QueueServer(10))
    assert len(results) == 5 and "not even the lowest" in done.why


def test_a_plain_sweep_confirms_saturation_and_then_bisects_around_the_knee():
    server, plan = QueueServer(9.0), Search("rate", 1.0, 64.0, 0.25)
    results, _ = drive(plan, server)
    asked = [value for value, _ in server.asked]
    assert asked[:6] == [1, 2, 4, 8, 16, 32]  # one more than the first saturated, and no 64
    assert all(8 < value < 16 for value in asked[6:])
    points = judge(results, None)
    knee = saturates_at(points)
    assert 9 <= knee.value <= 1.3 * 9
    assert [p.value for p in points if p.verdict == SATURATED and p.value < knee.value] == []


@pytest.mark.parametrize("batch", [3, 6, 12, 13])
def test_a_closed_loop_is_searched_in_whole_numbers(batch):
    server, plan = ClosedServer(batch), Search("concurrency", 1, 64, 0.05)
    results, _ = drive(plan, server)
    assert all(value == int(value) for value in server.asked)
    bracket = bracket_of(judge(results, None))
    assert bracket.passing.value < batch <= bracket.failing.value
    assert bracket.failing.value - bracket.passing.value == 1


def test_a_failure_below_a_pass_is_run_again_and_noted():
    class Hiccup(QueueServer):
        def run(self, rate, repeat):
            good = super().run(rate, repeat)
            once = rate == 2 and (repeat == 0 or self.always)
            return Figures(rate, repeat, measured=400, met=0) if once else good

    plan = Search("rate", 1.0, 64.0, 0.25, target=0.9)
    server = Hiccup(20.0)
    server.always = False
    results, _ = drive(plan, server)
    assert (2, 1) in server.asked
    # Half of all its requests missed: it stays a failure, and the limit is below it.
    outcome = outcome_of("rate", plan, results, ended=True)
    assert any("2 does not pass although a higher rate does" in note for note in outcome.notes)
    assert bracket_of(outcome.points).passing.value < 2


def test_a_hiccup_of_saturation_is_cleared_by_the_second_run():
    class Hiccup(QueueServer):
        def run(self, rate, repeat):
            if (rate, repeat) == (2, 0):
                self.asked.append((rate, repeat))
                return Figures(2, 0, measured=400, met=400, fell_behind=True, achieved_share=1.0)
            return super().run(rate, repeat)

    plan = Search("rate", 1.0, 64.0, 0.25)
    results, _ = drive(plan, Hiccup(20.0))
    outcome = outcome_of("rate", plan, results, ended=True)
    assert bracket_of(outcome.points).violations == ()
    assert outcome.saturates.value > 16


def test_a_failed_point_bounds_a_search_and_is_not_tried_again():
    class Fragile(QueueServer):
        def run(self, rate, repeat):
            self.asked.append((rate, repeat))
            if rate > 5:
                return Figures(rate, repeat, failed="out of memory")
            return Figures(rate, repeat, measured=100, met=100)

    server, plan = Fragile(10), find(repeats=2)
    results, _ = drive(plan, server)
    outcome = outcome_of("rate", plan, results, ended=True)
    assert 5 / 1.05 <= outcome.goodput.rate_per_s <= 5 < outcome.goodput.failing_per_s
    assert all(repeat == 0 for rate, repeat in server.asked if rate > 5)
    assert any("failed: out of memory" in note for note in outcome.notes)


def test_a_list_is_run_whole_and_a_grid_over_a_range_stops_when_saturated():
    values = (4.0, 8.0, 16.0, 32.0, 64.0)
    whole, _ = drive(Grid(values), QueueServer(9))
    assert [run.value for run in whole] == list(values)
    some, done = drive(Grid(values, whole=False), QueueServer(9))
    assert [run.value for run in some] == [4, 8, 16, 32] and "saturated" in done.why


def test_a_high_end_that_is_no_power_of_two_is_visited():
    server = QueueServer(1000)
    drive(Search("rate", 1.0, 11.0, 0.25), server)
    assert [value for value, _ in server.asked] == [1, 2, 4, 8, 11]
