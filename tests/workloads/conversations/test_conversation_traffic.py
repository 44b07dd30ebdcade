from heapq import heappop, heappush

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.arrivals import Poisson
from workloads.conversations.conversation import Conversation, Turn
from workloads.conversations.traffic import ConversationTraffic
from workloads.errors import WorkloadError
from workloads.request import Ended
from workloads.traffic import Shard

SECOND = 1_000_000_000


def tokens(*ids):
    return np.array(ids, dtype=np.int32)


class Scripted:
    """Sessions of `turns` turns: 3 + 2 tokens, then 2 each; answers of 4; gaps of 100 ns."""

    def __init__(self, turns=3, gap_ns=100, history=True):
        self.turns, self.gap_ns, self.history = turns, gap_ns, history
        self.built = []

    def conversation(self, session_id):
        self.built.append(session_id)
        first = (("system", tokens(1, 2, 3)), ("user", tokens(10, session_id)))
        later = [(("user", tokens(20 + turn, session_id)),) for turn in range(1, self.turns)]
        turns = [Turn(first, 4)]
        turns += [Turn(parts, 4, self.gap_ns, self.history) for parts in later]
        return Conversation(session_id, tuple(turns))

    def first_request_id(self, session_id):
        return session_id * self.turns


def answer(request):
    return (np.arange(request.max_tokens) + 1_000 * request.request_id).astype(np.int32)


def serve(traffic, latency=lambda request: 1_000, ok=lambda request: True):
    """A server without limits on a clock of its own: what it was sent, and how many at most."""
    clock, running, sent, most = 0, [], [], 0
    while not traffic.exhausted:
        for request in traffic.due(clock):
            sent.append(request)
            heappush(running, (clock + latency(request), request.request_id, request))
        most = max(most, len(running))
        times = [t for t in (traffic.next_due_ns(), running[0][0] if running else None) if t]
        clock = min(times)
        while running and running[0][0] <= clock:
            time_ns, request_id, request = heappop(running)
            traffic.finished(Ended(request_id, time_ns, ok(request), answer(request)))
    return sent, most


def open_traffic(source=None, times=(0, 50, 5_000), **options):
    options = {"duration_s": 1.0, **options}
    return ConversationTraffic(source or Scripted(), times_ns=np.array(times), **options)


def test_each_turn_follows_its_answer_with_the_whole_history():
    traffic = open_traffic(times=(7,))
    assert traffic.needs_answers and traffic.next_due_ns() == 7
    assert traffic.due(6) == []
    [first] = traffic.due(7)
    assert (first.request_id, first.session_id, first.turn, first.max_tokens) == (0, 0, 0, 4)
    assert first.prompt_token_ids.tolist() == [1, 2, 3, 10, 0]
    assert traffic.next_due_ns() is None and not traffic.exhausted
    traffic.finished(Ended(0, 1_000, True, tokens(91, 92)))
    assert traffic.next_due_ns() == 1_100
    [second] = traffic.due(5_000)
    assert (second.request_id, second.scheduled_ns, second.turn) == (1, 1_100, 1)
    assert second.prompt_token_ids.tolist() == [1, 2, 3, 10, 0, 91, 92, 21, 0]
    parts = [(part.role, part.tokens) for part in second.parts]
    assert parts == [("system", 3), ("user", 2), ("assistant", 2), ("user", 2)]
    traffic.finished(Ended(1, 2_000, True, tokens(93)))
    [third] = traffic.due(5_000)
    assert third.prompt_token_ids.tolist() == [*second.prompt_token_ids.tolist(), 93, 22, 0]
    # Its answer leads nowhere: there is no fourth turn.
    assert traffic.exhausted
    traffic.finished(Ended(2, 9_000, True, tokens(94)))
    assert traffic.exhausted and traffic.offered == 3 and traffic.begun == 1


def test_histories_are_exact_and_parts_cover_the_prompt():
    sent, _ = serve(open_traffic(), latency=lambda r: 500 + 37 * r.request_id)
    assert len(sent) == 9
    by_id = {request.request_id: request for request in sent}
    for request in sent:
        assert sum(part.tokens for part in request.parts) == request.prompt_tokens
        if request.turn:
            before = by_id[request.request_id - 1]
            said = [*before.prompt_token_ids, *answer(before), 20 + request.turn]
            assert request.prompt_token_ids.tolist() == [*said, request.session_id]


def test_hand_out_is_in_order_of_schedule():
    traffic = open_traffic(Scripted(4, gap_ns=300), times=np.arange(0, 40_000, 700))
    sent, _ = serve(traffic, latency=lambda r: 100 + 997 * (r.request_id * 7 % 5))
    stamps = [request.scheduled_ns for request in sent]
    assert stamps == sorted(stamps) and len(sent) == 4 * 58
    assert sorted(r.request_id for r in sent) == list(range(4 * 58))
    assert traffic.last_scheduled_ns == stamps[-1]


