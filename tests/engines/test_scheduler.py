"""The scheduler's rules, one by one, with a fake clock and no model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_worker import FakeWorker, Truth

from engines.base import RequestRecord, record_of
from engines.errors import EngineConfigError, IntegrityError
from engines.monolithic import MonolithicEngine
from engines.scheduling.blocks import BlockPool
from engines.scheduling.config import SchedulerConfig
from engines.scheduling.plan import StepOutcome, StepPlan
from engines.scheduling.scheduler import Scheduler
from engines.scheduling.sequence import NOT_REACHED, Sequence, Status
from profiles.ranges import Ranges
from workloads.request import Request, SamplingParams

STOP = 7


def prompt_of(request_id: int, length: int) -> list[int]:
    """Tokens that no other request's prompt begins with."""
    return [1000 * (request_id + 1) + position for position in range(length)]


class Bench:
    """A scheduler whose step number n is planned at 1000 n, starts at +100 and ends at +900.

    Request r samples token 10 * r + i as its i-th, unless `says` overrides it.
    """

    def __init__(
        self,
        usable_blocks: int = 64,
        block_size: int = 4,
        prefix_caching: bool = False,
        **config: Any,
    ) -> None:
        limits = {"max_num_seqs": 8, "max_num_batched_tokens": 64, "max_model_len": 64}
        self.pool = BlockPool(usable_blocks + 1, block_size, prefix_caching)
        self.scheduler = Scheduler(
            SchedulerConfig(**(limits | {"watermark": 0.0} | config)), self.pool, (STOP,)
        )
        self.steps = 0
        self.says: dict[int, int] = {}
        self.plan: StepPlan | None = None
        self.outcome = StepOutcome(np.empty(0, np.int64))

    def add(
        self,
        request_id: int,
        prompt: int | list[int],
        output: int = 8,
        priority: int = 0,
        ignore_eos: bool = True,
    ) -> Sequence:
        tokens = prompt_of(request_id, prompt) if isinstance(prompt, int) else prompt
        request = Request(
            request_id,
            1000 * self.steps + 300,
            np.array(tokens, np.int32),
            output,
            SamplingParams(ignore_eos=ignore_eos),
            priority,
        )
        assert self.scheduler.reason_to_reject(request) is None
        return self.scheduler.add(request, 1000 * self.steps + 500)

    def step(self) -> dict[int, int]:
        """One step; how many tokens of which request were in it."""
        self.steps += 1
        table, now_ns = self.scheduler.table, 1000 * self.steps
        self.plan = plan = self.scheduler.schedule(now_ns)
        if plan is None:
            return {}
        ids = table.request_ids[plan.rows].tolist()
        sampled = [
            self.says.get(request_id, 10 * request_id + int(table.num_tokens[row]))
            for request_id, row, samples in zip(
                ids, plan.rows.tolist(), plan.samples.tolist(), strict=True
            )
            if samples
        ]
        self.outcome = self.scheduler.commit(
            plan, np.array(sampled, np.int32), now_ns + 100, now_ns + 900
        )
        self.scheduler.check_integrity()
        return dict(zip(ids, plan.num_new_tokens.tolist(), strict=True))

    def run(self) -> list[dict[int, int]]:
        """Steps until nothing is left."""
        steps = []
        while self.scheduler.has_work:
            steps.append(self.step())
            assert len(steps) < 1000
        return steps

    @property
    def ended(self) -> list[int]:
        """Requests that the last step ended."""
        return [sequence.request.request_id for sequence in self.outcome.finished]


# -- what goes into a step ----------------------------------------------------------------------


def test_nothing_to_do_is_no_step() -> None:
    assert Bench().step() == {}


def test_a_prompt_is_computed_and_then_decoded_a_token_a_step() -> None:
    bench = Bench()
    sequence = bench.add(0, prompt=5, output=3)
    assert bench.run() == [{0: 5}, {0: 1}, {0: 1}]
    assert sequence.tokens.tolist() == [*prompt_of(0, 5), 5, 6, 7]
    assert sequence.status is Status.OK
    assert bench.ended == [0]


