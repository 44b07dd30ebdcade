"""Another pace moves requests in time, and nothing else."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import WorkloadError
from workloads.pacing import PacedTraffic
from workloads.request import Ended, Request
from workloads.traffic import ClosedLoop, OpenLoop

MS = 1_000_000
S = 1_000 * MS

stamps = st.lists(st.integers(0, 10 * S), max_size=30).map(sorted)
changes = st.lists(
    st.tuples(st.integers(0, 10 * S), st.sampled_from([0.0, 0.05, 1 / 3, 1.0, 1.1, 2.0, 20.0])),
    max_size=6,
).map(sorted)
thorough = settings(max_examples=300, derandomize=True, deadline=None, database=None)


class Source:
    """Requests of one token; remembers for when each was built."""

    def __init__(self) -> None:
        self.own_ns: list[int] = []

    def build(self, request_id: int, scheduled_ns: int) -> Request:
        self.own_ns.append(scheduled_ns)
        return Request(request_id, scheduled_ns, np.ones(1, np.int32), 1)


def open_loop(times_ns: list[int]) -> OpenLoop:
    return OpenLoop(Source(), np.array(times_ns, np.int64))


def offered(traffic: PacedTraffic, knobs: list[tuple[int, float]]) -> list[tuple[int, Request]]:
    """What comes when it is looked at whenever something is due, and at each change, as a loop
    does; in the end it passes at speed 1. Each request with the moment at which it came."""
    came: list[tuple[int, Request]] = []
    knobs = [*knobs, (max([at for at, _ in knobs], default=0) + S, 1.0)]
    for at_ns, speed in knobs:
        while (due_ns := traffic.next_due_ns()) is not None and due_ns < at_ns:
            came += [(due_ns, request) for request in traffic.due(due_ns)]
        traffic.set_speed(at_ns, speed)
        came += [(at_ns, request) for request in traffic.due(at_ns)]
    while (due_ns := traffic.next_due_ns()) is not None:
        some = traffic.due(due_ns)
        assert some, "what is due is handed out"
        came += [(due_ns, request) for request in some]
    return came


@thorough
@given(stamps)
def test_at_speed_one_it_is_the_inner_traffic(times_ns: list[int]) -> None:
    paced = PacedTraffic(open_loop(times_ns))
    paced.set_speed(3 * S, 1.0)
    inner = open_loop(times_ns)
    for now_ns in range(0, 11 * S, 700 * MS):
        assert paced.next_due_ns() == inner.next_due_ns()
        assert [r.scheduled_ns for r in paced.due(now_ns)] == [
            r.scheduled_ns for r in inner.due(now_ns)
        ]
        assert paced.last_scheduled_ns == inner.last_scheduled_ns
        assert (paced.offered, paced.exhausted) == (inner.offered, inner.exhausted)


@thorough
@given(stamps, changes)
def test_any_pace_keeps_the_requests_and_their_order(
    times_ns: list[int], knobs: list[tuple[int, float]]
) -> None:
    source = Source()
    paced = PacedTraffic(OpenLoop(source, np.array(times_ns, np.int64)))
    came = offered(paced, knobs)
    assert [request.request_id for _, request in came] == list(range(len(times_ns)))
    assert source.own_ns == times_ns
    assert all(a.scheduled_ns <= b.scheduled_ns for (_, a), (_, b) in pairwise(came))
    assert all(request.scheduled_ns <= now_ns for now_ns, request in came), "none before its time"
    assert paced.exhausted and paced.offered == len(times_ns)
    assert paced.last_scheduled_ns == (came[-1][1].scheduled_ns if came else None)


@thorough
@given(stamps, st.integers(0, 10 * S), st.integers(0, 10 * S))
def test_a_pause_moves_what_comes_after_it_by_its_length(
    times_ns: list[int], at_ns: int, lasts_ns: int
) -> None:
    paced = PacedTraffic(open_loop(times_ns))
    came = [r for now in times_ns if now < at_ns for r in paced.due(now)]
    paced.set_speed(at_ns, 0.0)
    assert paced.due(at_ns + lasts_ns // 2) == [] and paced.next_due_ns() is None
    paced.set_speed(at_ns + lasts_ns, 1.0)
    came += paced.due(10**18)
    moved = [t if t < at_ns else t + lasts_ns for t in times_ns]
    assert [request.scheduled_ns for request in came] == moved


@thorough
@given(stamps, st.integers(0, 10 * S), st.sampled_from([0.05, 0.5, 2.0, 20.0]))
def test_a_speed_scales_the_time_that_is_left(
    times_ns: list[int], at_ns: int, speed: float
) -> None:
    paced = PacedTraffic(open_loop(times_ns))
    paced.set_speed(at_ns, speed)
    came = paced.due(10**18)
    for request, own_ns in zip(came, times_ns, strict=True):
        wanted = own_ns if own_ns <= at_ns else at_ns + (own_ns - at_ns) / speed
        assert abs(request.scheduled_ns - wanted) <= 1


def test_a_change_that_is_set_ahead_holds_from_its_moment_on() -> None:
    paced = PacedTraffic(open_loop([90 * MS, 100 * MS, 110 * MS]))
    paced.set_speed(100 * MS, 0.0)
    assert [r.scheduled_ns for r in paced.due(99 * MS)] == [90 * MS]
    assert paced.due(400 * MS) == []
    paced.set_speed(500 * MS, 1.0)
    assert [r.scheduled_ns for r in paced.due(S)] == [500 * MS, 510 * MS]


def test_a_slot_that_is_freed_in_a_pause_waits_for_its_end() -> None:
    loop = ClosedLoop(Source(), concurrency=2, duration_s=10)
    paced = PacedTraffic(loop)
    first = paced.due(0)
    assert [r.scheduled_ns for r in first] == [0, 0]
    paced.finished(Ended(0, 2 * S))
    paced.set_speed(3 * S, 0.0)
    assert [r.scheduled_ns for r in paced.due(3 * S)] == [2 * S], "it was free before the pause"
    paced.finished(Ended(1, 5 * S))
    assert paced.due(8 * S) == [] and paced.next_due_ns() is None and not paced.exhausted
    paced.set_speed(9 * S, 1.0)
    assert paced.next_due_ns() == 9 * S
    assert [r.scheduled_ns for r in paced.due(9 * S)] == [9 * S]
    paced.finished(Ended(2, 15 * S))  # 9 s of its own time: a user still comes
    assert [r.scheduled_ns for r in paced.due(15 * S)] == [15 * S]
    paced.finished(Ended(3, 16 * S))
    paced.finished(Ended(4, 16 * S))
    assert (paced.exhausted, paced.due(10**18)) == (True, [])


def test_stop_ends_it_also_while_it_is_held() -> None:
    paced = PacedTraffic(open_loop([5 * S]))
    paced.set_speed(S, 0.0)
    assert not paced.exhausted
    paced.stop()
    assert (paced.exhausted, paced.due(10**18), paced.offered) == (True, [], 0)


def test_a_request_that_was_moved_is_the_same_otherwise() -> None:
    paced = PacedTraffic(open_loop([2 * S]))
    paced.set_speed(0, 2.0)
    (request,) = paced.due(S)
    (inner,) = open_loop([2 * S]).due(2 * S)
    fields = [field.name for field in dataclasses.fields(Request) if field.name != "scheduled_ns"]
    assert request.scheduled_ns == S
    assert all(getattr(request, name) == getattr(inner, name) for name in fields)


@pytest.mark.parametrize("speed", [-1.0, 1e-9, float("inf"), float("nan")])
def test_an_impossible_speed_is_refused(speed: float) -> None:
    with pytest.raises(WorkloadError, match="speed is"):
        PacedTraffic(open_loop([])).set_speed(0, speed)
