"""Work lists of a step's attention, made on the device so that a captured step needs no host.

One program each, once a step. The lists' lengths vary; the grids that walk them are fixed, and
programs beyond a list's end leave at once.
"""

from __future__ import annotations

import triton
import triton.language as tl

DECODE_FIELDS = 6
"""sequence, row of the block table, first token, last token + 1, first item and number of items
of the same sequence."""

PREFILL_FIELDS = 4
"""row of the block table, first token in the step, number of tokens, position of the first."""

CHUNK_CANDIDATES = 16
ITEM_OVERHEAD_TOKENS = 64
"""What starting an item costs, in tokens that could be read meanwhile."""

EARLY_PARTS = tl.constexpr(8)
"""Joined at once, they cost little."""


@triton.jit(do_not_specialize=["item_stride", "extra_items", "tile", "smallest_chunk"])
def plan_decode_kernel(
    rows,
    context_lens,
    counts,
    items,
    num_items,
    item_stride,
    extra_items,
    wave_items,
    tile,
    smallest_chunk,
    window: tl.constexpr,
    overhead: tl.constexpr,
    late_part: tl.constexpr,
    candidates: tl.constexpr,
    seqs: tl.constexpr,
    columns: tl.constexpr,
):
    """Cuts contexts into chunks of one length: at most `extra_items` more items than sequences.

    Of `candidates` lengths it takes the one whose rounds over the machine (`wave_items` items run
    at once) end first, if every round lasts as long as an item of mean length, and joining each
    part of the longest sequence after the first `EARLY_PARTS` as long as `late_part` tokens.
    """
    sequence = tl.arange(0, seqs)
    real = sequence < tl.load(counts + 1)
    context = tl.load(context_lens + sequence, mask=real, other=0)
    row = tl.load(rows + sequence, mask=real, other=0)
    start = tl.zeros_like(context)
    if window > 0:
        start = tl.maximum(context - window, 0)
    length = context - start
    total = tl.sum(length, 0)

    smallest = tl.maximum(tl.cdiv(total, extra_items), smallest_chunk)
    candidate = tl.arange(0, candidates)
    chunks = (smallest.to(tl.float32) * tl.exp2(candidate * 0.25)).to(tl.int32)
    chunks = tl.cdiv(tl.maximum(chunks, smallest), tile) * tile
    pieces = tl.sum(tl.cdiv(length[None, :], chunks[:, None]), 1).to(tl.float32)
    mean = total.to(tl.float32) / tl.maximum(pieces, 1.0)
    longest = tl.minimum(chunks, tl.max(length, 0)).to(tl.float32)
    cost = tl.ceil(pieces / wave_items) * (mean + overhead) + (longest - mean) * 0.5
    longest_parts = tl.cdiv(tl.max(length, 0), chunks)
    cost += tl.maximum(longest_parts - EARLY_PARTS, 0).to(tl.float32) * late_part
    chunk = tl.sum(tl.where(candidate == tl.argmin(cost, 0), chunks, 0), 0)

    even = tl.cdiv(length, tl.maximum(tl.cdiv(length, chunk), 1))
    part_tokens = tl.maximum(tl.cdiv(even, tile) * tile, tile)
    parts = tl.cdiv(length, part_tokens)
    first_item = tl.cumsum(parts, 0) - parts
    tl.store(num_items, tl.sum(parts, 0))
    for column in range(0, tl.max(parts, 0), columns):
        part = column + tl.arange(0, columns)[None, :]
        keep = part < parts[:, None]
        first = start[:, None] + part * part_tokens[:, None]
        item = items + first_item[:, None] + part
        tl.store(item, tl.broadcast_to(sequence[:, None], (seqs, columns)), mask=keep)
        tl.store(item + item_stride, tl.broadcast_to(row[:, None], (seqs, columns)), mask=keep)
        tl.store(item + item_stride * 2, first, mask=keep)
        last = tl.minimum(first + part_tokens[:, None], context[:, None])
        tl.store(item + item_stride * 3, last, mask=keep)
        same = tl.broadcast_to(first_item[:, None], (seqs, columns))
        tl.store(item + item_stride * 4, same, mask=keep)
        number = tl.broadcast_to(parts[:, None], (seqs, columns))
        tl.store(item + item_stride * 5, number, mask=keep)


@triton.jit(do_not_specialize=["item_stride", "num_tokens"])
def plan_prefill_kernel(
    rows,
    query_starts,
    context_lens,
    counts,
    unsorted,
    items,
    num_items,
    item_stride,
    num_tokens,
    block_m: tl.constexpr,
    seqs: tl.constexpr,
    columns: tl.constexpr,
    bound: tl.constexpr,
):
    """Cuts prompt chunks into tiles of `block_m` tokens, those with the longest context first.

    The step's padding tokens become tiles at position -1, which are filled with zeros.
    """
    sequence = tl.arange(0, seqs)
    num_seqs = tl.load(counts)
    padding = sequence == num_seqs
    real = (sequence >= tl.load(counts + 1)) & (sequence < num_seqs)
    first_token = tl.load(query_starts + sequence, mask=real, other=0)
    end_token = tl.load(query_starts + sequence + 1, mask=real, other=0)
    context = tl.load(context_lens + sequence, mask=real, other=0)
    row = tl.load(rows + sequence, mask=real, other=0)
    first_token = tl.where(padding, tl.load(counts + 2), first_token)
    end_token = tl.where(padding, num_tokens, end_token)
    queries = tl.maximum(end_token - first_token, 0)
    prior = context - queries

    tiles = tl.cdiv(queries, block_m)
    first_item = tl.cumsum(tiles, 0) - tiles
    total = tl.sum(tiles, 0)
    tl.store(num_items, total)
    for column in range(0, tl.max(tiles, 0), columns):
        index = column + tl.arange(0, columns)[None, :]
        keep = index < tiles[:, None]
        item = unsorted + first_item[:, None] + index
        tl.store(item, tl.broadcast_to(row[:, None], (seqs, columns)), mask=keep)
        tl.store(item + item_stride, first_token[:, None] + index * block_m, mask=keep)
        size = tl.minimum(queries[:, None] - index * block_m, block_m)
        tl.store(item + item_stride * 2, size, mask=keep)
        position = tl.where(padding[:, None], -1, prior[:, None] + index * block_m)
        tl.store(item + item_stride * 3, position, mask=keep)
    tl.debug_barrier()

    index = tl.arange(0, bound)
    keep = index < total
    size = tl.load(unsorted + item_stride * 2 + index, mask=keep, other=0)
    position = tl.load(unsorted + item_stride * 3 + index, mask=keep, other=-1)
    seen = tl.where(position < 0, 0, position + size)
    key = tl.where(keep, (seen.to(tl.int64) << 32) | index.to(tl.int64), -1)
    source = (tl.sort(key, descending=True) & 0xFFFFFFFF).to(tl.int32)
    for field in tl.static_range(4):
        value = tl.load(unsorted + item_stride * field + source, mask=keep, other=0)
        tl.store(items + item_stride * field + index, value, mask=keep)
