"""A step's inputs from its packed buffer: block tables, token ids, positions, slots, contexts.

The buffer is int32, with S sequences and U updates at most: header[8] (num_seqs, num_decodes,
num_tokens, num_samples, num_updates, ring_slot), rows[S], computed[S], query_starts[S + 1], six
columns [S] for sampling, update_index[U], update_block[U], then a pair (token id, sequence) for
each token of a prompt.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

ONE_PROGRAM_TOKENS = 1024
"""Up to so many tokens, one program does all: its own barrier orders updates before reads."""


@dataclass(frozen=True, slots=True)
class StepInputs:
    """What a step's kernels read, padded to its bucket.

    Attributes:
        token_ids, positions: int32 `[T]`; 0 for padding.
        slots: int64 `[T]`, block * block_size + offset in the cache; 0 for padding.
        context_lens: int32 `[num_seqs]`, tokens seen by a sequence's last one; 0 for padding.
    """

    token_ids: torch.Tensor
    positions: torch.Tensor
    slots: torch.Tensor
    context_lens: torch.Tensor

    @classmethod
    def allocate(cls, num_tokens: int, num_seqs: int, device: torch.device) -> StepInputs:
        """Room for a bucket's tokens and sequences."""
        return cls(
            torch.zeros(num_tokens, dtype=torch.int32, device=device),
            torch.zeros(num_tokens, dtype=torch.int32, device=device),
            torch.zeros(num_tokens, dtype=torch.int64, device=device),
            torch.zeros(num_seqs, dtype=torch.int32, device=device),
        )


@triton.jit
def _write_updates(
    packed, block_tables, SEQS: tl.constexpr, MAX_UPDATES: tl.constexpr, BLOCK: tl.constexpr
):
    count = tl.load(packed + 4)
    first = tl.program_id(0) * BLOCK
    while first < count:
        update = first + tl.arange(0, BLOCK)
        mask = update < count
        place = packed + 9 + 9 * SEQS + update
        index = tl.load(place, mask=mask, other=0)
        block = tl.load(place + MAX_UPDATES, mask=mask, other=0)
        tl.store(block_tables + index, block, mask=mask)
        first += tl.num_programs(0) * BLOCK


