"""Attention of single new tokens over paged keys and values: split-KV, one KV head a program.

Flash-Decoding (Dao et al., 2023) with work items from a list on the device. The query heads that
share a KV head are the rows of one matrix product. Where a sequence is cut, its program that ends
last joins the parts.
"""

from __future__ import annotations

import triton
import triton.language as tl

from engines.attention.triton.eight_bit import LOG2_LARGEST, converted, scaled_query


@triton.jit
def join_parts(
    output,
    partials,
    log_sums,
    token,
    head,
    first_item,
    num_parts,
    kv_heads: tl.constexpr,
    group: tl.constexpr,
    head_dim: tl.constexpr,
    group_rows: tl.constexpr,
    dim: tl.constexpr,
    parts_at_once: tl.constexpr,
):
    """Weighs the parts of one sequence and KV head by their sums and writes the output rows."""
    row = tl.arange(0, group_rows)
    stored_row = tl.minimum(row, group - 1)
    d = tl.arange(0, dim)
    top = tl.full([group_rows], float("-inf"), tl.float32)
    total = tl.zeros([group_rows], tl.float32)
    joined = tl.zeros([group_rows, dim], tl.float32)
    for start in range(0, num_parts, parts_at_once):
        part = start + tl.arange(0, parts_at_once)
        present = part < num_parts
        base = (first_item + part) * kv_heads + head
        log_sum = tl.load(
            log_sums + base[:, None] * group + stored_row[None, :],
            mask=present[:, None],
            other=float("-inf"),
            cache_modifier=".cg",
        )
        value = tl.load(
            partials
            + (base[:, None, None] * group + stored_row[None, :, None]) * head_dim
            + d[None, None, :],
            mask=present[:, None, None] & (d < head_dim)[None, None, :],
            other=0.0,
            cache_modifier=".cg",
        )
        new_top = tl.maximum(top, tl.max(log_sum, 0))
        weight = tl.exp2(log_sum - new_top[None, :])
        rescale = tl.exp2(top - new_top)
        joined = joined * rescale[:, None] + tl.sum(weight[:, :, None] * value, 0)
        total = total * rescale + tl.sum(weight, 0)
        top = new_top
    rows = (token * kv_heads + head).to(tl.int64) * group + row
    tl.store(
        output + rows[:, None] * head_dim + d[None, :],
        (joined / total[:, None]).to(output.dtype.element_ty),
        mask=(row < group)[:, None] & (d < head_dim)[None, :],
    )