def test_a_prompt_is_cut_by_the_budget() -> None:
    bench = Bench(max_num_seqs=4, max_num_batched_tokens=4)
    bench.add(0, prompt=10, output=1)
    assert bench.run() == [{0: 4}, {0: 4}, {0: 2}]


def test_only_the_last_chunk_samples() -> None:
    bench = Bench(max_num_seqs=4, max_num_batched_tokens=4)
    bench.add(0, prompt=6)
    bench.step()
    assert bench.plan is not None and bench.plan.samples.tolist() == [False]
    assert len(bench.outcome.emitted_ids) == 0
    bench.step()
    assert bench.plan.samples.tolist() == [True]
    assert bench.outcome.emitted_ids.tolist() == [0]


def test_decodes_come_first_and_prompts_share_what_is_left_of_the_budget() -> None:
    bench = Bench(max_num_seqs=4, max_num_batched_tokens=8)
    bench.add(0, prompt=6)
    bench.step()
    bench.add(1, prompt=12)
    bench.add(2, prompt=12)
    assert bench.step() == {0: 1, 1: 7}
    assert bench.plan is not None
    assert (bench.plan.kind, bench.plan.num_decodes) == ("mixed", 1)
    assert bench.plan.num_prefill_tokens == 7
    assert bench.step() == {0: 1, 1: 5, 2: 2}
    assert bench.step() == {0: 1, 1: 1, 2: 6}


@pytest.mark.parametrize(("prompts", "kinds"), [((5,), "pddd"), ((5, 9), "pmdd")])
def test_a_step_says_what_kind_it_is(prompts: tuple[int, ...], kinds: str) -> None:
    bench = Bench()
    seen = ""
    for request_id, length in enumerate(prompts):
        bench.add(request_id, length)
        bench.step()
        assert bench.plan is not None
        seen += bench.plan.kind[0]
    while len(seen) < len(kinds):
        bench.step()
        seen += bench.plan.kind[0]
    assert seen == kinds


def test_without_chunking_a_prompt_waits_for_room_for_all_of_it() -> None:
    limits = {"max_num_seqs": 4, "max_num_batched_tokens": 16, "max_model_len": 16}
    bench = Bench(chunked_prefill=False, **limits)
    bench.add(0, prompt=10, output=3)
    bench.add(1, prompt=10, output=3)
    bench.add(2, prompt=2, output=1)
    assert bench.step() == {0: 10}, "request 2 would fit, but may not overtake request 1"
    assert bench.step() == {0: 1, 1: 10, 2: 2}


def test_no_more_sequences_run_than_allowed() -> None:
    bench = Bench(max_num_seqs=2)
    for request_id in range(3):
        bench.add(request_id, prompt=2, output=2)
    assert bench.run() == [{0: 2, 1: 2}, {0: 1, 1: 1}, {2: 2}, {2: 1}]


# -- order --------------------------------------------------------------------------------------


def admission_order(bench: Bench) -> list[int]:
    order: list[int] = []
    for step in bench.run():
        order += [request_id for request_id in step if request_id not in order]
    return order


@pytest.mark.parametrize(
    ("policy", "expected"), [("fcfs", [0, 1, 2, 3]), ("priority", [3, 1, 2, 0])]
)
def test_requests_start_in_the_order_of_the_policy(policy: str, expected: list[int]) -> None:
    bench = Bench(max_num_seqs=1, policy=policy)
    for request_id, priority in enumerate((2, 1, 1, 0)):
        bench.add(request_id, prompt=2, output=1, priority=priority)
    assert admission_order(bench) == expected


def test_a_running_request_is_not_stopped_for_a_better_priority() -> None:
    bench = Bench(max_num_seqs=1, policy="priority")
    bench.add(0, prompt=2, output=3, priority=5)
    bench.step()
    bench.add(1, prompt=2, output=1, priority=0)
    assert bench.run() == [{0: 1}, {0: 1}, {1: 2}]