def test_late_polling_hands_out_in_order_too():
    traffic = open_traffic(times=(0, 10, 400))
    traffic.due(10)
    traffic.finished(Ended(3, 200, True, tokens(5)))
    traffic.finished(Ended(0, 150, True, tokens(5)))
    late = traffic.due(9_000)
    assert [(r.scheduled_ns, r.request_id) for r in late] == [(250, 1), (300, 4), (400, 6)]


def test_ids_and_content_do_not_depend_on_timing():
    fast, _ = serve(open_traffic(), latency=lambda r: 10)
    slow, _ = serve(open_traffic(times=(0, 1, 2)), latency=lambda r: 9_000 - 900 * r.session_id)
    key = {(r.session_id, r.turn): r for r in fast}
    for request in slow:
        same = key[request.session_id, request.turn]
        assert same.request_id == request.request_id
        assert same.sampling == request.sampling
        assert same.prompt_token_ids.tolist() == request.prompt_token_ids.tolist()


def test_a_turn_without_history_starts_a_new_prompt():
    sent, _ = serve(open_traffic(Scripted(history=False), times=(0,)))
    assert [r.prompt_token_ids.tolist() for r in sent[1:]] == [[21, 0], [22, 0]]
    assert [part.role for part in sent[1].parts] == ["user"]


def test_a_turn_that_did_not_end_ok_ends_its_session():
    traffic = open_traffic()
    sent, _ = serve(traffic, ok=lambda r: not (r.session_id == 1 and r.turn == 1))
    assert [r.turn for r in sent if r.session_id == 1] == [0, 1]
    assert len(sent) == 8 and traffic.broken == 1 and traffic.exhausted


def test_nothing_is_scheduled_at_or_after_the_end():
    traffic = open_traffic(times=(0, 998, 1_000), duration_s=1e-6)
    assert [r.scheduled_ns for r in traffic.due(5_000)] == [0, 998]
    traffic.finished(Ended(0, 899, True, tokens(1)))
    traffic.finished(Ended(3, 900, True, tokens(1)))
    assert [r.scheduled_ns for r in traffic.due(5_000)] == [999]
    traffic.finished(Ended(1, 1_500, True, tokens(1)))
    assert traffic.exhausted and traffic.broken == traffic.cut == 0


def test_the_first_turn_is_fitted_and_later_ones_cut():
    # 5 + 4, 11 + 4, 17 + 4 tokens.
    for context, turns, fitted, cut in ((100, 3, 0, 0), (21, 3, 0, 0), (20, 2, 0, 1), (6, 1, 1, 1)):
        traffic = open_traffic(times=(0,), max_model_len=context)
        sent, _ = serve(traffic)
        assert (len(sent), traffic.fitted, traffic.cut) == (turns, fitted, cut)
        assert all(r.prompt_tokens + r.max_tokens <= context for r in sent)
    assert sent[0].fitted and sent[0].prompt_token_ids.tolist() == [1, 2, 3]
    assert [(part.role, part.tokens) for part in sent[0].parts] == [("system", 3)]


def closed_traffic(source=None, concurrency=3, **options):
    options = {"duration_s": 1e-4, **options}
    return ConversationTraffic(source or Scripted(), concurrency=concurrency, **options)


def test_closed_loop_keeps_its_concurrency_back_to_back():
    source = Scripted()
    traffic = closed_traffic(source)
    sent, most = serve(traffic, latency=lambda r: 700 + 113 * (r.request_id % 4))
    assert most == 3 and [r.scheduled_ns for r in sent[:3]] == [0, 0, 0]
    assert source.built == list(range(traffic.begun)) and traffic.begun > 60
    ends = {r.session_id: r.scheduled_ns + 700 + 113 * (r.request_id % 4) for r in sent}
    begins = sorted(r.scheduled_ns for r in sent if r.turn == 0)[3:]
    assert begins == sorted(ends.values())[: len(begins)]
    stamps = [r.scheduled_ns for r in sent]
    assert stamps == sorted(stamps) and stamps[-1] < 100_000


def test_sessions_that_fail_or_are_cut_free_their_slots():
    broken = closed_traffic(duration_s=1e-5)
    sent, most = serve(broken, ok=lambda r: r.turn == 0)
    assert most == 3 and broken.broken == sum(r.turn == 1 for r in sent) > 3
    cut = closed_traffic(duration_s=1e-5, max_model_len=12)
    sent, most = serve(cut)
    assert most == 3 and cut.cut == len(sent) == 30 and {r.turn for r in sent} == {0}


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_share_out_the_sessions(count):
    whole, _ = serve(open_traffic(times=range(0, 2_000, 100)))
    key = {r.request_id: r for r in whole}
    seen = []
    for index in range(count):
        part = open_traffic(times=range(0, 2_000, 100), shard=Shard(index, count))
        sent, _ = serve(part)
        assert {r.session_id % count for r in sent} <= {index}
        for request in sent:
            same = key[request.request_id]
            assert (same.session_id, same.turn) == (request.session_id, request.turn)
            assert (same.scheduled_ns, same.sampling) == (request.scheduled_ns, request.sampling)
            assert same.prompt_token_ids.tolist() == request.prompt_token_ids.tolist()
        seen += [r.request_id for r in sent]
    assert sorted(seen) == sorted(key)


