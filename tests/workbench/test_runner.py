"""The loop, with a clock that moves when the engine computes, the loop sleeps, or it is read."""

from itertools import pairwise

import numpy as np
import pytest

from engines.base import rejection
from engines.compute.worker import Computed
from engines.monolithic import MonolithicEngine
from engines.scheduling.blocks import BlockPool
from engines.scheduling.config import SchedulerConfig
from engines.scheduling.scheduler import Scheduler
from profiles.ranges import Ranges
from workbench.runs.runner import NoRecord, StopRequest, drive
from workloads.patience import Patience
from workloads.request import Request

MS = 1_000_000


class Clock:
    def __init__(self):
        self.now = 0

    def __call__(self):
        self.now += 100  # so that spinning up to an arrival comes to an end
        return self.now

    def sleep(self, seconds):
        self.now += max(1, int(seconds * 1e9))


class SlowWorker:
    """Every step takes `step_ns`; the step `fails_at` raises."""

    def __init__(self, clock, step_ns, fails_at=None, on_step=None):
        self.clock, self.step_ns, self.fails_at = clock, step_ns, fails_at
        self.on_step = on_step or (lambda step: None)
        self.steps = 0

    overlaps = False

    def launch(self, plan, table):
        return Computed(self.execute(plan, table))

    def collect(self, launched):
        return launched

    def execute(self, plan, table):
        if self.steps == self.fails_at:
            raise RuntimeError("the device fell off the bus")
        self.on_step(self.steps)
        self.steps += 1
        self.clock.now += self.step_ns
        return np.ones(int(plan.samples.sum()), np.int32)

    def close(self): ...


class Arrivals:
    """Requests at given times; the loop's own clock may pass them."""

    needs_answers = False

    def __init__(self, times_ns, max_tokens=3, prompt=8):
        self.times, self.max_tokens, self.prompt = list(times_ns), max_tokens, prompt
        self.offered, self.ended, self.fitted = 0, [], 0
        self.last_scheduled_ns = None

    def due(self, now_ns):
        requests = []
        while self.times and self.times[0] <= now_ns:
            self.last_scheduled_ns = self.times.pop(0)
            ids = np.arange(self.prompt, dtype=np.int32)
            requests.append(Request(self.offered, self.last_scheduled_ns, ids, self.max_tokens))
            self.offered += 1
        return requests

    def next_due_ns(self):
        return self.times[0] if self.times else None

    def finished(self, ended):
        self.ended.append(ended.request_id)

    def stop(self):
        self.times.clear()

    @property
    def exhausted(self):
        return not self.times


class Notes(NoRecord):
    def __init__(self):
        self.arrivals, self.records, self.steps, self.events = [], [], [], []

    def arrived(self, request, submitted_ns):
        self.arrivals.append((request.request_id, submitted_ns))

    def ended(self, record):
        self.records.append(record)

    def step(self, result):
        self.steps.append(result)
        self.records += result.records

    def event(self, time_ns, kind, detail, request_id=-1):
        self.events.append((time_ns, kind, detail))


def run(
    traffic, step_ns=10 * MS, drain_ns=10**12, stop=None, fails_at=None, on_step=None, patience=None
):
    clock, notes, phases = Clock(), Notes(), []
    scheduler = Scheduler(
        SchedulerConfig(max_num_seqs=4, max_num_batched_tokens=16, max_model_len=64),
        BlockPool(64, 4),
    )
    engine = MonolithicEngine(
        scheduler, SlowWorker(clock, step_ns, fails_at, on_step), clock, Ranges()
    )
    end = error = None
    try:
        end = drive(
            engine, traffic, notes, clock, stop or StopRequest(), drain_ns, 50 * MS,
            phases.append, clock.sleep, patience,
        )  # fmt: skip
    except RuntimeError as raised:
        error = raised
    engine.check_integrity()
    assert not engine.has_work
    assert sorted(r.request_id for r in notes.records) == list(range(traffic.offered))
    return end, notes, phases, error


def test_a_late_step_never_moves_an_arrival():
    times = [0, 1 * MS, 2 * MS, 300 * MS]
    end, notes, phases, _ = run(Arrivals(times))
    assert [r.scheduled_ns for r in sorted(notes.records, key=lambda r: r.request_id)] == times
    submitted = dict(notes.arrivals)
    # Both wait for the step that was under way.
    assert 10 * MS <= submitted[1] == submitted[2] < 10.1 * MS
    assert 300 * MS <= submitted[3] < 301 * MS  # woken in time by an idle loop
    assert phases == ["running", "draining"]
    assert end.offered == 4 and end.unfinished == 0 and end.last_scheduled_ns == 300 * MS
    assert {r.status for r in notes.records} == {"ok"}