@triton.jit
def _write_tokens(
    packed, next_token, block_tables, token_ids, positions, slots, first, num_tokens, max_blocks,
    SEQS: tl.constexpr, MAX_UPDATES: tl.constexpr, BLOCK_SIZE: tl.constexpr,
    DECODE_ONLY: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    token = first + tl.arange(0, BLOCK)
    decodes = tl.load(packed + 1)
    is_decode = token < decodes
    real, sequence = is_decode, token
    if not DECODE_ONLY:
        real = token < tl.load(packed + 2)
        is_prompt = real & (token >= decodes)
        pair = packed + 9 + 9 * SEQS + 2 * MAX_UPDATES + 2 * (token - decodes)
        prompt_id = tl.load(pair, mask=is_prompt, other=0)
        sequence = tl.where(is_decode, token, tl.load(pair + 1, mask=is_prompt, other=0))
    row = tl.load(packed + 8 + sequence, mask=real, other=0)
    position = tl.load(packed + 8 + SEQS + sequence, mask=real, other=0)
    token_id = tl.load(next_token + row, mask=is_decode, other=0)
    if not DECODE_ONLY:
        start = tl.load(packed + 8 + 2 * SEQS + sequence, mask=is_prompt, other=0)
        position += tl.where(is_prompt, token - start, 0)
        token_id = tl.where(is_prompt, prompt_id, token_id)
    # Volatile: another thread of this program may just have written it.
    entry = block_tables + row * max_blocks + position // BLOCK_SIZE
    block = tl.load(entry, mask=real, other=0, volatile=True)
    slot = block.to(tl.int64) * BLOCK_SIZE + position % BLOCK_SIZE
    inside = token < num_tokens
    tl.store(token_ids + token, token_id, mask=inside)
    tl.store(positions + token, position, mask=inside)
    tl.store(slots + token, tl.where(real, slot, 0), mask=inside)


@triton.jit
def _write_sequences(
    packed, context_lens, first, num_seqs, padding_row, SEQS: tl.constexpr, BLOCK: tl.constexpr
):
    sequence = first + tl.arange(0, BLOCK)
    real = sequence < tl.load(packed)
    computed = tl.load(packed + 8 + SEQS + sequence, mask=real, other=0)
    starts = packed + 8 + 2 * SEQS + sequence
    new = tl.load(starts + 1, mask=real, other=0) - tl.load(starts, mask=real, other=0)
    inside = sequence < num_seqs
    tl.store(context_lens + sequence, computed + new, mask=inside)
    tl.store(packed + 8 + sequence, padding_row, mask=inside & ~real)
    tl.store(starts + 1, tl.load(packed + 2), mask=inside & ~real)


@triton.jit
def _update(
    packed, block_tables, SEQS: tl.constexpr, MAX_UPDATES: tl.constexpr, BLOCK: tl.constexpr
):
    _write_updates(packed, block_tables, SEQS, MAX_UPDATES, BLOCK)


@triton.jit(do_not_specialize=["num_tokens", "num_seqs"])
def _prepare(
    packed, next_token, block_tables, token_ids, positions, slots, context_lens,
    num_tokens, num_seqs, max_blocks, padding_row,
    SEQS: tl.constexpr, MAX_UPDATES: tl.constexpr, BLOCK_SIZE: tl.constexpr,
    DECODE_ONLY: tl.constexpr, ALONE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    if ALONE:
        _write_updates(packed, block_tables, SEQS, MAX_UPDATES, BLOCK)
        tl.debug_barrier()
    first = tl.program_id(0) * BLOCK
    while first < tl.maximum(num_tokens, num_seqs):
        _write_tokens(
            packed, next_token, block_tables, token_ids, positions, slots, first, num_tokens,
            max_blocks, SEQS, MAX_UPDATES, BLOCK_SIZE, DECODE_ONLY, BLOCK,
        )  # fmt: skip
        _write_sequences(packed, context_lens, first, num_seqs, padding_row, SEQS, BLOCK)
        first += tl.num_programs(0) * BLOCK


def prepare_step(
    packed: torch.Tensor,
    max_num_seqs: int,
    max_updates: int,
    next_token: torch.Tensor,
    block_tables: torch.Tensor,
    block_size: int,
    inputs: StepInputs,
    decode_only: bool = False,
) -> None:
    """Writes a step's changes of block tables, then its inputs.

    Padding sequences get their `rows` and `query_starts` in the buffer itself: the last row of the
    block tables, and the step's tokens.

    Args:
        packed: int32, as the module says with S = max_num_seqs and U = max_updates. No
            update_index may come twice.
        next_token: int32 `[rows]`, the last sampled token of each row: a decode's token id.
        block_tables: int32 `[rows, max_blocks]`, contiguous; changed.
        inputs: written; its sizes are the bucket's.
        decode_only: whether steps of this bucket hold no prompts.
    """
    tokens, seqs = inputs.token_ids.shape[0], inputs.context_lens.shape[0]
    alone = tokens <= ONE_PROGRAM_TOKENS
    block, warps = (1024, 8) if alone and tokens > 128 else (128, 4)
    if not alone:
        _update[(triton.cdiv(max_updates, block),)](
            packed, block_tables, max_num_seqs, max_updates, block, num_warps=warps
        )
    grid = (1 if alone else triton.cdiv(tokens, block),)
    _prepare[grid](
        packed, next_token, block_tables,
        inputs.token_ids, inputs.positions, inputs.slots, inputs.context_lens,
        tokens, seqs, block_tables.shape[1], block_tables.shape[0] - 1,
        max_num_seqs, max_updates, block_size, decode_only, alone, block,
        num_warps=warps,
    )  # fmt: skip
