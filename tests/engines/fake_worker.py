"""A worker without a model: its KV slots hold hashes, so a wrong slot can't go unnoticed.

The content of a position is a hash of its token and of all tokens before it, as a real KV entry
is a function of them. A token is drawn from the content of the last position alone, so every
sequence can be continued without any engine and compared.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

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


class FakeWorker:
    """Satisfies `Worker`; asserts that each row sees exactly its own past through its blocks.

    Args:
        watch: called with each plan before it is computed.

    Attributes:
        truths: of every request that may come; filled by the test.
        sequences: every sequence that was ever computed, by request, as the scheduler knows it.
        recomputed: tokens that were computed again, by request.
    """

    def __init__(
        self,
        num_blocks: int,
        block_size: int,
        max_model_len: int,
        watch: Callable[[StepPlan, SequenceTable], None] = lambda plan, table: None,
    ) -> None:
        self.block_size = block_size
        self.store = np.zeros(num_blocks * block_size, np.uint64)
        self.truths: dict[int, Truth] = {}
        self.sequences: dict[int, Sequence] = {}
        self.recomputed: dict[int, int] = {}
        self.watch = watch
        self._reached: dict[int, int] = {}
        positions = np.arange(max_model_len)
        self._block, self._offset = positions // block_size, positions % block_size

    def execute(self, plan: StepPlan, table: SequenceTable) -> npt.NDArray[np.int32]:
        self.watch(plan, table)
        seen = []
        sampled = []
        steps = zip(
            plan.rows.tolist(),
            plan.num_computed.tolist(),
            plan.num_new_tokens.tolist(),
            plan.samples.tolist(),
            strict=True,
        )
        for row, start, new, samples in steps:
            request_id, end = int(table.request_ids[row]), start + new
            truth = self.truths[request_id]
            tokens = table.token_ids[row, :end]
            assert (tokens == truth.tokens[:end]).all(), f"request {request_id}: other tokens"
            slots = table.block_tables[row][self._block[:end]] * self.block_size
            slots += self._offset[:end]
            assert (slots[start:] >= self.block_size).all(), f"request {request_id}: null block"
            self.store[slots[start:]] = truth.contents[start:end]
            seen.append((request_id, slots, truth.contents[:end]))
            if samples:
                sampled.append(int(truth.contents[end - 1]) % VOCAB)
            self._note(request_id, row, start, end, table)
        for request_id, slots, expected in seen:
            wrong = np.flatnonzero(self.store[slots] != expected)
            assert not len(wrong), (
                f"request {request_id}: positions {wrong.tolist()} of {len(expected)} read "
                f"another content through blocks {(slots[wrong] // self.block_size).tolist()}"
            )
        return np.array(sampled, np.int32)

    def _note(self, request_id: int, row: int, start: int, end: int, table: SequenceTable) -> None:
        sequence = table.sequences[row]
        assert sequence is not None
        self.sequences[request_id] = sequence
        reached = self._reached.get(request_id, 0)
        if start < reached:
            again = min(end, reached) - start
            self.recomputed[request_id] = self.recomputed.get(request_id, 0) + again
        self._reached[request_id] = max(reached, end)

    def close(self) -> None:
        self.store = np.zeros(0, np.uint64)