def test_stages_sum_to_ttft_exactly():
    _, notes, _, _ = run(Arrivals(range(0, 100 * MS, 3 * MS)))
    for r in notes.records:
        stages = (
            (r.admitted_ns - r.scheduled_ns)
            + (r.started_ns - r.admitted_ns)
            + (r.prefilled_ns - r.started_ns - r.ttft_recompute_ns)
            + (r.first_token_ns - r.prefilled_ns)
            + r.ttft_recompute_ns
        )
        assert stages == r.first_token_ns - r.scheduled_ns
        assert r.scheduled_ns <= r.admitted_ns <= r.started_ns < r.prefilled_ns <= r.first_token_ns


def test_steps_are_recorded_without_gaps_and_tokens_add_up():
    _, notes, _, _ = run(Arrivals([0, 0, 5 * MS], max_tokens=5))
    assert [step.index for step in notes.steps] == list(range(len(notes.steps)))
    assert all(a.end_ns <= b.start_ns for a, b in pairwise(notes.steps))
    emitted = np.concatenate([step.emitted_ids for step in notes.steps])
    assert np.bincount(emitted).tolist() == [5, 5, 5]


def test_what_is_left_when_the_drain_ends_is_unfinished():
    end, notes, _, _ = run(Arrivals([0, 0], max_tokens=50), drain_ns=95 * MS)
    assert end.unfinished == 2
    assert {(r.status, r.reason) for r in notes.records} == {("unfinished", "the run ended first")}
    assert all(r.output_tokens == 10 and r.last_token_ns > 0 for r in notes.records)


def test_an_interrupt_stops_arrivals_and_drains():
    stop = StopRequest()
    traffic = Arrivals([0, 10**10])
    end, notes, _, _ = run(
        traffic, stop=stop, on_step=lambda step: stop.ask("SIGINT", False) if step == 0 else None
    )
    assert end.interrupted == "SIGINT" and end.offered == 1
    assert [r.status for r in notes.records] == ["ok"]
    assert any("interrupted: SIGINT" in detail for _, _, detail in notes.events)


def test_a_second_interrupt_ends_at_once():
    stop = StopRequest()

    def ask(step):
        if step < 2:
            stop.ask("SIGINT", False)

    end, notes, _, _ = run(Arrivals([0], max_tokens=50), stop=stop, on_step=ask)
    assert end.unfinished == 1
    assert notes.records[0].output_tokens == 2
    assert notes.records[0].reason == "stopped: SIGINT"


def test_an_exception_in_a_step_fails_what_was_in_the_engine_and_goes_through():
    _, notes, _, error = run(Arrivals([0, 0, 25 * MS]), fails_at=2)
    assert "fell off the bus" in str(error)
    failed = [r for r in notes.records if r.status == "failed"]
    assert failed and all("fell off the bus" in r.reason for r in failed)


def test_a_request_that_can_never_fit_is_rejected_with_the_reason():
    traffic = Arrivals([0], prompt=64)
    end, notes, _, _ = run(traffic)
    assert notes.records[0].status == "rejected"
    assert "exceed max_model_len 64" in notes.records[0].reason
    assert traffic.ended == [0] and end.offered == 1


def test_no_arrivals_at_all_ends_at_once():
    end, notes, phases, _ = run(Arrivals([]))
    assert end.last_scheduled_ns == -1 and not notes.records and phases == ["running", "draining"]


def test_rejection_keeps_what_was_asked():
    record = rejection(Request(4, 7, np.ones(3, np.int32), 9), 11, "why")
    assert (record.prompt_tokens, record.max_tokens, record.started_ns) == (3, 9, -1)


@pytest.mark.parametrize("reasons", [["SIGINT"], ["SIGINT", "SIGTERM"]])
def test_the_first_reason_to_stop_is_kept(reasons):
    stop = StopRequest()
    for reason in reasons:
        stop.ask(reason, at_once=False)
    assert stop.reason == "SIGINT" and stop.at_once == (len(reasons) > 1)


def test_who_has_no_patience_leaves_and_frees_the_engine():
    traffic = Arrivals([0, 200 * MS], max_tokens=20)
    _, notes, _, _ = run(traffic, patience=Patience(1.0, 0.055))
    assert [r.status for r in notes.records] == ["cancelled", "cancelled"]
    assert {r.reason for r in notes.records} == {"its user left after 0.055 s"}
    for record in notes.records:
        assert 55 * MS <= record.finished_ns - record.scheduled_ns < 70 * MS
        assert 0 < record.output_tokens < 20
    assert traffic.ended == [0, 1]


def test_who_has_the_answer_in_time_stays():
    _, notes, _, _ = run(Arrivals([0]), patience=Patience(1.0, 0.5))
    assert [r.status for r in notes.records] == ["ok"]
