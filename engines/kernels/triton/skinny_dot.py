"""Matrix times a few tokens on the tensor cores, the tokens padded to a block.

Where the matrix has too few rows to keep every multiprocessor busy, several programs share a tile
and each takes a part of the columns; the last to arrive adds their sums in a fixed order.
"""

# Device code: Triton has no types and names its constants in capitals.
# mypy: ignore-errors
from __future__ import annotations

import triton
import triton.language as tl

from engines.kernels.triton.skinny_input import NORM, PLAIN, SWIGLU, load_parts, operand, residual


@triton.jit
def prefetch(weight, rows, first, N: tl.constexpr, K: tl.constexpr,
             LINES: tl.constexpr, PREFETCH_K: tl.constexpr):  # fmt: skip
    """Calls the first columns of a program's tile into the L2 cache."""
    line: tl.constexpr = PREFETCH_K // LINES
    columns = first + tl.arange(0, LINES) * line
    places = tl.minimum(rows, N - 1).to(tl.int64)[:, None] * K
    addresses = (weight + places + tl.minimum(columns, K - 1)[None, :]).to(tl.int64)
    tl.inline_asm_elementwise(
        "prefetch.global.L2 [$1]; mov.u32 $0, 0;", "=r,l", [addresses],
        dtype=tl.int32, is_pure=False, pack=1,
    )  # fmt: skip


@triton.jit
def _finish(
    total, squares, weight_scale, x_scale, bias, out, tokens, rows, T, eps,
    N: tl.constexpr, K: tl.constexpr, BEFORE: tl.constexpr, ROW_SCALES: tl.constexpr,
):  # fmt: skip
    """Scales, bias and the store of a `[rows, tokens]` tile."""
    token_inside = tokens < T
    row_inside = rows < N
    if BEFORE == NORM:
        total *= tl.rsqrt(squares / K + eps)[None, :]
    if x_scale is not None:
        total *= tl.load(x_scale + tokens, mask=token_inside, other=0.0)[None, :]
    if weight_scale is not None:
        if ROW_SCALES:
            total *= tl.load(weight_scale + rows, mask=row_inside, other=0.0)[:, None]
        else:
            total *= tl.load(weight_scale)
    if bias is not None:
        total += tl.load(bias + rows, mask=row_inside, other=0.0).to(tl.float32)[:, None]
    places = tokens[None, :] * N + rows[:, None]
    tl.store(out + places, total, mask=row_inside[:, None] & token_inside[None, :])


@triton.jit(do_not_specialize=["T"])
def dot_product(
    x, delta, norm, hidden, weight, weight_scale, x_scale, bias, out, partial_sums, arrivals,
    T, eps, N: tl.constexpr, K: tl.constexpr, BEFORE: tl.constexpr, ROW_SCALES: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, STAGES: tl.constexpr,
    SPLIT_K: tl.constexpr, ROWS_FIRST: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """A `[BLOCK_N, BLOCK_T]` tile of the product; grid: row tiles, column parts, token tiles."""
    if PDL:
        tl.extra.cuda.gdc_launch_dependents()
    row_tile = tl.program_id(0)
    part = tl.program_id(1)
    steps: tl.constexpr = (K + BLOCK_K - 1) // BLOCK_K
    part_steps: tl.constexpr = (steps + SPLIT_K - 1) // SPLIT_K
    part_k: tl.constexpr = part_steps * BLOCK_K
    rows = row_tile * BLOCK_N + tl.arange(0, BLOCK_N)
    tokens = tl.program_id(2) * BLOCK_T + tl.arange(0, BLOCK_T)
    columns = tl.arange(0, BLOCK_K)
    if PDL:
        line: tl.constexpr = 1024 // weight.dtype.element_ty.primitive_bitwidth
        ahead: tl.constexpr = BLOCK_K * STAGES
        prefetch(weight, rows, part * part_k, N, K, triton.next_power_of_2(ahead) // line,
                 triton.next_power_of_2(ahead))  # fmt: skip
        tl.extra.cuda.gdc_wait()

    stride: tl.constexpr = 2 * K if BEFORE == SWIGLU else K
    weights = weight + rows.to(tl.int64)[:, None] * K
    total = tl.zeros([BLOCK_N, BLOCK_T], tl.float32)
    if not ROWS_FIRST:
        total = tl.zeros([BLOCK_T, BLOCK_N], tl.float32)
    squares = tl.zeros([BLOCK_T, BLOCK_K], tl.float32)
    for step in tl.range(part_steps, num_stages=STAGES):
        here = part * part_k + step * BLOCK_K + columns
        w = tl.load(
            weights + here[None, :], mask=(rows < N)[:, None] & (here < K)[None, :], other=0.0,
            eviction_policy="evict_first",
        )  # fmt: skip
        inside = (tokens < T)[:, None] & (here < K)[None, :]
        places = tokens[:, None] * stride + here[None, :]
        parts = load_parts(
            x, delta, norm, places, here[None, :], inside, (here < K)[None, :], K, BEFORE
        )
        if BEFORE == PLAIN:
            values = parts[0]
        else:
            value = residual(parts, delta is not None)
            if delta is not None:
                tl.store(hidden + places, value, mask=inside & (row_tile == 0))
            if BEFORE == NORM:
                h = value.to(tl.float32)
                squares += h * h
            values = operand(parts, value, BEFORE).to(value.dtype)
        w = w.to(values.dtype)
        if ROWS_FIRST:
            total = tl.dot(w, tl.trans(values), total, input_precision="ieee")
        else:
            total = tl.dot(values, tl.trans(w), total, input_precision="ieee")
    if not ROWS_FIRST:
        total = tl.trans(total)
    square_sums = tl.sum(squares, axis=1)

    if SPLIT_K == 1:
        _finish(total, square_sums, weight_scale, x_scale, bias, out, tokens, rows, T, eps,
                N, K, BEFORE, ROW_SCALES)  # fmt: skip
    else:
        tile = tl.program_id(2) * tl.num_programs(0) + row_tile
        room: tl.constexpr = BLOCK_T * (BLOCK_N + 1)
        own = partial_sums + (tile * SPLIT_K).to(tl.int64) * room
        places = tl.arange(0, BLOCK_N)[:, None] * BLOCK_T + tl.arange(0, BLOCK_T)[None, :]
        square_places = BLOCK_N * BLOCK_T + tl.arange(0, BLOCK_T)
        tl.store(own + part * room + places, total)
        tl.store(own + part * room + square_places, square_sums)
        # The whole program's stores come before the arrival that one thread announces.
        tl.debug_barrier()
        arrived = tl.atomic_add(arrivals + tile, 1, sem="acq_rel", scope="gpu")
        if arrived == SPLIT_K - 1:
            total = tl.zeros([BLOCK_N, BLOCK_T], tl.float32)
            square_sums = tl.zeros([BLOCK_T], tl.float32)
            for other in tl.static_range(SPLIT_K):
                total += tl.load(own + other * room + places, cache_modifier=".cg")
                square_sums += tl.load(own + other * room + square_places, cache_modifier=".cg")
            tl.store(arrivals + tile, 0)
            _finish(total, square_sums, weight_scale, x_scale, bias, out, tokens, rows, T, eps,
                    N, K, BEFORE, ROW_SCALES)  # fmt: skip