def test_a_large_request_is_not_overtaken_by_a_small_one() -> None:
    bench = Bench(usable_blocks=6)
    bench.add(0, prompt=12, output=2)
    bench.step()
    bench.add(1, prompt=16, output=1)
    bench.add(2, prompt=1, output=1)
    assert bench.step() == {0: 1}, "3 blocks are free: too few for request 1, enough for request 2"
    assert bench.step() == {1: 16, 2: 1}


# -- prefix reuse -------------------------------------------------------------------------------


def test_a_prompt_reuses_the_blocks_of_its_prefix() -> None:
    bench = Bench(prefix_caching=True)
    stem = prompt_of(9, 10)
    bench.add(0, [*stem, 1], output=1)
    bench.run()
    second = bench.add(1, [*stem, 2, 3], output=1)
    assert bench.run() == [{1: 4}]
    assert second.cached_tokens == 8, "two full blocks of four; the rest of the stem is not full"


def test_a_running_request_shares_its_prefix_without_being_written() -> None:
    bench = Bench(prefix_caching=True)
    first = bench.add(0, prompt_of(9, 8))
    bench.step()
    second = bench.add(1, prompt_of(9, 9))
    bench.step()
    assert second.blocks[:2] == first.blocks[:2]
    assert [bench.pool.refcount(block) for block in second.blocks] == [2, 2, 1]


def test_two_prompts_in_one_step_do_not_share_what_is_not_computed_yet() -> None:
    bench = Bench(prefix_caching=True)
    first, second = bench.add(0, prompt_of(9, 8)), bench.add(1, prompt_of(9, 8))
    assert bench.step() == {0: 8, 1: 8}
    assert not set(first.blocks) & set(second.blocks)


@pytest.mark.parametrize(
    ("block_size", "length", "computed"), [(1, 8, 1), (4, 8, 4), (4, 9, 1), (16, 8, 8)]
)
def test_a_fully_cached_prompt_computes_at_least_one_token(
    block_size: int, length: int, computed: int
) -> None:
    bench = Bench(block_size=block_size, prefix_caching=True)
    first = bench.add(0, prompt_of(9, length), output=4)
    bench.run()
    second = bench.add(1, prompt_of(9, length), output=4)
    assert bench.step() == {1: computed}
    assert second.cached_tokens == length - computed
    assert bench.outcome.emitted_ids.tolist() == [1]
    assert first.cached_tokens == 0


def test_answers_are_cached_too_so_that_a_next_turn_reuses_them() -> None:
    bench = Bench(prefix_caching=True)
    first = bench.add(0, prompt=6, output=7)
    bench.run()
    second = bench.add(1, [*first.tokens.tolist(), 1, 2, 3], output=1)
    assert bench.run() == [{1: 4}]
    assert second.cached_tokens == 12, "the last sampled token was never computed"


def test_with_caching_off_nothing_is_reused() -> None:
    bench = Bench(prefix_caching=False)
    for request_id in range(2):
        bench.add(request_id, prompt_of(9, 8), output=1)
        assert bench.run() == [{request_id: 8}]


def test_forgotten_prefixes_are_computed_again() -> None:
    bench = Bench(prefix_caching=True)
    bench.add(0, prompt_of(9, 9), output=1)
    bench.run()
    assert bench.pool.forget_cached() == 2
    bench.add(1, prompt_of(9, 9), output=1)
    assert bench.run() == [{1: 9}]


# -- blocks run out -----------------------------------------------------------------------------


@pytest.mark.parametrize(("watermark", "admitted"), [(0.0, True), (0.2, True), (0.3, False)])
def test_the_watermark_is_kept_free_beside_running_requests(
    watermark: float, admitted: bool
) -> None:
    bench = Bench(usable_blocks=10, watermark=watermark)
    bench.add(0, prompt=14)
    bench.step()
    bench.add(1, prompt=16)
    assert (1 in bench.step()) == admitted, "4 + 4 of 10 blocks leave 2 free"


