from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from workloads.catalogue import workload
from workloads.conversations.gaps import ConstantGap, ExponentialGap, LognormalGap
from workloads.conversations.plan import ConversationPlan, PlanDraws, SharedTexts
from workloads.conversations.served import served_by
from workloads.conversations.synthetic import SyntheticConversations
from workloads.conversations.traffic import ConversationTraffic
from workloads.errors import WorkloadError
from workloads.lengths import Fixed, Uniform
from workloads.request import Ended
from workloads.text import TokenStream
from workloads.workload import Workload
from workloads.zipf import Zipf

STREAM = TokenStream(np.arange(40_009, dtype=np.int32))
PLAN = ConversationPlan(
    turns=Uniform(1, 6),
    first_tokens=Uniform(20, 60),
    user_tokens=Uniform(5, 9),
    output_tokens=Uniform(10, 30),
    user_gap=ConstantGap(2.0),
    tool_share=0.3,
    tool_tokens=Uniform(100, 200),
    tool_gap=ConstantGap(0.5),
    system_prompts=SharedTexts(4, Uniform(50, 70)),
    documents=SharedTexts(100, Uniform(300, 400), exponent=0.8, per_session=2),
)


def same(one, other):
    return all(
        (a.output_tokens, a.gap_ns, a.history) == (b.output_tokens, b.gap_ns, b.history)
        and [(role, ids.tolist()) for role, ids in a.parts]
        == [(role, ids.tolist()) for role, ids in b.parts]
        for a, b in zip(one.turns, other.turns, strict=True)
    )


def test_a_session_depends_on_seed_and_id_alone():
    one, other = (SyntheticConversations(PLAN, STREAM, seed=5) for _ in range(2))
    forwards = [one.conversation(session) for session in range(700)]
    for session in (699, 3, 512, 0):
        assert same(other.conversation(session), forwards[session])
    changed = SyntheticConversations(PLAN, STREAM, seed=6)
    assert sum(same(changed.conversation(s), forwards[s]) for s in range(20)
               if len(changed.conversation(s).turns) == len(forwards[s].turns)) == 0  # fmt: skip


def test_request_ids_count_the_turns_of_earlier_sessions():
    source = SyntheticConversations(PLAN, STREAM)
    assert source.first_request_id(1_500) == sum(
        len(source.conversation(session).turns) for session in range(1_500)
    )
    draws = PlanDraws(PLAN, 0)
    ids = np.array([0, 17, 4_000, 17])
    sessions, turns = draws.session_of(ids)
    assert np.array_equal(draws.first_request_ids(sessions) + turns, ids)
    assert (turns < draws.turns(sessions)).all()


def test_turns_follow_the_plan():
    source = SyntheticConversations(PLAN, STREAM, seed=1)
    tools = later = 0
    for session in range(400):
        first, *others = source.conversation(session).turns
        roles = [role for role, _ in first.parts]
        assert roles[0] == "system" and set(roles[1:]) == {"user"}
        assert 20 <= len(first.parts[-1][1]) <= 60 and first.gap_ns == 0
        for turn in others:
            ((role, ids),) = turn.parts
            low, high, gap_s = (100, 200, 0.5) if role == "tool" else (5, 9, 2.0)
            assert low <= len(ids) <= high and turn.gap_ns == gap_s * 1e9
            assert 10 <= turn.output_tokens <= 30
            tools += role == "tool"
            later += 1
    assert tools / later == pytest.approx(0.3, abs=0.03)


def test_system_prompts_and_documents_are_shared_by_zipf():
    source = SyntheticConversations(PLAN, STREAM, seed=2)
    systems, documents = Counter(), Counter()
    for session in range(3_000):
        parts = source.conversation(session).turns[0].parts
        systems[tuple(parts[0][1].tolist())] += 1
        opened = [tuple(ids.tolist()) for _, ids in parts[1:-1]]
        assert 1 <= len(opened) == len(set(opened)) <= 2
        documents.update(opened)
    assert len(systems) == 4 and 95 <= len(documents) <= 100
    shares = [count / 3_000 for _, count in systems.most_common()]
    assert shares == pytest.approx(Zipf(4, 1.0).probabilities().tolist(), abs=0.03)
    assert documents.most_common(1)[0][1] > 15 * min(documents.values())


def test_messages_begin_at_places_of_their_own():
    source = SyntheticConversations(PLAN, STREAM)
    begins = [
        int(turn.parts[-1][1][0]) for s in range(2_000) for turn in source.conversation(s).turns
    ]
    assert len(set(begins)) == len(begins)


