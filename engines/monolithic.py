"""The monolithic engine: one scheduler, one worker, prefill and decode in the same steps.

The arrangement of Orca (OSDI '22) and vLLM (SOSP '23): continuous batching over paged KV, with
chunked prefill (Sarathi-Serve, OSDI '24) and prefix reuse as switches.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engines.base import (
    NO_STEP,
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
from engines.compute.worker import Computed, Worker
from engines.errors import StepOutOfMemory
from engines.scheduling.blocks import BlockPool
from engines.scheduling.plan import StepOutcome, StepPlan, newest_in
from engines.scheduling.scheduler import Scheduler
from engines.scheduling.sequence import Status
from profiles.ranges import Ranges
from workloads.request import Request


@dataclass(slots=True)
class _Step:
    """A step that was launched, and what was known of it then."""

    plan: StepPlan
    launched: Any
    planned_ns: int
    launched_ns: int
    launch_ns: int
    blocked: str
    preemptions: list[EngineEvent]
    evictions: int
    chunk_ids: list[int] = field(default_factory=list)


class MonolithicEngine(Engine):
    """One scheduler over one block pool, one worker.

    With overlap, `step` plans and launches the next step before it waits for the tokens of the
    one in flight: the host's work is done while the device computes. A sequence that ends with a
    stop token then has a row in one step more, whose token is dropped.

    A step that does not fit into the device's memory fails its newest request, and is planned
    again without it.

    Args:
        overlap: whether to, where the worker can.
    """

    name = "monolithic"

    def __init__(
        self,
        scheduler: Scheduler,
        worker: Worker,
        clock: Clock,
        ranges: Ranges,
        description: dict[str, object] | None = None,
        overlap: bool = True,
    ) -> None:
        self.scheduler = scheduler
        self.worker = worker
        self.clock = clock
        self._span = ranges.span("step")
        self._description = description or {}
        self.overlap = overlap and worker.overlaps
        self._in_flight: _Step | None = None
        self._steps = 0
        self._end_ns = 0
        self._evictions = 0
        self._preemptions: list[EngineEvent] = []
        self._unfit: tuple[StepPlan, StepOutOfMemory] | None = None
        self._failed: list[RequestRecord] = []
        self._ones = np.ones(scheduler.config.max_num_seqs, np.int64)

    @property
    def pool(self) -> BlockPool:
        return self.scheduler.pool

    @property
    def has_work(self) -> bool:
        return self.scheduler.has_work or self._in_flight is not None

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
            while True:
                step, self._in_flight = self._in_flight or self._launch(), None
                if step is None and self._fail_unfit():
                    continue
                if step is None:
                    return self._failed_alone()
                following = self._launch() if self.overlap else None
                try:
                    computed = self.worker.collect(step.launched)
                except StepOutOfMemory as error:
                    self._take_back(step, following, error)
                    self._fail_unfit()
                    continue
                start_ns, end_ns = max(step.launched_ns, self._end_ns), self.clock()
                outcome = self.scheduler.settle(step.plan, computed.tokens, start_ns, end_ns)
                self._in_flight, self._end_ns = following, end_ns
                self._fail_unfit()
                break
        return self._result(step, computed, outcome, start_ns, end_ns)

    def _launch(self) -> _Step | None:
        """Plans the next step and launches it; None where there is none, or it doesn't fit."""
        scheduler = self.scheduler
        planned_ns = self.clock()
        plan = scheduler.schedule(planned_ns)
        if scheduler.preemptions:
            self._preemptions += [
                EngineEvent("preempt", p.request_id, p.lost_tokens, p.reason)
                for p in scheduler.preemptions
            ]
        if plan is None:
            return None
        launched_ns = self.clock()
        try:
            launched = self.worker.launch(plan, scheduler.table)
        except StepOutOfMemory as error:
            self._unfit = plan, error
            return None
        launch_ns = self.clock() - launched_ns
        scheduler.advance(plan)
        step = _Step(
            plan=plan,
            launched=launched,
            planned_ns=planned_ns,
            launched_ns=launched_ns,
            launch_ns=launch_ns,
            blocked=scheduler.blocked,
            preemptions=self._preemptions,
            evictions=self.pool.evictions - self._evictions,
        )
        if plan.num_prefill_tokens:
            step.chunk_ids = scheduler.table.request_ids[plan.rows[plan.num_decodes :]].tolist()
        self._preemptions = []
        self._evictions = self.pool.evictions
        return step

    def _take_back(self, step: _Step, following: _Step | None, error: StepOutOfMemory) -> None:
        """As if neither step had been launched: the second one rests on the first one's tokens."""
        if following is not None:
            with suppress(StepOutOfMemory):
                self.worker.collect(following.launched)
            self.scheduler.retract(following.plan)
        self.scheduler.retract(step.plan)
        for lost in (following, step):
            if lost is not None:
                self._preemptions = lost.preemptions + self._preemptions
                self._evictions -= lost.evictions
        self._unfit = step.plan, error

    def _fail_unfit(self) -> bool:
        """Ends the newest request of a step that did not fit; whether there was such a step."""
        if self._unfit is None:
            return False
        (plan, error), self._unfit = self._unfit, None
        newest = newest_in(plan, self.scheduler.table)
        if newest is not None:
            record = self.cancel(newest.request.request_id, Status.FAILED, str(error))
            assert record is not None
            self._failed.append(record)
        return True

    def _failed_alone(self) -> StepResult | None:
        """The records of requests after whose failure there is no step left to compute."""
        if not self._failed:
            return None
        now_ns = self.clock()
        records, self._failed = self._failed, []
        events, self._preemptions = self._preemptions, []
        return StepResult(
            index=NO_STEP,
            kind="none",
            schedule_ns=0,
            start_ns=now_ns,
            end_ns=now_ns,
            num_seqs=0,
            prefill_tokens=0,
            decode_tokens=0,
            emitted_ids=self._ones[:0],
            emitted_tokens=self._ones[:0],
            running=len(self.scheduler.running),
            waiting=self.scheduler.num_waiting,
            live_blocks=self.pool.num_live,
            cached_blocks=self.pool.num_cached,
            records=records,
            events=events,
        )

    def _result(
        self, step: _Step, computed: Computed, outcome: StepOutcome, start_ns: int, end_ns: int
    ) -> StepResult:
        scheduler, pool, plan = self.scheduler, self.pool, step.plan
        events = step.preemptions
        if step.chunk_ids:
            chunks = plan.num_new_tokens[plan.num_decodes :].tolist()
            events += [
                EngineEvent("prefill", request_id, tokens)
                for request_id, tokens in zip(step.chunk_ids, chunks, strict=True)
            ]
        if step.evictions:
            events.append(EngineEvent("evict", -1, step.evictions))
        records, self._failed = self._failed, []
        if outcome.finished:
            finished_ns = self.clock()
            records += [record_of(sequence, finished_ns) for sequence in outcome.finished]
        index = self._steps
        self._steps += 1
        return StepResult(
            index=index,
            kind=plan.kind,
            schedule_ns=step.launched_ns - step.planned_ns,
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
            blocked=step.blocked,
            launch_ns=step.launch_ns,
            gpu_start_ns=computed.gpu_start_ns,
            gpu_end_ns=computed.gpu_end_ns,
            planned_ns=step.planned_ns,
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
        return self._description | {"overlap": self.overlap}

    def check_integrity(self) -> None:
        self.scheduler.check_integrity()

    def close(self) -> None:
        step, self._in_flight = self._in_flight, None
        try:
            if step is not None:
                self.worker.collect(step.launched)
        finally:
            self.worker.close()
