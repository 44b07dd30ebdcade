import math

import numpy as np
import pytest

from workloads.arrivals import Constant, Gamma, Poisson
from workloads.catalogue import workload
from workloads.errors import WorkloadError
from workloads.request import Ended, Request
from workloads.synthetic import SyntheticRequests
from workloads.text import TokenStream
from workloads.thinking import ThinkTime
from workloads.traffic import ClosedLoop, OpenLoop, Shard

SECOND = 1_000_000_000


class CountingSource:
    """Builds bare requests and remembers which; every third one is marked as fitted."""

    def __init__(self):
        self.built = []

    def build(self, request_id, scheduled_ns):
        self.built.append(request_id)
        prompt = np.zeros(1, dtype=np.int32)
        return Request(request_id, scheduled_ns, prompt, 1, fitted=request_id % 3 == 0)


def stamps(requests):
    return [request.scheduled_ns for request in requests]


def ids(requests):
    return [request.request_id for request in requests]


def open_loop(rate=4.0, duration=1.0, arrivals=None, source=None, seed=0):
    return OpenLoop.at_rate(
        source or CountingSource(),
        arrivals or Constant(),
        rate_per_s=rate,
        duration_s=duration,
        seed=seed,
    )


def test_open_loop_hands_out_what_is_due_once_in_order():
    traffic = open_loop()
    assert traffic.next_due_ns() == 0 and traffic.last_scheduled_ns is None
    assert stamps(traffic.due(-1)) == []
    assert stamps(traffic.due(250_000_000)) == [0, 250_000_000]
    assert stamps(traffic.due(250_000_000)) == []
    assert (traffic.offered, traffic.last_scheduled_ns) == (2, 250_000_000)
    assert traffic.next_due_ns() == 500_000_000
    assert not traffic.exhausted
    late = traffic.due(9 * SECOND)
    assert (ids(late), stamps(late)) == ([2, 3], [500_000_000, 750_000_000])
    assert traffic.exhausted and traffic.next_due_ns() is None
    assert (traffic.offered, traffic.planned, traffic.fitted) == (4, 4, 2)


def test_open_loop_builds_at_hand_out_only():
    source = CountingSource()
    traffic = open_loop(source=source)
    assert source.built == []
    traffic.due(0)
    assert source.built == [0]


def test_open_loop_ignores_answers_and_stops():
    traffic = open_loop()
    traffic.due(0)
    traffic.finished(Ended(0, 10))
    assert traffic.next_due_ns() == 250_000_000
    traffic.stop()
    assert traffic.exhausted and traffic.next_due_ns() is None
    assert traffic.due(9 * SECOND) == []
    assert (traffic.offered, traffic.planned) == (1, 1)


def test_polling_pace_does_not_change_the_requests():
    at_once = open_loop(50.0, 2.0, Poisson(), seed=3).due(2 * SECOND)
    traffic = open_loop(50.0, 2.0, Poisson(), seed=3)
    stepwise = [r for now in range(0, 2 * SECOND, 7_000_000) for r in traffic.due(now)]
    stepwise += traffic.due(2 * SECOND)
    assert stamps(stepwise) == stamps(at_once) and ids(stepwise) == list(range(len(at_once)))


def test_a_change_of_rate_or_process_keeps_prompts_and_lengths():
    stream = TokenStream(np.arange(30_000, dtype=np.int32))

    def requests(rate, arrivals):
        source = SyntheticRequests(workload("chat"), stream, seed=8, max_model_len=2048)
        return open_loop(rate, 20.0, arrivals, source, seed=8).due(20 * SECOND)

    slow = requests(5.0, Poisson())
    for others in (requests(50.0, Poisson()), requests(9.0, Gamma(0.5)), requests(5.0, Poisson())):
        pairs = list(zip(slow, others, strict=False))
        assert len(pairs) > 50
        for one, other in pairs:
            assert np.array_equal(one.prompt_token_ids, other.prompt_token_ids)
            assert (one.max_tokens, one.sampling) == (other.max_tokens, other.sampling)


def test_a_rate_too_low_for_any_arrival_is_exhausted_at_once():
    traffic = open_loop(1e-6, 0.001, Poisson())
    assert traffic.exhausted and traffic.planned == 0 and traffic.last_scheduled_ns is None


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_impossible_open_loops_are_refused(value):
    with pytest.raises(WorkloadError, match="rate"):
        open_loop(rate=value)
    with pytest.raises(WorkloadError, match="duration"):
        open_loop(duration=value)
    with pytest.raises(WorkloadError, match="seed"):
        open_loop(seed=-3)


def closed_loop(concurrency=2, duration=1.0):
    return ClosedLoop(CountingSource(), concurrency=concurrency, duration_s=duration)


def test_closed_loop_keeps_its_concurrency():
    traffic = closed_loop()
    assert traffic.next_due_ns() == 0
    assert (ids(traffic.due(0)), traffic.due(0)) == ([0, 1], [])
    assert traffic.next_due_ns() is None and not traffic.exhausted
    traffic.finished(Ended(1, 300))
    assert traffic.next_due_ns() == 300
    assert traffic.due(299) == []
    # The step was late: the request keeps the moment at which its slot became free.
    [third] = traffic.due(450)
    assert (third.request_id, third.scheduled_ns) == (2, 300)
    assert (traffic.offered, traffic.last_scheduled_ns) == (3, 300)


