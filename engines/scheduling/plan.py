"""A step as it is planned, and what came of it: what passes between scheduler and worker."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from engines.scheduling.sequence import Sequence, SequenceTable


@dataclass(slots=True)
class StepPlan:
    """One step: rows of the sequence table and how far each is computed in it.

    Attributes:
        rows: int64 `[n]`, decodes first.
        num_new_tokens: int64 `[n]`.
        num_computed: int64 `[n]`, before the step.
        samples: bool `[n]`, whether the row's last token yields a new one.
        num_decodes: how many of the first rows are decodes.
        num_tokens: all new tokens.
    """

    rows: npt.NDArray[np.int64]
    num_new_tokens: npt.NDArray[np.int64]
    num_computed: npt.NDArray[np.int64]
    samples: npt.NDArray[np.bool_]
    num_decodes: int
    num_tokens: int

    @property
    def num_prefill_tokens(self) -> int:
        return self.num_tokens - self.num_decodes

    @property
    def kind(self) -> str:
        """ "prefill", "decode" or "mixed"."""
        if self.num_decodes == 0:
            return "prefill"
        return "decode" if self.num_decodes == len(self.rows) else "mixed"


def plan_of(
    decodes: npt.NDArray[np.int64], chunks: list[tuple[int, int]], table: SequenceTable
) -> StepPlan | None:
    """The plan for rows that decode and for chunks (row, new tokens); None if there are none."""
    num_decodes = len(decodes)
    if not chunks:
        if not num_decodes:
            return None
        ones = np.ones(num_decodes, np.int64)
        computed = table.num_computed[decodes]
        return StepPlan(
            decodes, ones, computed, np.ones(num_decodes, np.bool_), num_decodes, num_decodes
        )
    prefills = np.array(chunks, np.int64)
    rows = np.concatenate((decodes, prefills[:, 0]))
    new = np.concatenate((np.ones(num_decodes, np.int64), prefills[:, 1]))
    computed = table.num_computed[rows]
    samples = computed + new >= table.num_tokens[rows]
    return StepPlan(rows, new, computed, samples, num_decodes, int(new.sum()))


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
