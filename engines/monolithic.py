"""The monolithic engine: one scheduler, one worker, prefill and decode in the same steps.

The arrangement of Orca (OSDI '22) and vLLM (SOSP '23): continuous batching over paged KV, with
chunked prefill (Sarathi-Serve, OSDI '24) and prefix reuse as switches.
"""

from __future__ import annotations

import numpy as np

from engines.base import (
    Clock,
    Engine,
    EngineEvent,
    EngineState,
    PoolState,
    RequestRecord,
    StepResult,
    record_of,
    rejection,
)
from engines.compute.worker import Worker
from engines.scheduling.blocks import BlockPool
from engines.scheduling.plan import StepOutcome, StepPlan
from engines.scheduling.scheduler import Scheduler
from engines.scheduling.sequence import Status
from profiles.ranges import Ranges
from workloads.request import Request


class MonolithicEngine(Engine):
    """One scheduler over one block pool, one worker."""

    name = "monolithic"

    def __init__(
        self,
        scheduler: Scheduler,
        worker: Worker,
        clock: Clock,
        ranges: Ranges,
        description: dict[str, object] | None = None,
    ) -> None:
        self.scheduler = scheduler
        self.worker = worker
        self.clock = clock
        self._span = ranges.span("step")
        self._description = description or {}
        self._steps = 0
        self._evictions = 0
        self._ones = np.ones(scheduler.config.max_num_seqs, np.int64)

    @property
    def pool(self) -> BlockPool:
        return self.scheduler.pool

    @property
    def has_work(self) -> bool:
        return self.scheduler.has_work

    @property
    def max_model_len(self) -> int:
        pool = self.pool
        return min(self.scheduler.config.max_model_len, pool.num_usable * pool.block_size)

    def submit(self, request: Request) -> RequestRecord | None:
        now_ns = self.clock()
        reason = self.scheduler.reason_to_reject(request)
        if reason is not None:
            return rejection(request, now_ns, reason)
        self.scheduler.add(request, now_ns)
        return None

    def cancel(
        self, request_id: int, status: Status = Status.CANCELLED, reason: str = ""
    ) -> RequestRecord | None:
        sequence = self.scheduler.remove(request_id, status)
        return None if sequence is None else record_of(sequence, self.clock(), reason)

    def step(self, until_ns: int | None = None) -> StepResult | None:
        with self._span.numbered(self._steps):
            planned_ns = self.clock()
            plan = self.scheduler.schedule(planned_ns)
            if plan is None:
                return None
            start_ns = self.clock()
            sampled = self.worker.execute(plan, self.scheduler.table)
            end_ns = self.clock()
            chunk_ids = self.scheduler.table.request_ids[plan.rows[plan.num_decodes :]]
            outcome = self.scheduler.commit(plan, sampled, start_ns, end_ns)
        return self._result(plan, outcome, chunk_ids.tolist(), planned_ns, start_ns, end_ns)

    def _result(
        self,
        plan: StepPlan,
        outcome: StepOutcome,
        chunk_ids: list[int],
        planned_ns: int,
        start_ns: int,
        end_ns: int,
    ) -> StepResult:
        scheduler, pool = self.scheduler, self.pool
        events = [
            EngineEvent("preempt", p.request_id, p.lost_tokens, p.reason)
            for p in scheduler.preemptions
        ]
        if chunk_ids:
            chunks = plan.num_new_tokens[plan.num_decodes :].tolist()
            events += [
                EngineEvent("prefill", request_id, tokens)
                for request_id, tokens in zip(chunk_ids, chunks, strict=True)
            ]
        if pool.evictions != self._evictions:
            events.append(EngineEvent("evict", -1, pool.evictions - self._evictions))
            self._evictions = pool.evictions
        records = []
        if outcome.finished:
            finished_ns = self.clock()
            records = [record_of(sequence, finished_ns) for sequence in outcome.finished]
        index = self._steps
        self._steps += 1
        return StepResult(
            index=index,
            kind=plan.kind,
            schedule_ns=start_ns - planned_ns,
            start_ns=start_ns,
            end_ns=end_ns,
            num_seqs=len(plan.rows),
            prefill_tokens=plan.num_prefill_tokens,
            decode_tokens=plan.num_decodes,
            emitted_ids=outcome.emitted_ids,
            emitted_tokens=self._ones[: len(outcome.emitted_ids)],
            running=len(scheduler.running),
            waiting=scheduler.num_waiting,
            live_blocks=pool.num_live,
            cached_blocks=pool.num_cached,
            records=records,
            events=events,
            blocked=scheduler.blocked,
        )

    def request_ids(self) -> list[int]:
        return self.scheduler.request_ids()

    def state(self) -> EngineState:
        pool = self.pool
        kv = PoolState(
            "kv",
            pool.block_size,
            pool.num_usable,
            pool.num_live,
            pool.num_cached,
            pool.num_available - pool.num_cached,
            pool.live_by_references,
            pool.cached_by_reuses,
        )
        return EngineState(len(self.scheduler.running), self.scheduler.num_waiting, (kv,))

    def describe(self) -> dict[str, object]:
        return dict(self._description)

    def check_integrity(self) -> None:
        self.scheduler.check_integrity()

    def close(self) -> None:
        self.worker.close()
