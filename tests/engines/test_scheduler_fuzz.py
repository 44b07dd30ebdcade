"""Random traffic through the monolithic engine's scheduler and block pool, every rule checked.

Small pools, so that preemption, eviction, prefix hits and chunks happen all the time. A failure
names its seed; `--fuzz-operations N` sets how many operations are spread over the configurations.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from fake_worker import VOCAB, FakeWorker, Truth

from engines.base import RequestRecord, StepResult
from engines.monolithic import MonolithicEngine
from engines.scheduling.blocks import BlockPool
from engines.scheduling.config import SchedulerConfig
from engines.scheduling.plan import StepPlan
from engines.scheduling.scheduler import Scheduler
from engines.scheduling.sequence import NOT_REACHED, Sequence, SequenceTable, Status
from profiles.ranges import Ranges
from workloads.request import Request, SamplingParams

WORLD_OPERATIONS = 250
"""Operations on one engine before it is drained and another is drawn."""

MAX_LEN = 48
STOP_TOKENS = (3,)


@dataclass(frozen=True, slots=True)
class Kind:
    """One point of the grid."""

    policy: str
    batching: str
    chunked_prefill: bool
    prefix_caching: bool
    block_size: int

    def __str__(self) -> str:
        chunks = "chunked" if self.chunked_prefill else "whole"
        cache = "cache" if self.prefix_caching else "nocache"
        return f"{self.policy}-{self.batching}-{chunks}-{cache}-{self.block_size}"


GRID = [
    Kind(*point)
    for point in itertools.product(
        ("fcfs", "priority"), ("continuous", "static"), (True, False), (True, False), (1, 2, 4, 16)
    )
]


class World:
    """One engine under random operations.

    Args:
        overlap: a step is planned and launched before the one in flight is settled.

    Attributes:
        offered: every request that was submitted; ended: the records that came out.
        seen: how often each thing that the fuzz is after has happened.
    """

    def __init__(self, kind: Kind, seed: int, overlap: bool) -> None:
        self.random = random.Random(seed)
        draw = self.random
        longest = -(-MAX_LEN // kind.block_size)
        usable = max(1, int(longest * draw.uniform(0.8, 1.6)))
        max_num_seqs = draw.choice((1, 2, 4, 6, 8, 8))
        least = max_num_seqs if kind.chunked_prefill else max(MAX_LEN, max_num_seqs)
        self.config = SchedulerConfig(
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=least + draw.choice((0, 2, 7, 20)),
            max_model_len=MAX_LEN,
            chunked_prefill=kind.chunked_prefill,
            policy=kind.policy,
            batching=kind.batching,
            watermark=draw.choice((0.0, 0.0, 0.01, 0.3)),
        )
        pool = BlockPool(usable + 1, kind.block_size, kind.prefix_caching)
        self.scheduler = Scheduler(self.config, pool, STOP_TOKENS)
        self.worker = FakeWorker(
            usable + 1, kind.block_size, MAX_LEN, self._check_plan, overlap, self._refuses
        )
        self.engine = MonolithicEngine(self.scheduler, self.worker, self._clock, Ranges())
        self.now_ns = 0
        self.offered: dict[int, Request] = {}
        self.ended: dict[int, RequestRecord] = {}
        self.orders: dict[int, tuple[int, int]] = {}
        self.waited_by: int | None = None
        self.patience = 0
        self.operations = 0
        self.draining = False
        self.ended_ns = 0
        self.seen: Counter[str] = Counter()
        self.stems = [[draw.randrange(VOCAB) for _ in range(MAX_LEN)] for _ in range(3)]

    def _clock(self) -> int:
        self.now_ns += self.random.randint(1, 5)
        return self.now_ns

    def _refuses(self, at: str) -> bool:
        refuses = not self.draining and self.random.random() < 0.008
        self.seen["out of memory"] += refuses
        return refuses

    # -- operations ---------------------------------------------------------------------------

    def operate(self) -> None:
        self.operations += 1
        draw = self.random.random()
        if draw < 0.26 and len(self.orders) < 24:
            self.add()
        elif draw < 0.29:
            self.cancel()
        elif draw < 0.30:
            self.seen["forgotten"] += self.scheduler.pool.forget_cached()
        else:
            self.step()
        self.engine.check_integrity()

    def add(self) -> None:
        draw = self.random
        request_id = len(self.offered)
        own = [draw.randrange(VOCAB) for _ in range(draw.choice((0, 1, 3, 8)))]
        stem = draw.choice(self.stems)[: draw.choice((0, 4, 8, 17, 24))]
        prompt = (stem + own) or [0]
        output = draw.choice((1, 5, 14, 24))
        ignore_eos = draw.random() < 0.8
        request = Request(
            request_id=request_id,
            scheduled_ns=self.now_ns - draw.randint(0, 3),
            prompt_token_ids=np.array(prompt, np.int32),
            max_tokens=output,
            sampling=SamplingParams(ignore_eos=ignore_eos),
            priority=draw.randrange(3),
        )
        self.offered[request_id] = request
        self.worker.truths[request_id] = Truth(prompt, output, () if ignore_eos else STOP_TOKENS)
        record = self.engine.submit(request)
        if record is not None:
            assert record.status == "rejected" and record.reason
            self._end(record)
            return
        by_priority = self.config.policy == "priority"
        self.orders[request_id] = (request.priority if by_priority else 0, request_id)

    def cancel(self) -> None:
        if not self.orders:
            return
        request_id = self.random.choice(list(self.orders))
        status = self.random.choice((Status.CANCELLED, Status.FAILED, Status.UNFINISHED))
        record = self.engine.cancel(request_id, status, "asked for")
        assert record is not None and record.status == status
        self._end(record)
        assert self.engine.cancel(request_id) is None

    def step(self) -> None:
        had_work = self.engine.has_work
        assert had_work or not self.orders
        result = self.engine.step()
        assert (result is not None) == had_work, "a step computes something if there is work"
        if result is None:
            return
        assert self.ended_ns <= result.start_ns <= result.end_ns, "steps overlap"
        self.ended_ns = result.end_ns
        self.seen[result.kind] += 1
        self.seen["evicted"] += sum(e.tokens for e in result.events if e.kind == "evict")
        for event in result.events:
            if event.kind == "preempt":
                self.seen["preempted"] += 1
                assert event.tokens > 0 and event.detail
        assert (result.emitted_tokens == 1).all()
        self._check_blocked(result)
        for record in result.records:
            self._end(record)

    def _check_blocked(self, result: StepResult) -> None:
        """The reason why somebody waits is one that could hold in this step."""
        self.seen[result.blocked or "nobody waits"] += 1
        preempted = any(event.kind == "preempt" for event in result.events)
        assert preempted or result.blocked != "preempted"
        assert not preempted or result.blocked == "preempted" or self.seen["out of memory"]
        computed = result.prefill_tokens + result.decode_tokens
        if result.blocked == "seqs":
            all_taken = result.num_seqs == self.config.max_num_seqs
            assert all_taken or self.engine.overlap, "a row is kept by who is at its end"
        elif result.blocked == "tokens" and self.config.chunked_prefill:
            assert computed == self.config.max_num_batched_tokens
        elif result.blocked == "batch":
            assert self.config.batching == "static"

    # -- what must hold -----------------------------------------------------------------------

    def _check_plan(self, plan: StepPlan, table: SequenceTable) -> None:
        rows, first = plan.rows, plan.num_decodes
        assert 0 < plan.num_tokens <= self.config.max_num_batched_tokens
        assert plan.num_tokens == plan.num_new_tokens.sum() and (plan.num_new_tokens > 0).all()
        assert len(set(rows.tolist())) == len(rows) <= self.config.max_num_seqs
        assert (plan.num_computed == table.num_computed[rows]).all()
        assert (plan.num_new_tokens[:first] == 1).all()
        ends = plan.num_computed + plan.num_new_tokens
        assert (plan.samples == (ends == table.num_tokens[rows])).all()
        if not self.config.chunked_prefill:
            assert plan.samples.all(), "a prompt was cut although chunked prefill is off"
        self.seen["chunks"] += int((~plan.samples).sum())
        static = self.config.batching == "static"
        if static:
            assert plan.kind != "mixed", "a static batch decodes only when all of it is prefilled"
        if first or not static:
            ready = [
                s.row
                for s in self.scheduler.running
                if table.num_computed[s.row] >= table.prefill_target[s.row]
                and table.num_tokens[s.row] < s.max_tokens_total
            ]
            assert ready == rows[:first].tolist(), "a running decode was left out"
        self._check_progress(plan, table, static)
        if not self.draining and self.random.random() < 0.05:
            self.add()  # the one call that is allowed during a step

    def _check_progress(self, plan: StepPlan, table: SequenceTable, static: bool) -> None:
        """The first request in order is served now, or waits no longer than what runs can take.

        While it waits no other is admitted, so each step uses up some of the tokens that the
        running requests had left when its wait began.
        """
        here = self.scheduler.request_ids()
        head = min(here, key=self.orders.__getitem__)
        if head in table.request_ids[plan.rows]:
            return
        row = next((s.row for s in self.scheduler.running if s.request.request_id == head), None)
        if row is not None and table.num_tokens[row] == table.max_tokens_total[row]:
            return  # its last token is on its way
        if row is not None:
            assert static and plan.kind == "prefill", f"request {head}, first in order, was skipped"
            return
        assert self.config.policy == "priority", f"request {head} waits behind later ones"
        if head != self.waited_by:
            self.waited_by = head
            self.patience = sum(
                s.max_tokens_total - int(table.num_computed[s.row]) for s in self.scheduler.running
            )
        self.patience -= 1
        assert self.patience >= 0, f"request {head} starves"

    def _end(self, record: RequestRecord) -> None:
        request_id, request = record.request_id, self.offered[record.request_id]
        assert request_id not in self.ended, f"request {request_id} ended twice"
        self.ended[request_id] = record
        self.orders.pop(request_id, None)
        self.seen[record.status] += 1
        self.seen["cached tokens"] += record.cached_tokens
        if "out of memory" in record.reason:
            assert record.status == "failed"
            self.seen["failed for memory"] += 1
        truth, sequence = self.worker.truths[request_id], self.worker.sequences.get(request_id)
        assert record.prompt_tokens == request.prompt_tokens
        if sequence is None:
            assert record.status != "ok" and record.output_tokens == 0
            assert record.started_ns == record.first_token_ns == NOT_REACHED
            return
        known = record.prompt_tokens + record.output_tokens
        assert sequence.num_tokens == len(sequence.tokens) == known
        assert (sequence.tokens == truth.tokens[:known]).all(), f"request {request_id}: tokens"
        assert record.cached_tokens < record.prompt_tokens
        assert record.recomputed_tokens == self.worker.recomputed.get(request_id, 0)
        if record.status == "ok":
            assert record.output_tokens == truth.num_output
        self._check_stamps(record, sequence)

    @staticmethod
    def _check_stamps(record: RequestRecord, sequence: Sequence) -> None:
        assert record.scheduled_ns <= record.admitted_ns <= record.started_ns < record.finished_ns
        assert 0 <= record.ttft_recompute_ns <= record.recompute_ns
        if record.output_tokens == 0:
            assert record.first_token_ns == record.last_token_ns == NOT_REACHED
            return
        assert record.started_ns < record.prefilled_ns <= record.first_token_ns
        assert record.first_token_ns <= record.last_token_ns <= record.finished_ns
        assert (record.output_tokens == 1) == (record.first_token_ns == record.last_token_ns)
        prefill = record.prefilled_ns - record.started_ns - record.ttft_recompute_ns
        assert prefill > 0, "the stages of TTFT overlap"
        assert (record.recompute_ns > 0) <= (record.preemptions > 0)

    def drain(self) -> None:
        self.draining = True
        steps = 0
        while self.engine.has_work:
            self.step()
            self.engine.check_integrity()
            steps += 1
            assert steps < 10_000, "the engine never gets to its end"
        pool = self.scheduler.pool
        assert self.ended.keys() == self.offered.keys()
        assert not self.scheduler.running and not self.scheduler.num_waiting
        assert not self.engine.request_ids()
        assert all(pool.refcount(block) == 0 for block in range(pool.num_blocks))
        assert pool.num_live == 0 and pool.num_available == pool.num_usable
        assert (self.scheduler.table.block_tables == 0).all()


@pytest.mark.parametrize("kind", GRID, ids=str)
def test_every_rule_holds_under_random_traffic(kind: Kind, fuzz_operations: int) -> None:
    share = -(-fuzz_operations // len(GRID))
    seen: Counter[str] = Counter()
    for number in range(-(-share // WORLD_OPERATIONS)):
        seed = GRID.index(kind) * 1_000_003 + number
        world = World(kind, seed, overlap=number % 3 != 2)
        try:
            for _ in range(min(WORLD_OPERATIONS, share - number * WORLD_OPERATIONS)):
                world.operate()
            world.drain()
        except Exception as error:
            error.add_note(
                f"World(GRID[{GRID.index(kind)}], {seed=}, overlap={world.engine.overlap}), "
                f"operation {world.operations}"
            )
            raise
        seen += world.seen
        seen["past the end"] += world.worker.num_past_the_end
    if share >= 1000:
        wanted = {"ok", "cancelled", "rejected", "prefill", "decode", "preempted"}
        wanted |= {"blocks", "nobody waits", "past the end", "failed for memory"}
        wanted |= {"mixed"} if kind.batching == "continuous" else set()
        wanted |= {"chunks"} if kind.chunked_prefill else set()
        wanted |= {"cached tokens", "evicted", "forgotten"} if kind.prefix_caching else set()
        rare = {thing: seen[thing] for thing in wanted if seen[thing] < 3}
        assert not rare, f"the fuzz hardly met {rare}; it met {dict(seen)}"