def test_closed_loop_orders_slots_by_when_they_became_free():
    traffic = closed_loop(3)
    traffic.due(0)
    for request_id, end in ((2, 500), (0, 400), (1, 500)):
        traffic.finished(Ended(request_id, end))
    assert stamps(traffic.due(500)) == [400, 500, 500]


def test_closed_loop_has_no_arrival_at_or_after_its_end():
    traffic = closed_loop(2, duration=1.0)
    traffic.due(0)
    traffic.finished(Ended(0, SECOND - 1))
    traffic.finished(Ended(1, SECOND))
    assert stamps(traffic.due(2 * SECOND)) == [SECOND - 1]
    assert not traffic.exhausted
    traffic.finished(Ended(2, 2 * SECOND))
    assert traffic.exhausted and traffic.offered == 3


def test_closed_loop_stops():
    traffic = closed_loop(2)
    traffic.due(0)
    traffic.finished(Ended(0, 10))
    traffic.stop()
    assert traffic.exhausted and traffic.next_due_ns() is None
    traffic.finished(Ended(1, 20))
    assert traffic.due(SECOND) == [] and traffic.offered == 2


def test_closed_loop_refuses_to_free_a_slot_twice():
    traffic = closed_loop()
    traffic.due(0)
    traffic.finished(Ended(0, 5))
    for request_id in (0, 99):
        with pytest.raises(KeyError):
            traffic.finished(Ended(request_id, 6))


def test_closed_loop_with_a_fake_server():
    # 3 slots, every answer takes 100 ms: 3 · 10 requests in one second, never more than 3 out.
    traffic, clock, running, most = closed_loop(3), 0, {}, 0
    while not traffic.exhausted:
        for request in traffic.due(clock):
            running[request.request_id] = clock + 100_000_000
        most = max(most, len(running))
        clock = min(running.values())
        for request_id in [r for r, end in running.items() if end == clock]:
            del running[request_id]
            traffic.finished(Ended(request_id, clock))
    assert (traffic.offered, most, clock) == (30, 3, SECOND)
    assert traffic.fitted == 10


@pytest.mark.parametrize("concurrency", [0, -1])
def test_impossible_concurrency_is_refused(concurrency):
    with pytest.raises(WorkloadError, match="concurrency"):
        closed_loop(concurrency)


@pytest.mark.parametrize("duration", [0.0, -1.0, math.nan, math.inf])
def test_impossible_closed_durations_are_refused(duration):
    with pytest.raises(WorkloadError, match="duration"):
        closed_loop(duration=duration)


def test_think_time_passes_before_the_next_request():
    traffic = ClosedLoop(
        CountingSource(), concurrency=1, duration_s=1.0, think=ThinkTime(0.3, "constant")
    )
    assert ids(traffic.due(0)) == [0]
    traffic.finished(Ended(0, 100_000_000))
    assert traffic.next_due_ns() == 400_000_000
    traffic.due(400_000_000)
    traffic.finished(Ended(1, 700_000_001))
    assert traffic.exhausted, "its thought would end after the run"


def test_a_closed_loop_ends_with_what_there_is_to_send():
    traffic = ClosedLoop(CountingSource(), concurrency=2, duration_s=1.0, most=3)
    assert ids(traffic.due(0)) == [0, 1]
    traffic.finished(Ended(0, 10))
    assert ids(traffic.due(10)) == [2] and traffic.exhausted
    traffic.finished(Ended(1, 20))
    traffic.finished(Ended(2, 30))
    assert traffic.due(40) == [] and traffic.offered == 3
    few = ClosedLoop(CountingSource(), concurrency=8, duration_s=1.0, most=3)
    assert ids(few.due(0)) == [0, 1, 2] and few.exhausted


def test_shards_deal_an_open_loop_out_without_changing_it():
    whole = open_loop(50.0, 2.0, Poisson(), seed=3).due(2 * SECOND)
    parts = [
        OpenLoop.at_rate(
            CountingSource(), Poisson(), rate_per_s=50.0, duration_s=2.0, seed=3, shard=Shard(k, 3)
        ).due(2 * SECOND)
        for k in range(3)
    ]
    dealt = sorted((r.request_id, r.scheduled_ns) for part in parts for r in part)
    assert dealt == [(r.request_id, r.scheduled_ns) for r in whole]
    assert all(r.request_id % 3 == k for k, part in enumerate(parts) for r in part)


def test_shards_share_the_slots_of_a_closed_loop():
    parts = [
        ClosedLoop(CountingSource(), concurrency=5, duration_s=1.0, shard=Shard(k, 3))
        for k in range(3)
    ]
    first = [ids(part.due(0)) for part in parts]
    assert first == [[0, 3], [1, 4], [2]]
    parts[2].finished(Ended(2, 5))
    assert ids(parts[2].due(5)) == [5]
