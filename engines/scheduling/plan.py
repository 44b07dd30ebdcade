"""A step as it is planned, and what came of it: what passes between scheduler and worker."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from engines.scheduling.decodes import Decodes
from engines.scheduling.sequence import Sequence, SequenceTable


@dataclass(slots=True)
class StepPlan:
    """One step: rows of the sequence table and how far each is computed in it.

    The arrays are shared with other plans and never written.

    Attributes:
        rows: int64 `[n]`, decodes first.
        num_new_tokens: int64 `[n]`.
        num_computed: int64 `[n]`, before the step.
        samples: bool `[n]`, whether the row's last token yields a new one.
        num_decodes: how many of the first rows are decodes.
        num_tokens: all new tokens.
        epochs: int64 `[n]`, the rows' epochs; a row that has another one when the step is settled
            holds another sequence, or none.
    """

    rows: npt.NDArray[np.int64]
    num_new_tokens: npt.NDArray[np.int64]
    num_computed: npt.NDArray[np.int64]
    samples: npt.NDArray[np.bool_]
    num_decodes: int
    num_tokens: int
    epochs: npt.NDArray[np.int64]

    @property
    def num_prefill_tokens(self) -> int:
        return self.num_tokens - self.num_decodes

    @property
    def num_samples(self) -> int:
        """Tokens that the step yields."""
        if self.num_decodes == len(self.rows):
            return self.num_decodes
        return int(np.count_nonzero(self.samples))

    @property
    def kind(self) -> str:
        """ "prefill", "decode" or "mixed"."""
        if self.num_decodes == 0:
            return "prefill"
        return "decode" if self.num_decodes == len(self.rows) else "mixed"

    def only(self, kept: npt.NDArray[np.bool_]) -> StepPlan:
        """The plan's rows that `kept` marks."""
        new = self.num_new_tokens[kept]
        return StepPlan(
            self.rows[kept],
            new,
            self.num_computed[kept],
            self.samples[kept],
            int(np.count_nonzero(kept[: self.num_decodes])),
            int(new.sum()),
            self.epochs[kept],
        )


def plan_of(
    decodes: Decodes | None, chunks: list[tuple[int, int]], table: SequenceTable
) -> StepPlan | None:
    """The plan for rows that decode and for chunks (row, new tokens); None if there are none."""
    num_decodes = 0 if decodes is None else len(decodes.rows)
    if not chunks:
        if decodes is None or not num_decodes:
            return None
        return StepPlan(
            decodes.rows,
            decodes.ones,
            decodes.computed,
            decodes.all_true,
            num_decodes,
            num_decodes,
            decodes.epochs,
        )
    prefills = np.array(chunks, np.int64)
    rows, new = prefills[:, 0], prefills[:, 1]
    computed, epochs = table.num_computed[rows], table.epoch[rows]
    samples = computed + new >= table.num_tokens[rows]
    if decodes is not None and num_decodes:
        rows = np.concatenate((decodes.rows, rows))
        new = np.concatenate((decodes.ones, new))
        computed = np.concatenate((decodes.computed, computed))
        samples = np.concatenate((decodes.all_true, samples))
        epochs = np.concatenate((decodes.epochs, epochs))
    return StepPlan(rows, new, computed, samples, num_decodes, int(new.sum()), epochs)


def newest_in(plan: StepPlan, table: SequenceTable) -> Sequence | None:
    """The request that came last of those whose prompt the step computes, else of those that it
    decodes; None where all of them have left."""
    here, first = plan.epochs == table.epoch[plan.rows], plan.num_decodes
    for part in (slice(first, None), slice(first)):
        rows: list[int] = plan.rows[part][here[part]].tolist()
        sequences = [sequence for row in rows if (sequence := table.sequences[row]) is not None]
        if sequences:
            return max(sequences, key=lambda sequence: sequence.order[1])
    return None


@dataclass(frozen=True, slots=True)
class Preemption:
    """A running sequence lost its KV blocks and has to be computed again."""

    request_id: int
    lost_tokens: int
    reason: str


@dataclass(slots=True)
class StepOutcome:
    """What a computed step brought: tokens by request, and the requests that it ended."""

    emitted_ids: npt.NDArray[np.int64]
    finished: list[Sequence] = field(default_factory=list)
