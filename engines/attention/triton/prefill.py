"""Causal attention of prompt chunks over paged keys and values, one tile of queries a program.

FlashAttention-2 (Dao, 2023). Tiles that every query sees whole are walked without masks; those at
the end, and at the left edge of a sliding window, with.
"""

from __future__ import annotations

import triton
import triton.language as tl

from engines.attention.triton.eight_bit import LOG2_LARGEST, scaled_query


@triton.jit
def weigh(
    scores,
    total,
    top,
    token,
    end,
    position,
    scale,
    masked: tl.constexpr,
    window: tl.constexpr,
    quantised: tl.constexpr,
):
    """Weights of a tile's tokens, what earlier ones shrink by, and the new sums and maxima."""
    if masked:
        seen = (token[None, :] <= position[:, None]) & (token < end)[None, :]
        if window > 0:
            seen = seen & (token[None, :] > position[:, None] - window)
        scores = tl.where(seen, scores, float("-inf"))
    new_top = tl.maximum(top, tl.max(scores, 1) * scale)
    base = new_top
    if masked and window > 0:
        # A row may not have met its first token yet.
        base = tl.where(new_top == float("-inf"), 0.0, new_top)
    rescale = tl.exp2(top - base)
    if quantised:
        base -= LOG2_LARGEST
    weight = tl.exp2(scores * scale[:, None] - base[:, None])
    return weight, rescale, total * rescale + tl.sum(weight, 1), new_top


@triton.jit
def read_tile(plane, place, wanted, masked: tl.constexpr):
    if masked:
        return tl.load(plane + place, mask=wanted, other=0.0)
    return tl.load(plane + place)


@triton.jit
def attend_tiles(
    attended,
    total,
    top,
    q,
    keys,
    values,
    key_scales,
    value_scales,
    table,
    head,
    first,
    last,
    end,
    position,
    scale,
    masked: tl.constexpr,
    window: tl.constexpr,
    kv_heads: tl.constexpr,
    head_dim: tl.constexpr,
    block_shift: tl.constexpr,
    quantised: tl.constexpr,
    wide: tl.constexpr,
    block_n: tl.constexpr,
    dim: tl.constexpr,
):
    """The running softmax after the tiles `first` to `last`; tokens from `end` on are no one's.

    `first` is a multiple of `block_n`.
    """
    offset = tl.arange(0, block_n)
    d = tl.arange(0, dim)
    in_head = (d < head_dim)[None, :]
    part_heads: tl.constexpr = dim != head_dim
    block_mask: tl.constexpr = (1 << block_shift) - 1
    keys_of_head = (keys + head * head_dim + d)[None, :]
    values_of_head = (values + head * head_dim + d)[None, :]
    page = tl.load(table + ((first + offset) >> block_shift), mask=first + offset < end, other=0)
    for start in range(first, last, block_n):
        token = start + offset
        # Where tiles are whole blocks, this keeps the places in a block out of the loop.
        within = (offset if block_n > block_mask else token) & block_mask
        slot = (page << block_shift) + within
        # Read one tile ahead: a page number that this turn's loads wait for can't be pipelined.
        ahead = token + block_n
        page = tl.load(table + (ahead >> block_shift), mask=ahead < end, other=0)
        if wide:
            slot = slot.to(tl.int64)
        place = (slot * (kv_heads * head_dim))[:, None]
        wanted = in_head
        if masked:
            wanted = (token < end)[:, None] & in_head
        key = tl.trans(read_tile(keys_of_head, place, wanted, masked or part_heads).to(q.dtype))
        scores = tl.dot(q, key)
        if quantised:
            scale_place = slot * kv_heads + head
            scores *= read_tile(key_scales, scale_place, token < end, masked)[None, :]
        value = read_tile(values_of_head, place, wanted, masked or part_heads).to(q.dtype)
        weight, rescale, total, top = weigh(
            scores, total, top, token, end, position, scale, masked, window, quantised
        )
        if quantised:
            weight *= read_tile(value_scales, scale_place, token < end, masked)[None, :]
        attended = tl.dot(weight.to(q.dtype), value, attended * rescale[:, None])
    return attended, total, top


