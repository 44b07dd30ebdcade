"""Steps that were launched and not settled yet, and what a settled one means for its sequences:
tokens, stamps, published blocks, and ends.

A step may be settled when the next one is launched already. So nothing here goes by what the
table says is computed, but by the plan of the step itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence as Row
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.errors import IntegrityError
from engines.scheduling.blocks import BlockPool
from engines.scheduling.plan import StepPlan
from engines.scheduling.publication import Publication
from engines.scheduling.sequence import NOT_REACHED, Sequence, SequenceTable

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Launched:
    """A step in flight, and how many sequences had left the table when it was launched."""

    plan: StepPlan
    num_left: int
    ends_by_length: bool


class Flight:
    """The steps of one table that are in flight, first launched first."""

    def __init__(self, table: SequenceTable, pool: BlockPool, stop_token_ids: Row[int]) -> None:
        self._table = table
        self._prefix_caching = pool.prefix_caching
        self._publication = Publication(table, pool)
        self._stops = tuple(stop_token_ids)
        self._token_ids = table.token_ids.reshape(-1)
        self._steps: deque[_Launched] = deque()

    @property
    def num_steps(self) -> int:
        return len(self._steps)

    def launched(self, plan: StepPlan, ends_by_length: bool) -> None:
        """Takes up a step; `ends_by_length`: some row reaches its last token in it."""
        self._steps.append(_Launched(plan, self._table.num_left, ends_by_length))

    def settle(
        self, plan: StepPlan, sampled: npt.NDArray[np.int32], start_ns: int, end_ns: int
    ) -> tuple[Ints, list[int]]:
        """Takes in the tokens of the step that was launched first.

        Returns:
            Requests that got a token, int64 `[n]`, and the rows that end with theirs.

        Raises:
            IntegrityError: another number of tokens came back, or another step is next.
        """
        if not self._steps or self._steps[0].plan is not plan:
            raise IntegrityError("a step was settled that is not the first of those in flight")
        if len(sampled) != plan.num_samples:
            raise IntegrityError(
                f"{plan.num_samples} rows sample but {len(sampled)} tokens came back"
            )
        table, step = self._table, self._steps.popleft()
        if step.num_left != table.num_left:
            kept = plan.epochs == table.epoch[plan.rows]
            if not kept.all():
                sampled = sampled[kept[plan.samples]]
                plan = plan.only(kept)
        rows, ends = plan.rows, plan.num_computed + plan.num_new_tokens
        sampling, positions = rows, ends
        if plan.num_decodes < len(rows):
            sampling, positions = rows[plan.samples], ends[plan.samples]
        self._token_ids[sampling * table.max_model_len + positions] = sampled
        table.num_settled[sampling] = positions + 1
        table.last_token_ns[sampling] = end_ns
        if plan.num_decodes < len(rows):
            self._note_prefills(plan, start_ns, end_ns)
        if self._prefix_caching:
            self._publication.publish(plan, ends)
        ended = self._ended_by_stop(sampling, sampled)
        if step.ends_by_length:
            full = table.num_settled[sampling] >= table.max_tokens_total[sampling]
            ended = list(dict.fromkeys(ended + sampling[full].tolist()))
        return table.request_ids[sampling], ended

    def retract(self, plan: StepPlan) -> int:
        """Gives up the step that was launched last; its rows are as before it.

        Returns:
            How many of them are prefilling again.

        Raises:
            IntegrityError: another step was launched last.
        """
        if not self._steps or self._steps[-1].plan is not plan:
            raise IntegrityError("a step was retracted that is not the last of those in flight")
        self._steps.pop()
        table = self._table
        plan = plan.only(plan.epochs == table.epoch[plan.rows])
        table.num_computed[plan.rows] = plan.num_computed
        table.num_tokens[plan.rows[plan.samples]] -= 1
        return int(np.count_nonzero(plan.samples[plan.num_decodes :]))

    def _ended_by_stop(self, sampling: Ints, sampled: npt.NDArray[np.int32]) -> list[int]:
        """Which of the rows were given a token that stops them."""
        if not self._stops:
            return []
        stopped = sampled == self._stops[0]
        for stop in self._stops[1:]:
            stopped |= sampled == stop
        if not np.count_nonzero(stopped):
            return []
        rows = sampling[stopped]
        ended: list[int] = rows[self._table.stops[rows]].tolist()
        return ended

    def _note_prefills(self, plan: StepPlan, start_ns: int, end_ns: int) -> None:
        """Stamps for the rows that were prefilling: the few, so a loop."""
        first = plan.num_decodes
        for row, computed, new, samples in zip(
            plan.rows[first:].tolist(),
            plan.num_computed[first:].tolist(),
            plan.num_new_tokens[first:].tolist(),
            plan.samples[first:].tolist(),
            strict=True,
        ):
            sequence = self._table.sequences[row]
            assert sequence is not None
            if sequence.started_ns == NOT_REACHED:
                sequence.started_ns = start_ns
            if sequence.lost_until:
                self._note_recompute(sequence, computed, computed + new, end_ns)
            if samples and sequence.first_token_ns == NOT_REACHED:
                sequence.prefilled_ns = end_ns
                sequence.first_token_ns = end_ns

    @staticmethod
    def _note_recompute(sequence: Sequence, start: int, end: int, end_ns: int) -> None:
        """Counts the tokens `start:end` that it had before a preemption, and the time it cost."""
        sequence.recomputed_tokens += max(0, min(end, sequence.lost_until) - start)
        if end < sequence.lost_until:
            return
        lost_ns = end_ns - sequence.preempted_ns
        sequence.recompute_ns += lost_ns
        if sequence.first_token_ns == NOT_REACHED:
            sequence.recompute_before_first_ns += lost_ns
        sequence.lost_until = 0
        sequence.preempted_ns = NOT_REACHED