@triton.jit(do_not_specialize=["item_stride", "max_blocks", "num_zeroed"])
def decode_kernel(
    query,
    keys,
    values,
    key_scales,
    value_scales,
    output,
    partials,
    log_sums,
    arrivals,
    items,
    num_items,
    counts,
    block_tables,
    item_stride,
    max_blocks,
    query_stride,
    num_zeroed,
    scale,
    kv_heads: tl.constexpr,
    group: tl.constexpr,
    head_dim: tl.constexpr,
    block_shift: tl.constexpr,
    quantised: tl.constexpr,
    wide: tl.constexpr,
    pinned: tl.constexpr,
    tile: tl.constexpr,
    query_rows: tl.constexpr,
    group_rows: tl.constexpr,
    dim: tl.constexpr,
    parts_at_once: tl.constexpr,
    pdl: tl.constexpr,
):
    """Grid `(kv_heads, bound on items)`. `scale` is that of the scores times log2(e).

    Programs without an item fill the output of padding tokens, up to token `num_zeroed`. With
    `pdl` the list and the page numbers are read before the previous kernel ends: they must not be
    its work.
    """
    head = tl.program_id(0)
    item = tl.program_id(1)
    total_items = tl.load(num_items)
    sequence = tl.load(items + item)
    table_row = tl.load(items + item_stride + item)
    first = tl.load(items + item_stride * 2 + item)
    last = tl.load(items + item_stride * 3 + item)
    first_item = tl.load(items + item_stride * 4 + item)
    num_parts = tl.load(items + item_stride * 5 + item)
    row = tl.arange(0, query_rows)
    d = tl.arange(0, dim)
    inner = row[:, None] * head_dim + d[None, :]
    stored = (row < group)[:, None] & (d < head_dim)[None, :]
    if item >= total_items:
        # Memory of the output may be what the previous kernel still reads.
        if pdl:
            tl.extra.cuda.gdc_wait()
        padding_token = tl.load(counts + 1) + item - total_items
        if padding_token < num_zeroed:
            zeros = tl.zeros([query_rows, dim], output.dtype.element_ty)
            padding = (padding_token * kv_heads + head).to(tl.int64) * (group * head_dim)
            tl.store(output + padding + inner, zeros, mask=stored)
        return

    table = block_tables + table_row.to(tl.int64) * max_blocks
    offset = tl.arange(0, tile)
    token = first + offset
    page = tl.load(table + (token >> block_shift), mask=token < last, other=0)
    if pdl:
        tl.extra.cuda.gdc_wait()
    heads_place = head * (group * head_dim)
    q_place = sequence.to(tl.int64) * query_stride + heads_place
    q = tl.load(query + q_place + inner, mask=stored, other=0.0)
    if quantised:
        q, row_scale = scaled_query(q, scale)
    in_head = (d < head_dim)[None, :]
    top = tl.full([query_rows], float("-inf"), tl.float32)
    total = tl.zeros([query_rows], tl.float32)
    attended = tl.zeros([query_rows, dim], tl.float32)
    for start in range(first, last, tile):
        token = start + offset
        seen = token < last
        slot = (page << block_shift) | (token & ((1 << block_shift) - 1))
        # Read one tile ahead: a page number that this turn's loads wait for can't be pipelined.
        ahead = token + tile
        page = tl.load(table + (ahead >> block_shift), mask=ahead < last, other=0)
        if wide:
            slot = slot.to(tl.int64)
        at = (slot * (kv_heads * head_dim))[:, None] + (head * head_dim + d)[None, :]
        wanted = seen[:, None] & in_head
        key = tl.load(keys + at, mask=wanted, other=0.0)
        scores = tl.dot(q, tl.trans(key.to(q.dtype)))
        if quantised:
            scale_place = slot * kv_heads + head
            key_scale = tl.load(key_scales + scale_place, mask=seen, other=0.0)
            scores *= row_scale[:, None] * key_scale[None, :]
        else:
            scores *= scale
        scores = tl.where(seen[None, :], scores, float("-inf"))
        new_top = tl.maximum(top, tl.max(scores, 1))
        rescale = tl.exp2(top - new_top)
        if quantised:
            weight = tl.exp2(scores - (new_top - LOG2_LARGEST)[:, None])
        else:
            weight = tl.exp2(scores - new_top[:, None])
        total = total * rescale + tl.sum(weight, 1)
        top = new_top
        value = tl.load(values + at, mask=wanted, other=0.0)
        if quantised:
            value = converted(value, pinned)
            value_scale = tl.load(value_scales + scale_place, mask=seen, other=0.0)
            weight *= value_scale[None, :]
        attended = attended * rescale[:, None]
        attended = tl.dot(weight.to(q.dtype), value, attended)
    if pdl:
        # No sooner: programs of the next kernels would take this one's multiprocessors and memory
        # bandwidth while it still reads tokens.
        tl.extra.cuda.gdc_launch_dependents()
    attended = attended / total[:, None]

    if num_parts == 1:
        place = sequence.to(tl.int64) * (kv_heads * group * head_dim) + heads_place
        tl.store(output + place + inner, attended.to(output.dtype.element_ty), mask=stored)
    else:
        part = item * kv_heads + head
        tl.store(partials + part * (group * head_dim) + inner, attended, mask=stored)
        tl.store(log_sums + part * group + row, top + tl.log2(total), mask=row < group)
        # Every thread's share of the part is written before its arrival is told.
        tl.debug_barrier()
        arrival = arrivals + sequence * kv_heads + head
        if tl.atomic_add(arrival, 1, sem="acq_rel") == num_parts - 1:
            tl.store(arrival, 0)
            join_parts(
                output, partials, log_sums, sequence, head, first_item, num_parts,
                kv_heads, group, head_dim, group_rows, dim, parts_at_once,
            )  # fmt: skip