def test_alone_a_request_may_take_the_whole_pool() -> None:
    bench = Bench(usable_blocks=10, watermark=0.5)
    bench.add(0, prompt=38, output=2)
    assert bench.run() == [{0: 38}, {0: 1}]


def test_the_last_in_order_loses_its_blocks_with_a_reason_and_resumes_with_the_same_tokens() -> (
    None
):
    bench = Bench(usable_blocks=4)
    bench.add(0, prompt=7, output=6)
    victim = bench.add(1, prompt=6, output=6)
    bench.step()
    bench.step()
    before = bench.scheduler.table.token_ids[victim.row, :8].tolist()
    bench.add(2, prompt=1, output=1)
    assert bench.step() == {0: 1}, "request 0 needs a third block; nobody starts in its step"
    (preemption,) = bench.scheduler.preemptions
    assert (preemption.request_id, preemption.lost_tokens) == (1, 7)
    assert preemption.reason == "no KV block for request 0"
    assert (victim.status, victim.blocks, victim.tokens.tolist()) == (Status.WAITING, [], before)
    steps = bench.run()
    assert next(step for step in steps if 1 in step)[1] == 8, "all known tokens at once"
    assert not any(2 in step and 1 not in step for step in steps[:3]), "it goes before request 2"
    assert victim.tokens.tolist() == [*prompt_of(1, 6), *range(16, 22)]
    assert (victim.preemptions, victim.recomputed_tokens) == (1, 7)


def test_under_the_priority_policy_the_worst_priority_is_preempted() -> None:
    bench = Bench(usable_blocks=4, policy="priority")
    bench.add(0, prompt=6, output=6, priority=1)
    bench.add(1, prompt=7, output=6, priority=0)
    bench.step()
    bench.step()
    assert bench.step() == {1: 1}
    assert [p.request_id for p in bench.scheduler.preemptions] == [0]


def test_a_request_that_is_itself_the_last_gives_way() -> None:
    bench = Bench(usable_blocks=4)
    bench.add(0, prompt=5, output=8)
    bench.add(1, prompt=7, output=6)
    bench.step()
    bench.step()
    assert bench.step() == {0: 1}
    (preemption,) = bench.scheduler.preemptions
    assert (preemption.request_id, preemption.reason) == (1, "no KV block for request 1")


def test_preemption_takes_as_many_as_it_needs_and_no_more() -> None:
    bench = Bench(usable_blocks=6, block_size=2)
    for request_id in range(3):
        bench.add(request_id, prompt=3, output=6)
    bench.step()
    bench.step()
    assert bench.step() == {0: 1, 1: 1}, "two need a block each: the last one's two are enough"
    assert [p.request_id for p in bench.scheduler.preemptions] == [2]


def test_a_preempted_request_resumes_from_what_is_still_cached() -> None:
    bench = Bench(usable_blocks=4, prefix_caching=True)
    bench.add(0, prompt=7, output=3)
    victim = bench.add(1, prompt=6, output=6)
    for _ in range(3):
        bench.step()
    assert victim.status is Status.WAITING
    assert bench.step() == {1: 4}, "one of its two blocks was full and is still there"
    assert victim.recomputed_tokens == 3
    assert victim.cached_tokens == 0, "a prefix hit is what others had computed before"


# -- why somebody waits ---------------------------------------------------------------------------


def blocked(bench: Bench) -> list[str]:
    """Why the first waiting request was left out, step by step until nothing is left."""
    seen = []
    while bench.scheduler.has_work:
        bench.step()
        seen.append(bench.scheduler.blocked)
    return seen


def test_nobody_waits_nothing_blocks() -> None:
    bench = Bench()
    bench.add(0, prompt=3, output=2)
    assert blocked(bench) == ["", ""]


def test_rows_that_are_taken_block() -> None:
    bench = Bench(max_num_seqs=2)
    for request_id in range(3):
        bench.add(request_id, prompt=2, output=2)
    assert blocked(bench) == ["seqs", "seqs", "", ""]


