"""A worker without a model: its KV slots hold hashes, so a wrong slot can't go unnoticed.

The content of a position is a hash of its token and of all tokens before it, as a real KV entry
is a function of them. A token is drawn from the content of the last position alone, so every
sequence can be continued without any engine and compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.compute.worker import Computed
from engines.errors import StepOutOfMemory
from engines.scheduling.plan import StepPlan
from engines.scheduling.sequence import Sequence, SequenceTable

VOCAB = 11
_MASK = (1 << 64) - 1
_ROOT = 0x243F_6A88_85A3_08D3


def content(before: int, token: int) -> int:
    """What a position's slot holds: a 64-bit hash of its token and of the position before it."""
    mixed = (before ^ (token + 1) * 0x9E37_79B9_7F4A_7C15) & _MASK
    mixed = (mixed ^ (mixed >> 29)) * 0xBF58_476D_1CE4_E5B9 & _MASK
    return mixed ^ (mixed >> 32)


class Truth:
    """A request's tokens and slot contents from its first prompt token to its end, by definition.

    Attributes:
        tokens: int32, prompt and output; contents: uint64, one for each of them.
    """

    def __init__(self, prompt: list[int], max_tokens: int, stops: tuple[int, ...] = ()) -> None:
        tokens, contents, state = list(prompt), [], _ROOT
        for token in prompt:
            state = content(state, token)
            contents.append(state)
        for _ in range(max_tokens):
            token = state % VOCAB
            tokens.append(token)
            state = content(state, token)
            contents.append(state)
            if token in stops:
                break
        self.num_prompt = len(prompt)
        self.tokens = np.array(tokens, np.int32)
        self.contents = np.array(contents, np.uint64)

    @property
    def num_output(self) -> int:
        return len(self.tokens) - self.num_prompt


@dataclass(slots=True)
class Row:
    """A sequence's part in a step, as it is uploaded.

    Attributes:
        tokens: of its new positions; None where only the device knows the one that it decodes.
        slots: of all its positions up to the last new one.
    """

    row: int
    request_id: int
    epoch: int
    start: int
    samples: bool
    tokens: list[int] | None
    slots: npt.NDArray[np.int64]


@dataclass(slots=True)
class Step:
    """A launched step; `void` where one before it failed, on whose tokens it rests."""

    rows: list[Row]
    table: SequenceTable
    void: bool = False