def test_a_shared_prefix_goes_before_everything():
    source = SyntheticConversations(PLAN, STREAM, shared_prefix_tokens=30)
    for session in range(5):
        role, ids = source.conversation(session).turns[0].parts[0]
        assert role == "system" and ids.tolist() == list(range(30))
    with pytest.raises(WorkloadError, match="shared_prefix_tokens"):
        SyntheticConversations(PLAN, STREAM, shared_prefix_tokens=-1)


@pytest.mark.parametrize("plan", [PLAN, workload("multiturn").conversation])
def test_drawn_lengths_are_those_of_the_conversations(plan):
    source = SyntheticConversations(plan, STREAM, seed=3)
    ids = np.arange(300)
    prompts, outputs, new = PlanDraws(plan, 3).prompts(ids)
    rows = []
    for session in range(300):
        history = 0
        for turn in source.conversation(session).turns:
            shared = sum(len(tokens) for _, tokens in turn.parts[:-1])
            rows.append((history + turn.new_tokens, turn.output_tokens, turn.new_tokens - shared))
            history = rows[-1][0] + turn.output_tokens
    assert np.array_equal(np.stack([prompts, outputs, new], axis=1), rows[:300])
    some = np.array([250, 3, 77])
    assert all(
        np.array_equal(part, whole[some])
        for part, whole in zip(
            PlanDraws(plan, 3).prompts(some), (prompts, outputs, new), strict=True
        )
    )


@pytest.mark.parametrize("context", [None, 900, 2])
def test_what_a_source_and_its_workload_say_is_served(context):
    plan = replace(PLAN, documents=None)
    source = SyntheticConversations(plan, STREAM, seed=3)
    each = Workload.of_conversations("x", "", "", plan)
    of_source = served_by(source, 50, context)
    of_workload = each.served_lengths(3, np.arange(500), context)
    for name in ("input_tokens", "output_tokens", "uncached_tokens", "fitted"):
        assert np.array_equal(getattr(of_source, name), getattr(of_workload, name)[:50])
    # One session after the other, every answer as long as wanted.
    traffic = ConversationTraffic(
        source, concurrency=1, duration_s=1e6, most=50, max_model_len=context
    )
    sent = []
    while not traffic.exhausted:
        [request] = traffic.due(traffic.next_due_ns())
        sent.append((request.prompt_tokens, request.max_tokens, request.fitted))
        answer = np.zeros(request.max_tokens, dtype=np.int32)
        traffic.finished(Ended(request.request_id, request.scheduled_ns, True, answer))
    served = (of_source.input_tokens, of_source.output_tokens, of_source.fitted)
    assert np.array_equal(np.array(sent), np.stack(served, axis=1))


def test_gaps():
    u = (np.arange(100_000) + 0.5) / 100_000
    for gap in (ConstantGap(3.0), ExponentialGap(15.0), LognormalGap(0.5, 2.0)):
        seconds = gap.quantile_s(u)
        assert seconds.mean() == pytest.approx(gap.mean_s(), rel=0.01)
        assert (np.diff(seconds) >= 0).all() and seconds[0] >= 0
    assert LognormalGap(0.5, 2.0).quantile_s([0.5, 0.9]) == pytest.approx([0.5, 2.0])
    for bad in (
        lambda: ConstantGap(-1),
        lambda: ExponentialGap(np.nan),
        lambda: LognormalGap(2, 1),
    ):
        with pytest.raises(WorkloadError, match="gap"):
            bad()


def test_gap_scale_stretches_time_alone():
    plan = PLAN.with_gap_scale(10.0)
    assert plan.mean_gap_s() == pytest.approx(10 * PLAN.mean_gap_s()) == pytest.approx(15.5)
    plain, scaled = (SyntheticConversations(p, STREAM).conversation(4) for p in (PLAN, plan))
    assert [turn.gap_ns * 10 for turn in plain.turns] == [turn.gap_ns for turn in scaled.turns]


@pytest.mark.parametrize(
    "wrong",
    [
        {"tool_share": 1.5},
        {"tool_share": 0.5},
        {"gap_scale": -1.0},
        {"gap_scale": np.inf},
    ],
)
def test_impossible_plans_are_refused(wrong):
    lengths = {name: Fixed(5) for name in ("turns", "first_tokens", "user_tokens", "output_tokens")}
    with pytest.raises(WorkloadError):
        ConversationPlan(**lengths, **wrong)
    with pytest.raises(WorkloadError, match="one system prompt"):
        ConversationPlan(**lengths, system_prompts=SharedTexts(2, Fixed(4), per_session=2))
    with pytest.raises(WorkloadError, match="per session"):
        SharedTexts(2, Fixed(4), per_session=0)