def test_a_budget_that_is_used_up_blocks() -> None:
    bench = Bench(max_num_seqs=4, max_num_batched_tokens=4)
    bench.add(0, prompt=9, output=1)
    bench.add(1, prompt=2, output=1)
    assert blocked(bench) == ["tokens", "tokens", ""], "the last chunk leaves room for both"


def test_without_chunking_a_prompt_that_does_not_fit_the_budget_is_blocked_by_it() -> None:
    limits = {"max_num_seqs": 4, "max_num_batched_tokens": 16, "max_model_len": 16}
    bench = Bench(chunked_prefill=False, **limits)
    bench.add(0, prompt=10, output=1)
    bench.add(1, prompt=10, output=1)
    assert blocked(bench) == ["tokens", ""]


@pytest.mark.parametrize("watermark", [0.0, 0.3])
def test_blocks_that_are_not_there_block(watermark: float) -> None:
    bench = Bench(usable_blocks=10, watermark=watermark)
    bench.add(0, prompt=14, output=2)
    bench.step()
    bench.add(1, prompt=16 if watermark else 28, output=1)
    assert blocked(bench) == ["blocks", ""]


def test_a_step_that_preempts_says_so() -> None:
    bench = Bench(usable_blocks=4)
    bench.add(0, prompt=7, output=6)
    bench.add(1, prompt=6, output=6)
    bench.step()
    bench.step()
    bench.add(2, prompt=1, output=1)
    bench.step()
    assert bench.scheduler.preemptions and bench.scheduler.blocked == "preempted"
    bench.step()
    assert bench.scheduler.blocked == "blocks", "its two blocks are not there yet"


def test_a_static_batch_that_is_closed_blocks() -> None:
    bench = Bench(batching="static", max_num_seqs=2)
    for request_id in range(3):
        bench.add(request_id, prompt=2, output=2)
    assert blocked(bench) == ["batch", "batch", "", ""]


# -- static batching ----------------------------------------------------------------------------


def test_a_static_batch_ends_before_the_next_is_formed() -> None:
    bench = Bench(batching="static", max_num_seqs=2)
    bench.add(0, prompt=2, output=2)
    bench.add(1, prompt=2, output=4)
    bench.add(2, prompt=2, output=1)
    assert bench.run() == [{0: 2, 1: 2}, {0: 1, 1: 1}, {1: 1}, {1: 1}, {2: 2}]


def test_who_comes_after_a_static_batch_was_formed_waits_for_its_end() -> None:
    bench = Bench(batching="static")
    bench.add(0, prompt=2, output=3)
    bench.step()
    bench.add(1, prompt=2, output=1)
    assert bench.run() == [{0: 1}, {0: 1}, {1: 2}]


def test_a_static_batch_holds_its_decodes_until_all_of_it_is_prefilled() -> None:
    bench = Bench(batching="static", max_num_seqs=4, max_num_batched_tokens=4)
    bench.add(0, prompt=3)
    bench.add(1, prompt=6)
    assert bench.step() == {0: 3, 1: 1}
    assert bench.step() == {1: 4}
    assert bench.step() == {1: 1}
    assert bench.step() == {0: 1, 1: 1}


def test_a_static_batch_that_finds_no_more_blocks_starts_as_it_is() -> None:
    bench = Bench(usable_blocks=4, batching="static")
    bench.add(0, prompt=7, output=2)
    bench.add(1, prompt=12, output=1)
    assert bench.run() == [{0: 7}, {0: 1}, {1: 12}]


def test_a_static_batch_goes_on_when_who_it_waited_for_is_cancelled() -> None:
    bench = Bench(batching="static", max_num_seqs=4, max_num_batched_tokens=4)
    bench.add(0, prompt=4, output=2)
    bench.add(1, prompt=6)
    assert bench.step() == {0: 4}
    bench.scheduler.remove(1, Status.CANCELLED)
    assert bench.run() == [{0: 1}]


def test_a_preempted_request_joins_the_next_static_batch() -> None:
    bench = Bench(usable_blocks=4, batching="static")
    bench.add(0, prompt=7, output=4)
    bench.add(1, prompt=6, output=4)
    assert bench.run() == [{0: 7, 1: 6}, {0: 1, 1: 1}, {0: 1}, {0: 1}, {1: 8}, {1: 1}]


