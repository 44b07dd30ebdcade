"""Which tokens of which requests go into the next step.

Every step is one list of rows with a number of new tokens each: decodes bring one, prompts bring
a chunk. Running decodes come first, then prompts already begun, then waiting requests, until the
token budget, the sequence limit or the KV blocks run out.
"""

from __future__ import annotations

import bisect
import heapq
import operator
from collections.abc import Sequence as Row

import numpy as np
import numpy.typing as npt

from engines.errors import IntegrityError
from engines.scheduling.blocks import BlockPool
from engines.scheduling.config import SchedulerConfig
from engines.scheduling.decodes import Decodes
from engines.scheduling.flight import Flight
from engines.scheduling.integrity import check_sequences
from engines.scheduling.plan import Preemption, StepOutcome, StepPlan, plan_of
from engines.scheduling.sequence import NOT_REACHED, Sequence, SequenceTable, Status
from workloads.request import Request

_RUNNING_ORDER = operator.attrgetter("order")


class Scheduler:
    """Continuous (or static) batching over one block pool.

    `schedule` plans a step, `advance` notes that it was launched, `settle` takes its tokens in;
    `commit` is the last two. Between `schedule` and `advance` nothing else may be called but
    `add`. One more step may be planned and launched before a step is settled. All stamps are
    nanoseconds since the run's start.

    Blocks that are freed while a step is in flight may be handed out to the next one at once,
    although the step still reads or writes them: a worker computes its steps in the order in which
    they were launched, so whoever gets them writes after that.

    Attributes:
        preemptions: what the last `schedule` had to preempt.
        blocked: why the first waiting request is not in the step that it planned: "seqs" (all
            `max_num_seqs` rows are taken), "tokens" (the token budget is used up), "blocks" (no
            KV blocks), "batch" (the static batch is closed), "preempted" (nobody starts in a step
            that preempts), or "" where nobody was left waiting.
        must_settle: whether the last `schedule` gave no step because it would have to preempt
            while one is in flight, whose end may free blocks: settle that one and plan again.
    """

    def __init__(
        self, config: SchedulerConfig, pool: BlockPool, stop_token_ids: Row[int] = ()
    ) -> None:
        self.config = config
        self.pool = pool
        self.table = SequenceTable(config.max_num_seqs, config.max_model_len, pool.block_size)
        self.running: list[Sequence] = []
        self.preemptions: list[Preemption] = []
        self.blocked = ""
        self.must_settle = False
        self.num_waiting = 0
        self._by_id: dict[int, Sequence] = {}
        self._waiting: list[tuple[tuple[int, int], Sequence]] = []
        self._arrivals = 0
        self._decodes: Decodes | None = None
        self._num_prefilling = 0
        self._batch_room = 0
        self._flight = Flight(self.table, pool, stop_token_ids)
        self._watermark_blocks = int(config.watermark * pool.num_usable)

    # -- requests in and out ------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        return bool(self._by_id)

    @property
    def num_prefilling(self) -> int:
        """Running sequences whose prompt (or recomputed tokens) is not computed yet."""
        return self._num_prefilling

    def reason_to_reject(self, request: Request) -> str | None:
        """Why `request` could never finish here, or None."""
        total = request.prompt_tokens + request.max_tokens
        if request.prompt_tokens < 1 or request.max_tokens < 1:
            return "a request needs at least one prompt token and one output token"
        if total > self.config.max_model_len:
            return (
                f"prompt {request.prompt_tokens} + output {request.max_tokens} tokens exceed "
                f"max_model_len {self.config.max_model_len}"
            )
        blocks = -(-total // self.pool.block_size)
        if blocks > self.pool.num_usable:
            return f"needs {blocks} KV blocks, the pool has {self.pool.num_usable}"
        return None

    def add(self, request: Request, now_ns: int) -> Sequence:
        """Queues a request that `reason_to_reject` has let pass.

        Raises:
            IntegrityError: its id is in use.
        """
        if request.request_id in self._by_id:
            raise IntegrityError(f"request id {request.request_id} is in use")
        rank = request.priority if self.config.policy == "priority" else 0
        sequence = Sequence(request, (rank, self._arrivals), now_ns)
        self._arrivals += 1
        self._by_id[request.request_id] = sequence
        self._wait(sequence)
        return sequence

    def remove(self, request_id: int, status: Status) -> Sequence | None:
        """Takes a request out, wherever it is; None if it isn't here."""
        sequence = self._by_id.get(request_id)
        if sequence is None:
            return None
        if sequence.status is Status.RUNNING:
            self._stop_running(sequence)
        else:
            self.num_waiting -= 1
        self._end(sequence, status)
        return sequence

    def request_ids(self) -> list[int]:
        """Every request that is waiting or running."""
        return list(self._by_id)

    # -- planning -----------------------------------------------------------------------------

    def schedule(self, now_ns: int) -> StepPlan | None:
        """The next step, or None when there is nothing to compute.

        `preemptions`, `blocked` and `must_settle` then tell of this call.
        """
        self.preemptions = []
        self.blocked = ""
        self.must_settle = False
        if not self._by_id:
            return None
        config, table = self.config, self.table
        if config.batching == "static" and not self.running:
            self._batch_room = min(self.num_waiting, config.max_num_seqs)
        held = self._batch_room_open()
        decodes = None if held else self._decodes_with_room(now_ns)
        if decodes is None and not held:
            return None
        budget = config.max_num_batched_tokens - (0 if decodes is None else len(decodes.rows))
        chunks: list[tuple[int, int]] = []
        if self._num_prefilling:
            for sequence in self.running:
                row = sequence.row
                remaining = int(table.prefill_target[row] - table.num_computed[row])
                if remaining <= 0:
                    continue
                if budget == 0:
                    break
                chunk = min(remaining, budget)
                chunks.append((row, chunk))
                budget -= chunk
        if self.num_waiting and not self.preemptions:
            self._admit_waiting(budget, chunks)
        if self._batch_room and not chunks and held:
            self._batch_room = 0  # a static batch that can't grow any more starts as it is
            decodes = self._decodes_with_room(now_ns)
            if decodes is None:
                return None
        if self.preemptions:
            self.blocked = "preempted"
        return plan_of(decodes, chunks, table)

    def _decodes_with_room(self, now_ns: int) -> Decodes | None:
        """The rows that decode in this step, each with a block for the token that it computes.

        None where blocks are short with a step in flight: `must_settle` is set, nothing is done.
        """
        decodes = self._decoding()
        short = decodes.without_room()
        if short is None:
            return decodes
        if len(short) <= self.pool.num_available:
            self.table.append_blocks(decodes.rows[short], self.pool.allocate_many(len(short)))
            decodes.capacity[short] += self.pool.block_size
            return decodes
        if self._flight.num_steps:
            self.must_settle = True
            return None
        for row in decodes.rows[short].tolist():
            sequence = self.table.sequences[row]
            if sequence is not None and self._make_room(sequence, now_ns):
                self.table.append_blocks(np.array([row]), [self.pool.allocate()])
        self._decodes = None
        return self._decoding()

    def _decoding(self) -> Decodes:
        if self._decodes is None:
            running = np.array([sequence.row for sequence in self.running], np.int64)
            self._decodes = Decodes.among(running, self.table, self.pool.block_size)
        return self._decodes

    def _make_room(self, sequence: Sequence, now_ns: int) -> bool:
        """Frees a block for `sequence`, preempting the last in order; False if that was itself."""
        while not self.pool.num_available:
            victim = self.running[-1]
            self._preempt(victim, now_ns, f"no KV block for request {sequence.request.request_id}")
            if victim is sequence:
                return False
        return True

    def _admit_waiting(self, budget: int, chunks: list[tuple[int, int]]) -> None:
        """Starts waiting requests in order until one doesn't fit; `blocked` then tells why."""
        static = self.config.batching == "static"
        while (sequence := self._first_waiting()) is not None:
            if static and not self._batch_room:
                self.blocked = "batch"
                break
            if not self.table.num_free_rows:
                self.blocked = "seqs"
                break
            cached = self._allocate_prompt(sequence, budget)
            if cached is None:
                break
            heapq.heappop(self._waiting)
            self.num_waiting -= 1
            self._batch_room -= static
            self.table.enter(sequence, cached)
            sequence.status = Status.RUNNING
            bisect.insort(self.running, sequence, key=_RUNNING_ORDER)
            self._num_prefilling += 1
            chunk = min(sequence.num_tokens - cached, budget)
            chunks.append((sequence.row, chunk))
            budget -= chunk
        if not self.num_waiting:
            self._batch_room = 0

    def _allocate_prompt(self, sequence: Sequence, budget: int) -> int | None:
        """Takes blocks for all known tokens; returns how many of these are cached, None if no room.

        The last known token is always computed, as its logits are needed: a fully cached prompt
        gives back its last block. Where there is no room, `blocked` tells of what.
        """
        if not budget:
            self.blocked = "tokens"
            return None
        pool, block_size, known = self.pool, self.pool.block_size, sequence.num_tokens
        reusable = (known - 1) // block_size
        hits = pool.match(self._hashes(sequence, reusable)) if pool.prefix_caching else []
        cached = len(hits) * block_size
        if not self.config.chunked_prefill and known - cached > budget:
            self.blocked = "tokens"
            return None
        needed = -(-known // block_size) - len(hits)
        reserve = self._watermark_blocks if self.running else 0
        if pool.num_available - pool.num_revived(hits) - needed < reserve:
            self.blocked = "blocks"
            return None
        pool.acquire(hits)
        sequence.blocks = hits + pool.allocate_many(needed)
        sequence.num_published = len(hits)
        if not sequence.preemptions:
            sequence.cached_tokens = cached
        return cached

    def _hashes(self, sequence: Sequence, count: int) -> list[bytes]:
        """Content names of the first `count` blocks of a sequence that waits."""
        return sequence.name_blocks(count, sequence.tokens, self.pool.block_size)[:count]

    # -- steps on their way -------------------------------------------------------------------

    def advance(self, plan: StepPlan) -> None:
        """Notes that the step that `schedule` has planned last was launched.

        Its tokens have places from now on, so that the next step can be planned.
        """
        table, first, decodes = self.table, plan.num_decodes, self._decodes
        ends = plan.num_computed + plan.num_new_tokens
        table.num_computed[plan.rows] = ends
        prefilled, ends_by_length = 0, False
        if first == len(plan.rows):
            table.num_tokens[plan.rows] = ends + 1
        else:
            sampling, places = plan.rows[plan.samples], ends[plan.samples] + 1
            table.num_tokens[sampling] = places
            ends_by_length = bool(np.any(places >= table.max_tokens_total[sampling]))
            prefilled = len(sampling) - first
            self._num_prefilling -= prefilled
        if first:
            assert decodes is not None
            decodes.computed = ends[:first]
            decodes.steps_left -= 1
            ends_by_length |= not decodes.steps_left
        if prefilled or ends_by_length:
            self._decodes = None
        self._flight.launched(plan, ends_by_length)

    def settle(
        self, plan: StepPlan, sampled: npt.NDArray[np.int32], start_ns: int, end_ns: int
    ) -> StepOutcome:
        """Takes in the tokens that a launched step sampled, one for each row that `samples`.

        The token of a row whose sequence has left meanwhile (cancelled, failed, or ended by a
        stop token of the step before) is dropped. With a step in flight a prompt finds the blocks
        that others fill a step later than without, so it may have fewer cached tokens; the tokens
        that it is answered with are the same.

        Raises:
            IntegrityError: another number of tokens came back, or another step is next.
        """
        emitted_ids, ended = self._flight.settle(plan, sampled, start_ns, end_ns)
        outcome = StepOutcome(emitted_ids)
        for row in ended:
            sequence = self.table.sequences[row]
            assert sequence is not None
            self._stop_running(sequence)
            self._end(sequence, Status.OK)
            outcome.finished.append(sequence)
        return outcome

    def commit(
        self, plan: StepPlan, sampled: npt.NDArray[np.int32], start_ns: int, end_ns: int
    ) -> StepOutcome:
        """`advance` and `settle` of a step that nothing overlaps. Raises as `settle` does."""
        self.advance(plan)
        return self.settle(plan, sampled, start_ns, end_ns)

    def retract(self, plan: StepPlan) -> None:
        """Undoes `advance` of the step that was launched last: it was not computed.

        Raises:
            IntegrityError: another step was launched last.
        """
        self._num_prefilling += self._flight.retract(plan)
        self._decodes = None

    # -- moving sequences ---------------------------------------------------------------------

    def _preempt(self, sequence: Sequence, now_ns: int, reason: str) -> None:
        lost = int(self.table.num_computed[sequence.row])
        self._stop_running(sequence)
        sequence.lost_until = max(sequence.lost_until, lost)
        if sequence.preempted_ns == NOT_REACHED:
            sequence.preempted_ns = now_ns
        sequence.preemptions += 1
        self.preemptions.append(Preemption(sequence.request.request_id, lost, reason))
        self._wait(sequence)

    def _wait(self, sequence: Sequence) -> None:
        sequence.status = Status.WAITING
        heapq.heappush(self._waiting, (sequence.order, sequence))
        self.num_waiting += 1

    def _stop_running(self, sequence: Sequence) -> None:
        row = sequence.row
        if self.table.num_computed[row] < self.table.prefill_target[row]:
            self._num_prefilling -= 1
        self.table.leave(sequence)
        self.pool.release(sequence.blocks)
        sequence.blocks = []
        sequence.num_published = 0
        index = bisect.bisect_left(self.running, sequence.order, key=_RUNNING_ORDER)
        del self.running[index]
        self._decodes = None

    def _end(self, sequence: Sequence, status: Status) -> None:
        sequence.status = status
        del self._by_id[sequence.request.request_id]

    def _first_waiting(self) -> Sequence | None:
        while self._waiting:
            sequence = self._waiting[0][1]
            if sequence.status is Status.WAITING:
                return sequence
            heapq.heappop(self._waiting)  # it was cancelled while it waited
        return None

    def _batch_room_open(self) -> bool:
        """In static batching: the batch is still forming or prefilling, so decodes are held."""
        return self.config.batching == "static" and bool(self._batch_room or self._num_prefilling)

    # -- invariants ---------------------------------------------------------------------------

    def check_integrity(self) -> None:
        """Verifies the pool and the table against the sequences; for tests and when idle.

        Raises:
            IntegrityError: the first invariant that does not hold.
        """
        check_sequences(self.running, self.table, self.pool)
        live = sum(sequence.status is Status.WAITING for sequence in self._by_id.values())
        if live != self.num_waiting or live + len(self.running) != len(self._by_id):
            raise IntegrityError("waiting and running requests do not add up")
        if not self._by_id and self.pool.num_live:
            raise IntegrityError(f"{self.pool.num_live} blocks are held although nothing is left")