class FakeWorker:
    """Satisfies `Worker`; asserts that each row sees exactly its own past through its blocks.

    A step is computed when it is collected, from what was uploaded at its launch and from what
    the device then holds: the slots, a copy of the block tables that follows their changes, and
    each row's last token. What happens to the table in between can't reach it.

    Args:
        watch: called with each plan before it is launched.
        overlaps: whether decoded tokens are taken from the device alone.
        refuses: asked at "launch" and at "collect" whether the step is out of memory.

    Attributes:
        truths: of every request that may come; filled by the test.
        sequences: every sequence that was ever computed, by request, as the scheduler knows it.
        recomputed: tokens that were computed again, by request.
        num_past_the_end: sequences that a step went on with after their last token.
    """

    def __init__(
        self,
        num_blocks: int,
        block_size: int,
        max_model_len: int,
        watch: Callable[[StepPlan, SequenceTable], None] = lambda plan, table: None,
        overlaps: bool = False,
        refuses: Callable[[str], bool] = lambda at: False,
    ) -> None:
        self.block_size = block_size
        self.overlaps = overlaps
        self.store = np.zeros(num_blocks * block_size, np.uint64)
        self.truths: dict[int, Truth] = {}
        self.sequences: dict[int, Sequence] = {}
        self.recomputed: dict[int, int] = {}
        self.num_past_the_end = 0
        self.watch = watch
        self.refuses = refuses
        self._reached: dict[int, int] = {}
        self._next_token: dict[int, int] = {}
        self._stale = False
        self._queue: list[Step] = []
        self._table: SequenceTable | None = None
        self._block_tables = np.zeros((0, 0), np.int32)
        positions = np.arange(max_model_len)
        self._block, self._offset = positions // block_size, positions % block_size

    def launch(self, plan: StepPlan, table: SequenceTable) -> Step:
        self.watch(plan, table)
        if self.refuses("launch"):
            self._stale = True
            raise StepOutOfMemory(plan.num_tokens, "the launch did not fit")
        assert len(self._queue) <= self.overlaps, "two steps are in flight already"
        self._follow(table)
        rows = []
        for index, (row, epoch, start, new, samples) in enumerate(
            zip(
                plan.rows.tolist(),
                plan.epochs.tolist(),
                plan.num_computed.tolist(),
                plan.num_new_tokens.tolist(),
                plan.samples.tolist(),
                strict=True,
            )
        ):
            request_id, end = int(table.request_ids[row]), start + new
            known = min(end, int(table.num_settled[row]))
            truth = self.truths[request_id]
            assert (table.token_ids[row, :known] == truth.tokens[:known]).all(), (
                f"request {request_id}: other tokens"
            )
            if self._stale and index < plan.num_decodes:
                assert known == end
                self._next_token[row] = int(table.token_ids[row, start])
            on_device = self.overlaps and index < plan.num_decodes
            assert on_device or known == end
            slots = self._block_tables[row][self._block[:end]] * self.block_size
            slots += self._offset[:end]
            assert (slots[start:] >= self.block_size).all(), f"request {request_id}: null block"
            tokens = None if on_device else table.token_ids[row, start:end].tolist()
            rows.append(Row(row, request_id, epoch, start, samples, tokens, slots))
        self._stale = False
        self._queue.append(Step(rows, table))
        return self._queue[-1]

    def collect(self, launched: Step) -> Computed:
        assert self._queue.pop(0) is launched, "steps are collected in order"
        if not launched.void and self.refuses("collect"):
            for step in self._queue:
                step.void = True
            self._stale = True
            raise StepOutOfMemory(len(launched.rows), "the step did not fit")
        if launched.void:
            return Computed(np.zeros(sum(row.samples for row in launched.rows), np.int32))
        return Computed(self._compute(launched))

    def execute(self, plan: StepPlan, table: SequenceTable) -> npt.NDArray[np.int32]:
        return self.collect(self.launch(plan, table)).tokens

    def _follow(self, table: SequenceTable) -> None:
        """Brings the copy of the block tables up to date."""
        index, blocks = table.drain_block_changes()
        if table is not self._table:
            self._table, table.log_block_changes = table, True
            self._block_tables = table.block_tables.copy()
        else:
            self._block_tables.reshape(-1)[index] = blocks

    def _compute(self, step: Step) -> npt.NDArray[np.int32]:
        sampled = []
        for row in step.rows:
            truth, start, end = self.truths[row.request_id], row.start, len(row.slots)
            tokens = [self._next_token[row.row]] if row.tokens is None else row.tokens
            assert (truth.tokens[start:end] == tokens).all(), f"{row}: other tokens"
            self.num_past_the_end += end == len(truth.tokens)
            self.store[row.slots[start:]] = truth.contents[start:end]
            if row.samples:
                sampled.append(int(truth.contents[end - 1]) % VOCAB)
                self._next_token[row.row] = sampled[-1]
            if step.table.epoch[row.row] == row.epoch:
                self._note(row, end, step.table)
        for row in step.rows:
            expected = self.truths[row.request_id].contents[: len(row.slots)]
            wrong = np.flatnonzero(self.store[row.slots] != expected)
            assert not len(wrong), (
                f"request {row.request_id}: positions {wrong.tolist()} of {len(expected)} read "
                f"another content through blocks {(row.slots[wrong] // self.block_size).tolist()}"
            )
        return np.array(sampled, np.int32)

    def _note(self, row: Row, end: int, table: SequenceTable) -> None:
        sequence = table.sequences[row.row]
        assert sequence is not None
        request_id = row.request_id
        self.sequences[request_id] = sequence
        reached = self._reached.get(request_id, 0)
        if row.start < reached:
            again = min(end, reached) - row.start
            self.recomputed[request_id] = self.recomputed.get(request_id, 0) + again
        self._reached[request_id] = max(reached, end)

    def close(self) -> None:
        assert not self._queue, "a step is in flight"
        self.store = np.zeros(0, np.uint64)