# -- ends ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "output", "reason"),
    [
        (0, 1, "at least one prompt token"),
        (1, 0, "one output token"),
        (60, 5, "prompt 60 + output 5 tokens exceed max_model_len 64"),
        (40, 5, "needs 12 KV blocks, the pool has 10"),
    ],
)
def test_what_can_never_finish_is_rejected_with_its_reason(
    prompt: int, output: int, reason: str
) -> None:
    bench = Bench(usable_blocks=10)
    request = Request(0, 0, np.arange(prompt, dtype=np.int32), output)
    said = bench.scheduler.reason_to_reject(request)
    assert said is not None and reason in said


def test_what_just_fits_is_served() -> None:
    bench = Bench(usable_blocks=16, max_model_len=64)
    sequence = bench.add(0, prompt=60, output=4)
    bench.run()
    assert (sequence.status, sequence.num_tokens) == (Status.OK, 64)


@pytest.mark.parametrize(("ignore_eos", "tokens"), [(False, 1), (True, 5)])
def test_a_stop_token_ends_a_request_unless_it_is_ignored(ignore_eos: bool, tokens: int) -> None:
    bench = Bench()
    bench.says[0] = STOP
    sequence = bench.add(0, prompt=4, output=5, ignore_eos=ignore_eos)
    bench.run()
    assert sequence.num_tokens - sequence.num_prompt == tokens
    assert sequence.status is Status.OK


def test_a_stop_token_inside_the_prompt_ends_nothing() -> None:
    bench = Bench()
    sequence = bench.add(0, [STOP, STOP, STOP], output=3, ignore_eos=False)
    bench.run()
    assert sequence.num_tokens == 6


def test_a_stop_token_ends_only_its_own_request() -> None:
    bench = Bench()
    bench.add(0, prompt=4, output=3, ignore_eos=False)
    bench.add(1, prompt=4, output=3, ignore_eos=False)
    bench.step()
    bench.says[1] = STOP
    bench.step()
    assert bench.ended == [1]
    bench.step()
    assert bench.ended == [0]


def test_cancelling_frees_the_blocks_wherever_the_request_is() -> None:
    bench = Bench(max_num_seqs=1)
    running, waiting = bench.add(0, prompt=9), bench.add(1, prompt=9)
    bench.step()
    bench.step()
    assert bench.scheduler.remove(1, Status.CANCELLED) is waiting
    assert bench.scheduler.remove(0, Status.CANCELLED) is running
    assert running.status is waiting.status is Status.CANCELLED
    assert (bench.pool.num_live, bench.scheduler.has_work) == (0, False)
    assert running.tokens.tolist() == [*prompt_of(0, 9), 9, 10], "with the tokens it had"
    assert bench.scheduler.remove(0, Status.CANCELLED) is None
    assert bench.step() == {}


def test_an_id_is_free_again_when_its_request_has_ended() -> None:
    bench = Bench()
    bench.add(0, prompt=2, output=1)
    with pytest.raises(IntegrityError, match="id 0 is in use"):
        bench.add(0, prompt=2)
    bench.run()
    bench.add(0, prompt=2, output=1)
    assert bench.run() == [{0: 2}]


def test_a_worker_that_returns_too_few_tokens_is_caught() -> None:
    bench = Bench()
    bench.add(0, prompt=2)
    plan = bench.scheduler.schedule(0)
    assert plan is not None
    with pytest.raises(IntegrityError, match="1 rows sample but 0 tokens"):
        bench.scheduler.commit(plan, np.empty(0, np.int32), 1, 2)


# -- stamps and stages --------------------------------------------------------------------------


