"""A step's inputs: what every token is, where it stands, where its keys go; padding is harmless."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from step_tensors import BLOCK_SIZE, MAX_SEQS, Step

from engines.kernels.triton.prepare import ONE_PROGRAM_TOKENS, StepInputs


def check(step: Step, num_tokens: int, num_seqs: int, decode_only: bool = False) -> StepInputs:
    """Prepares the step, and compares with a loop over its tokens."""
    tensors = step.tensors()
    got = tensors.prepare(num_tokens, num_seqs, decode_only)
    ids, positions, slots = (np.zeros(num_tokens, np.int64) for _ in range(3))
    rows, starts = np.full(num_seqs, MAX_SEQS), np.full(num_seqs + 1, step.num_tokens)
    contexts = np.zeros(num_seqs, np.int64)
    tables = tensors.block_tables.cpu().numpy()
    token, prompt = 0, 0
    for index, (row, computed, new) in enumerate(step.sequences):
        rows[index], starts[index], contexts[index] = row, token, computed + new
        for position in range(computed, computed + new):
            ids[token] = step.next_token[row]
            if index >= step.decodes:
                ids[token] = step.prompt_ids[prompt]
                prompt += 1
            block = tables[row, position // BLOCK_SIZE]
            positions[token] = position
            slots[token] = block * BLOCK_SIZE + position % BLOCK_SIZE
            token += 1
    assert got.slots.dtype == torch.int64
    expected = {
        "token_ids": ids,
        "positions": positions,
        "slots": slots,
        "context_lens": contexts,
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(getattr(got, name).cpu().numpy(), values, err_msg=name)
    packed, at = tensors.packed.cpu().numpy(), step.layout
    np.testing.assert_array_equal(packed[at.rows : at.rows + num_seqs], rows)
    np.testing.assert_array_equal(packed[at.query_starts :][: num_seqs + 1], starts)
    return got


DECODES = [(3, 40, 1), (0, 15, 1), (11, 16, 1), (5, 0, 1)]
MIXED = [(3, 40, 1), (0, 15, 1), (7, 0, 37), (2, 48, 5), (1, 30, 1)]


@pytest.mark.parametrize("num_tokens", [4, 8, 300])
@pytest.mark.parametrize("decode_only", [True, False])
def test_decodes_continue_from_their_last_sampled_token(num_tokens: int, decode_only: bool) -> None:
    check(Step(DECODES, decodes=4), num_tokens, min(num_tokens, MAX_SEQS), decode_only)


@pytest.mark.parametrize("num_tokens", [45, 64, 256])
def test_prompts_take_their_tokens_from_the_buffer(num_tokens: int) -> None:
    check(Step(MIXED, decodes=2), num_tokens, MAX_SEQS)


def test_one_sequence_of_one_token() -> None:
    check(Step([(4, 99, 1)], decodes=1), 1, 1, decode_only=True)


def test_an_empty_step_is_all_padding() -> None:
    got = check(Step([], decodes=0), 32, MAX_SEQS)
    assert not got.slots.any()
    assert not got.context_lens.any()


def test_large_steps_take_several_programs() -> None:
    sequences = [(3, 40, 1), (7, 0, 1200), (2, 600, 900)]
    step = Step(sequences, decodes=1)
    step.update({(7, index): 2000 + index for index in range(50)})
    got = check_with_updates(step, ONE_PROGRAM_TOKENS * 2 + 200)
    assert got.slots[1] == 2000 * BLOCK_SIZE


def check_with_updates(step: Step, num_tokens: int) -> StepInputs:
    """As `check`, once more after the updates are in the tables."""
    tensors = step.tensors()
    got = tensors.prepare(num_tokens, MAX_SEQS, decode_only=False)
    step.tables[:] = tensors.block_tables.cpu().numpy()
    expected = check(step, num_tokens, MAX_SEQS)
    assert torch.equal(got.slots, expected.slots)
    return got


def test_new_blocks_are_seen_by_the_step_that_brings_them() -> None:
    step = Step(DECODES, decodes=4)
    before = step.tables.copy()
    step.update({(3, 2): 1234, (5, 0): 77, (9, 5): 42})
    tensors = step.tensors()
    got = tensors.prepare(8, MAX_SEQS, decode_only=True)
    assert got.slots[0] == 1234 * BLOCK_SIZE + 40 % BLOCK_SIZE
    assert got.slots[3] == 77 * BLOCK_SIZE
    before[3, 2], before[5, 0], before[9, 5] = 1234, 77, 42
    np.testing.assert_array_equal(tensors.block_tables.cpu().numpy(), before)
