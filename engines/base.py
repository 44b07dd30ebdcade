"""What every engine is: the contract that a runner drives and a recorder reads."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from engines.scheduling.sequence import NOT_REACHED, Sequence, Status
from workloads.request import Request

Clock = Callable[[], int]
"""Nanoseconds since the run's start, on one monotonic clock."""


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request's whole story, written once, when it ends.

    Stamps (`_ns`) are nanoseconds since the run's start, -1 where a stage was not reached.

    Attributes:
        status: "ok", "failed", "cancelled", "rejected" or "unfinished".
        reason: why it did not end "ok"; empty otherwise.
        first_tokens: output tokens in the first emission (the n_first of TPOT).
        cached_tokens: prompt tokens served from the prefix cache.
        recomputed_tokens: tokens computed again after preemptions.
        recompute_ns: time from each preemption to the end of the step that had computed the lost
            tokens again; `ttft_recompute_ns` is the part before the first token.
        session_id, turn: its conversation and place there; -1 for a request that stands alone.
        output_token_ids: int32 `[output_tokens]`, for traffic that goes on from the answer; no
            part of what is saved. A remote server's text in this program's tokens, and None
            where nobody asked for it.
    """

    request_id: int
    status: str
    reason: str
    scheduled_ns: int
    admitted_ns: int
    started_ns: int
    prefilled_ns: int
    transferred_ns: int
    first_token_ns: int
    last_token_ns: int
    finished_ns: int
    prompt_tokens: int
    max_tokens: int
    output_tokens: int
    first_tokens: int
    cached_tokens: int
    preemptions: int
    recomputed_tokens: int
    recompute_ns: int
    ttft_recompute_ns: int
    priority: int
    fitted: bool
    session_id: int = -1
    turn: int = -1
    output_token_ids: npt.NDArray[np.int32] | None = None


def record_of(sequence: Sequence, finished_ns: int, reason: str = "") -> RequestRecord:
    """The record of a sequence that has left its scheduler."""
    request = sequence.request
    output_tokens = sequence.num_tokens - sequence.num_prompt
    return RequestRecord(
        request_id=request.request_id,
        status=str(sequence.status),
        reason=reason,
        scheduled_ns=request.scheduled_ns,
        admitted_ns=sequence.admitted_ns,
        started_ns=sequence.started_ns,
        prefilled_ns=sequence.prefilled_ns,
        transferred_ns=NOT_REACHED,
        first_token_ns=sequence.first_token_ns,
        last_token_ns=sequence.last_token_ns,
        finished_ns=finished_ns,
        prompt_tokens=sequence.num_prompt,
        max_tokens=request.max_tokens,
        output_tokens=output_tokens,
        first_tokens=min(output_tokens, 1),
        cached_tokens=sequence.cached_tokens,
        preemptions=sequence.preemptions,
        recomputed_tokens=sequence.recomputed_tokens,
        recompute_ns=sequence.recompute_ns,
        ttft_recompute_ns=sequence.recompute_before_first_ns,
        priority=request.priority,
        fitted=request.fitted,
        session_id=request.session_id,
        turn=request.turn,
        output_token_ids=sequence.output_token_ids,
    )


def rejection(request: Request, now_ns: int, reason: str) -> RequestRecord:
    """The record of a request that an engine never took in."""
    return RequestRecord(
        request_id=request.request_id,
        status=str(Status.REJECTED),
        reason=reason,
        scheduled_ns=request.scheduled_ns,
        admitted_ns=NOT_REACHED,
        started_ns=NOT_REACHED,
        prefilled_ns=NOT_REACHED,
        transferred_ns=NOT_REACHED,
        first_token_ns=NOT_REACHED,
        last_token_ns=NOT_REACHED,
        finished_ns=now_ns,
        prompt_tokens=request.prompt_tokens,
        max_tokens=request.max_tokens,
        output_tokens=0,
        first_tokens=0,
        cached_tokens=0,
        preemptions=0,
        recomputed_tokens=0,
        recompute_ns=0,
        ttft_recompute_ns=0,
        priority=request.priority,
        fitted=request.fitted,
        session_id=request.session_id,
        turn=request.turn,
    )


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """Something that a log should show.

    Attributes:
        kind: "prefill" (a chunk of a prompt was computed), "preempt" or "evict".
        tokens: tokens of the chunk, tokens lost, or blocks evicted.
    """

    kind: str
    request_id: int
    tokens: int
    detail: str = ""


NO_STEP = -1
"""The index of a `StepResult` that tells of no computed step."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step of one worker, as it is recorded.

    Attributes:
        index: from 0, without gaps; `NO_STEP` for what a remote server was seen to do meanwhile,
            which is no step of ours: it has emissions with stamps of their own, records and
            events, and the rest is 0; and for requests that failed as no step could be computed.
        kind: "prefill", "decode" or "mixed"; "remote" or "none" for no step.
        schedule_ns: host time spent on planning it.
        start_ns, end_ns: from its launch until the sampled tokens are on the host. A step that
            was launched while the one before it ran starts when that one ended, so that steps
            never overlap and their durations sum to no more than the time that went by.
        emitted_ids: int64 `[n]`, requests that got tokens; `emitted_tokens`: int64 `[n]`, how many.
        emitted_ns: int64 `[n]`, when each of them did; None where all did at `end_ns`.
        running, waiting: requests after the step; who entered the one that is in flight by then
            is running.
        live_blocks, cached_blocks: of the KV pool, after the step and with what that one holds.
        records: requests that ended in this step.
        worker: which worker computed it, from 0.
        blocked: why the first waiting request was left out when it was planned: "seqs", "tokens",
            "blocks", "batch" or "preempted", as `Scheduler.blocked` has it; "" where nobody was.
        launch_ns: host time spent on launching it, after its planning; -1 where it isn't known.
        gpu_start_ns, gpu_end_ns: when the GPU began with it and was done; -1 where there is none.
        planned_ns: when its planning began, before the end of the step before it where they
            overlap; -1 where it isn't known.
    """

    index: int
    kind: str
    schedule_ns: int
    start_ns: int
    end_ns: int
    num_seqs: int
    prefill_tokens: int
    decode_tokens: int
    emitted_ids: npt.NDArray[np.int64]
    emitted_tokens: npt.NDArray[np.int64]
    running: int
    waiting: int
    live_blocks: int
    cached_blocks: int
    records: list[RequestRecord] = field(default_factory=list)
    events: list[EngineEvent] = field(default_factory=list)
    emitted_ns: npt.NDArray[np.int64] | None = None
    worker: int = 0
    blocked: str = ""
    launch_ns: int = -1
    gpu_start_ns: int = -1
    gpu_end_ns: int = -1
    planned_ns: int = -1


@dataclass(frozen=True, slots=True)
class PoolState:
    """KV blocks of one pool, in blocks; `usable` = live + cached + free.

    Attributes:
        block_size: tokens of a block.
        live_by_references: of `live`, those that 1, 2 to 3, 4 to 7, 8 to 15, and more block
            tables name.
        cached_by_reuses: of `cached`, those whose content was found again never, once, 2 to 3
            times, 4 to 7 times, and more since it was computed.
    """

    name: str
    block_size: int
    usable: int
    live: int
    cached: int
    free: int
    live_by_references: tuple[int, ...]
    cached_by_reuses: tuple[int, ...]

    @property
    def shared(self) -> int:
        """Live blocks that two or more block tables name."""
        return sum(self.live_by_references[1:])


@dataclass(frozen=True, slots=True)
class EngineState:
    """What an engine holds at this moment."""

    running: int
    waiting: int
    pools: tuple[PoolState, ...]


class Engine(ABC):
    """Takes requests in, computes them step by step, and hands out what happened.

    One thread drives an engine: `submit` what has arrived, `step` while `has_work`. A request's
    record comes out exactly once: from `submit` if it is rejected, in a step's `records` when it
    ends, or from `cancel`.
    """

    name: str
    keep_answers: bool = True
    """Whether records must have the answers' tokens, for engines that don't have them anyway."""

    @property
    @abstractmethod
    def has_work(self) -> bool:
        """Whether a request is waiting or running, or a step in flight."""

    @property
    @abstractmethod
    def max_model_len(self) -> int:
        """Prompt and output tokens that one request may have together: the model's and the
        scheduler's limit, and never more than the KV pool holds."""

    @abstractmethod
    def submit(self, request: Request) -> RequestRecord | None:
        """Takes a request in, now; a record at once if it could never be served."""

    @abstractmethod
    def cancel(
        self, request_id: int, status: Status = Status.CANCELLED, reason: str = ""
    ) -> RequestRecord | None:
        """Ends a request between two steps and frees its blocks; None if it isn't here.

        What a step in flight computes for it is dropped, and its stamps are those that it had.
        """

    @abstractmethod
    def step(self, until_ns: int | None = None) -> StepResult | None:
        """Computes one step, or gets the end of one in flight; None if there was nothing to do.

        `until_ns` is when the next request is due. An engine that computes pays no heed to it;
        one that waits for others (a remote server) comes back by then.
        """

    def rest(self, seconds: float) -> None:
        """Lets time pass while it has nothing to do."""
        time.sleep(seconds)

    @abstractmethod
    def request_ids(self) -> list[int]:
        """Every request that is waiting or running."""

    @abstractmethod
    def state(self) -> EngineState:
        """What it holds now; cheap, for displays."""

    @abstractmethod
    def describe(self) -> dict[str, object]:
        """Its settings as they came to be, for the run's record: JSON values only."""

    @abstractmethod
    def check_integrity(self) -> None:
        """Verifies every invariant; raises `IntegrityError` at the first that does not hold."""

    @abstractmethod
    def close(self) -> None:
        """Gives its memory back; it can't be used afterwards."""