def stages_ns(record: RequestRecord) -> dict[str, int]:
    """The stages of TTFT as metrics define them."""
    transferred = record.prefilled_ns if record.transferred_ns < 0 else record.transferred_ns
    return {
        "wait": record.admitted_ns - record.scheduled_ns,
        "queue": record.started_ns - record.admitted_ns,
        "prefill": record.prefilled_ns - record.started_ns - record.ttft_recompute_ns,
        "transfer": transferred - record.prefilled_ns,
        "first_decode": record.first_token_ns - transferred,
        "recompute": record.ttft_recompute_ns,
    }


def test_stamps_follow_a_request_through_its_steps() -> None:
    bench = Bench(max_num_seqs=1, max_num_batched_tokens=4)
    bench.add(0, prompt=4, output=2)
    sequence = bench.add(1, prompt=6, output=3)
    bench.run()
    record = record_of(sequence, 9_999)
    assert (record.scheduled_ns, record.admitted_ns) == (300, 500)
    assert record.started_ns == 3_100, "steps 1 and 2 were request 0's"
    assert record.prefilled_ns == record.first_token_ns == 4_900
    assert (record.last_token_ns, record.finished_ns) == (6_900, 9_999)
    assert (record.output_tokens, record.first_tokens) == (3, 1)
    assert stages_ns(record) == {
        "wait": 200, "queue": 2_600, "prefill": 1_800,
        "transfer": 0, "first_decode": 0, "recompute": 0,
    }  # fmt: skip


def test_stages_that_were_not_reached_have_no_stamp() -> None:
    bench = Bench(max_num_seqs=4, max_num_batched_tokens=4)
    begun, waiting = bench.add(0, prompt=9), bench.add(1, prompt=9)
    bench.step()
    for request_id in (0, 1):
        bench.scheduler.remove(request_id, Status.UNFINISHED)
    record = record_of(begun, 2_000)
    assert (record.status, record.started_ns) == ("unfinished", 1_100)
    assert record.prefilled_ns == record.first_token_ns == record.last_token_ns == NOT_REACHED
    assert (record.output_tokens, record.first_tokens) == (0, 0)
    assert record_of(waiting, 2_000).started_ns == NOT_REACHED


def preempted_in_prefill() -> tuple[Bench, Sequence]:
    """Request 1 has computed 12 of 13 prompt tokens when step 6 takes its blocks."""
    bench = Bench(usable_blocks=6, max_num_seqs=2, max_num_batched_tokens=4)
    bench.add(0, prompt=5, output=5)
    sequence = bench.add(1, prompt=13, output=2)
    assert [bench.step() for _ in range(6)] == [
        {0: 4}, {0: 1, 1: 3}, {0: 1, 1: 3}, {0: 1, 1: 3}, {0: 1, 1: 3}, {0: 1},
    ]  # fmt: skip
    assert sequence.status is Status.WAITING
    return bench, sequence


def test_time_lost_to_preemption_is_told_apart_and_the_stages_sum_to_ttft() -> None:
    bench, sequence = preempted_in_prefill()
    bench.scheduler.remove(0, Status.CANCELLED)
    assert bench.run() == [{1: 4}, {1: 4}, {1: 4}, {1: 1}, {1: 1}]
    record = record_of(sequence, 12_000)
    assert (record.preemptions, record.recomputed_tokens) == (1, 12)
    assert record.recompute_ns == record.ttft_recompute_ns == 9_900 - 6_000
    assert stages_ns(record) == {
        "wait": 200, "queue": 1_600, "prefill": 10_900 - 2_100 - 3_900,
        "transfer": 0, "first_decode": 0, "recompute": 3_900,
    }  # fmt: skip
    assert sum(stages_ns(record).values()) == record.first_token_ns - record.scheduled_ns


def test_only_tokens_that_were_really_computed_again_count_as_recomputed() -> None:
    bench, sequence = preempted_in_prefill()
    bench.scheduler.remove(0, Status.CANCELLED)
    assert bench.step() == {1: 4}
    bench.scheduler.remove(1, Status.CANCELLED)
    assert record_of(sequence, 8_000).recomputed_tokens == 4, "it was to be 12, but it ended first"