def test_shards_of_a_closed_loop_deal_out_the_slots():
    parts = [serve(closed_traffic(shard=Shard(index, 2))) for index in range(2)]
    assert [most for _, most in parts] == [2, 1]
    ids = [r.request_id for sent, _ in parts for r in sent]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("kind", [open_traffic, closed_traffic])
def test_at_most_so_many_requests(kind):
    traffic = kind(most=5)
    sent, _ = serve(traffic)
    assert len(sent) == traffic.offered == 5 and traffic.next_due_ns() is None
    assert sum(len(serve(kind(most=5, shard=Shard(i, 3)))[0]) for i in range(3)) == 5


def test_stop_ends_everything():
    for traffic in (open_traffic(), closed_traffic()):
        out = traffic.due(0)
        traffic.finished(Ended(out[0].request_id, 10, True, tokens(1)))
        traffic.stop()
        assert traffic.exhausted and traffic.next_due_ns() is None
        for request in out[1:]:
            traffic.finished(Ended(request.request_id, 20, True, tokens(1)))
        assert traffic.due(SECOND) == [] and traffic.exhausted


def test_an_ended_session_is_forgotten():
    traffic = open_traffic(times=range(0, 3_000, 10))
    sent, most = serve(traffic, latency=lambda r: 25)
    assert len(sent) == 900 and most < 40
    # What is left are the last turns, still out when nothing more could follow.
    assert len(traffic._out) < 5 and not traffic._waiting


def test_misuse_is_refused():
    traffic = open_traffic()
    traffic.due(0)
    with pytest.raises(ValueError, match="no tokens"):
        traffic.finished(Ended(0, 5))
    with pytest.raises(KeyError):
        traffic.finished(Ended(99, 5))
    for options in ({}, {"times_ns": np.arange(2), "concurrency": 2}):
        with pytest.raises(WorkloadError, match="either start times or a concurrency"):
            ConversationTraffic(Scripted(), duration_s=1.0, **options)
    for options in ({"concurrency": 0}, {"duration_s": 0.0}, {"seed": -1}, {"max_model_len": 1}):
        with pytest.raises(WorkloadError):
            closed_traffic(**options)


def test_at_rate_begins_sessions_as_the_process_has_it():
    options = {"sessions_per_s": 20.0, "duration_s": 2.0, "seed": 4}
    traffic = ConversationTraffic.at_rate(Scripted(), Poisson(), **options)
    sent, _ = serve(traffic, latency=lambda r: 10_000_000)
    times = Poisson().times_ns(20.0, 2.0, np.random.default_rng(4))
    assert [r.scheduled_ns for r in sent if r.turn == 0] == times.tolist()


@given(
    seed=st.integers(0, 2**32),
    turns=st.integers(1, 5),
    closed=st.booleans(),
    count=st.integers(1, 3),
    context=st.sampled_from([None, 6, 20, 27]),
    failing=st.sampled_from([0.0, 0.2]),
)
@settings(max_examples=60, deadline=None)
def test_whatever_the_server_does(seed, turns, closed, count, context, failing):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(0, 30_000, 25))
    latencies, failed = rng.integers(0, 3_000, 10_000), rng.random(10_000) < failing
    begin = {"concurrency": 4} if closed else {"times_ns": times}
    seen, ids = {}, []
    for index in range(count):
        traffic = ConversationTraffic(
            Scripted(turns), duration_s=2e-5, max_model_len=context, shard=Shard(index, count),
            **begin,
        )  # fmt: skip
        sent, most = serve(
            traffic,
            lambda r: int(latencies[r.request_id % 10_000]) + 1,
            lambda r: not failed[r.request_id % 10_000],
        )
        assert not closed or most <= Shard(index, count).share_of(4)
        stamps = [r.scheduled_ns for r in sent]
        assert stamps == sorted(stamps) and all(stamp < 20_000 for stamp in stamps)
        ids += [r.request_id for r in sent]
        seen |= {(r.session_id, r.turn): r for r in sent}
    assert len(ids) == len(set(ids))
    for (session_id, turn), request in seen.items():
        assert request.request_id == session_id * turns + turn
        assert context is None or request.prompt_tokens + request.max_tokens <= context
        assert sum(part.tokens for part in request.parts) == request.prompt_tokens
        if turn:
            before = seen[session_id, turn - 1]
            assert not failed[before.request_id % 10_000]
            said = np.concatenate([before.prompt_token_ids, answer(before)])
            assert np.array_equal(request.prompt_token_ids[: len(said)], said)
            assert request.prompt_tokens == len(said) + 2