@triton.jit(do_not_specialize=["item_stride", "max_blocks"])
def prefill_kernel(
    query,
    keys,
    values,
    key_scales,
    value_scales,
    output,
    items,
    num_items,
    block_tables,
    item_stride,
    max_blocks,
    query_stride,
    scale,
    kv_heads: tl.constexpr,
    group: tl.constexpr,
    head_dim: tl.constexpr,
    block_shift: tl.constexpr,
    quantised: tl.constexpr,
    wide: tl.constexpr,
    window: tl.constexpr,
    block_m: tl.constexpr,
    block_n: tl.constexpr,
    dim: tl.constexpr,
):
    """Grid `(heads, bound on items)`. `scale` is that of the scores times log2(e).

    `wide`: places in the cache don't fit into 32 bits.
    """
    query_head = tl.program_id(0)
    item = tl.program_id(1)
    if item >= tl.load(num_items):
        return
    table_row = tl.load(items + item)
    first_token = tl.load(items + item_stride + item)
    size = tl.load(items + item_stride * 2 + item)
    first_position = tl.load(items + item_stride * 3 + item)
    head = query_head // group
    row = tl.arange(0, block_m)
    d = tl.arange(0, dim)
    in_head = (d < head_dim)[None, :]
    stored = (row < size)[:, None] & in_head
    token = (first_token + row).to(tl.int64)
    place = (token * (kv_heads * group) + query_head)[:, None] * head_dim + d[None, :]
    if first_position < 0:
        nothing = tl.zeros([block_m, dim], output.dtype.element_ty)
        tl.store(output + place, nothing, mask=stored)
        return

    q_place = token[:, None] * query_stride + query_head * head_dim + d[None, :]
    q = tl.load(query + q_place, mask=stored, other=0.0)
    if quantised:
        q, row_scale = scaled_query(q, scale)
    else:
        row_scale = tl.full([block_m], 1.0, tl.float32) * scale
    table = block_tables + table_row.to(tl.int64) * max_blocks
    position = first_position + row
    end = first_position + size
    # Tokens before `whole` are seen by every query of the tile.
    whole = (first_position + 1) // block_n * block_n
    first = 0
    top = tl.full([block_m], float("-inf"), tl.float32)
    total = tl.zeros([block_m], tl.float32)
    attended = tl.zeros([block_m, dim], tl.float32)
    if window > 0:
        begin = tl.maximum(first_position - window + 1, 0) // block_n * block_n
        first = tl.cdiv(tl.maximum(end - window, 0), block_n) * block_n
        whole = tl.maximum(whole, begin)
        first = tl.minimum(first, whole)
        attended, total, top = attend_tiles(
            attended, total, top, q,
            keys, values, key_scales, value_scales, table, head,
            begin, first, end, position, row_scale, True, window,
            kv_heads, head_dim, block_shift, quantised, wide, block_n, dim,
        )  # fmt: skip
    attended, total, top = attend_tiles(
        attended, total, top, q,
        keys, values, key_scales, value_scales, table, head,
        first, whole, end, position, row_scale, False, window,
        kv_heads, head_dim, block_shift, quantised, wide, block_n, dim,
    )  # fmt: skip
    attended, total, top = attend_tiles(
        attended, total, top, q,
        keys, values, key_scales, value_scales, table, head,
        whole, end, end, position, row_scale, True, window,
        kv_heads, head_dim, block_shift, quantised, wide, block_n, dim,
    )  # fmt: skip
    attended = attended / tl.where(total == 0.0, 1.0, total)[:, None]
    tl.store(output + place, attended.to(output.dtype.element_ty), mask=stored)