def test_time_lost_after_the_first_token_is_no_part_of_ttft() -> None:
    bench = Bench(usable_blocks=4)
    bench.add(0, prompt=7, output=4)
    victim = bench.add(1, prompt=6, output=4)
    bench.run()
    record = record_of(victim, 9_999)
    assert record.preemptions == 1
    assert record.ttft_recompute_ns == 0
    assert record.recompute_ns == 5_900 - 3_000, "preempted in step 3, computed again in step 5"
    assert sum(stages_ns(record).values()) == record.first_token_ns - record.scheduled_ns == 1_600


@pytest.mark.parametrize("batching", ["continuous", "static"])
def test_the_engine_hands_out_every_record_once_with_exact_stages(batching: str) -> None:
    clock = iter(range(0, 10**9, 7))
    config = SchedulerConfig(
        max_num_seqs=3, max_num_batched_tokens=5, max_model_len=32, batching=batching, watermark=0.0
    )
    scheduler = Scheduler(config, BlockPool(11, 4, prefix_caching=False))
    worker = FakeWorker(11, 4, 32)
    engine = MonolithicEngine(scheduler, worker, lambda: next(clock), Ranges())
    records: dict[int, RequestRecord] = {}
    for request_id in range(12):
        prompt = prompt_of(request_id, 5 + request_id)
        worker.truths[request_id] = Truth(prompt, 12)
        assert engine.submit(Request(request_id, -3, np.array(prompt, np.int32), 12)) is None
    rejected = engine.submit(Request(12, 0, np.arange(40, dtype=np.int32), 12))
    assert rejected is not None and rejected.status == "rejected"
    preemptions = emitted = 0
    while engine.has_work:
        result = engine.step()
        assert result is not None
        emitted += int(result.emitted_tokens.sum())
        preemptions += sum(event.kind == "preempt" for event in result.events)
        for record in result.records:
            assert record.request_id not in records
            records[record.request_id] = record
    assert sorted(records) == list(range(12))
    assert preemptions == sum(record.preemptions for record in records.values()) > 0
    assert emitted == 12 * 12
    for record in records.values():
        stages = stages_ns(record)
        assert sum(stages.values()) == record.first_token_ns - record.scheduled_ns
        assert min(stages.values()) >= 0


# -- settings and integrity ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"max_num_seqs": 0}, "max_num_seqs = 0"),
        ({"max_model_len": 0}, "max_model_len = 0"),
        ({"max_num_seqs": 9, "max_num_batched_tokens": 8}, "less than max_num_seqs"),
        (
            {"chunked_prefill": False, "max_num_batched_tokens": 300, "max_model_len": 301},
            "without chunked prefill",
        ),
        ({"policy": "fifo"}, "fcfs, priority"),
        ({"batching": "dynamic"}, "continuous, static"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(EngineConfigError, match=says):
        SchedulerConfig(**settings)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda s, t: t.block_tables.__setitem__((s[0].row, 0), 9), "block table differs"),
        (lambda s, t: t.block_tables.__setitem__((s[0].row, 9), 9), "behind its table's end"),
        (lambda s, t: s[1].blocks.__setitem__(0, s[0].blocks[0]), "references"),
        (lambda s, t: t.num_computed.__setitem__(s[0].row, 99), "99 computed of"),
        (lambda s, t: s.reverse(), "out of order"),
    ],
)
def test_the_integrity_check_sees_damage(damage: Any, complaint: str) -> None:
    bench = Bench()
    bench.add(0, prompt=6)
    bench.add(1, prompt=6)
    bench.step()
    damage(bench.scheduler.running, bench.scheduler.table)
    with pytest.raises(IntegrityError, match=complaint):
        bench.scheduler.check_integrity()


def test_the_integrity_check_sees_a_shared_block_that_may_be_written() -> None:
    bench = Bench(prefix_caching=True)
    sequences = [bench.add(n, prompt_of(9, 8 + n)) for n in range(2)]
    bench.step()
    for sequence in sequences:
        bench.scheduler.table.num_computed[sequence.row] = 3
    with pytest.raises(IntegrityError, match="published block"):
        bench.scheduler.check_integrity()
