"""Matrix times one to four tokens, by multiplying and adding in registers.

The time is that of reading the matrix once, so the loads are all that counts: a program holds a
few rows, several tiles of 16-byte loads ahead, and the first of them start before the previous
kernel ends.
"""

# Device code: Triton has no types, names its constants in capitals and knows no unpacking.
# mypy: ignore-errors
# ruff: noqa: RUF005
from __future__ import annotations

import triton
import triton.language as tl

from engines.kernels.triton.skinny_input import (
    NORM,
    SWIGLU,
    load_parts,
    operand,
    residual,
)


@triton.jit
def _load_weight(pointers, columns, rows, step: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
                 BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):  # fmt: skip
    inside = (columns + step * BLOCK_K < K)[None, :]
    if N % BLOCK_N != 0:
        inside = inside & (rows < N)[:, None]
    tile = pointers + step * BLOCK_K
    return tl.load(tile, mask=inside, other=0.0, eviction_policy="evict_first")


@triton.jit
def _load_tokens(
    x, delta, norm, columns, step: tl.constexpr,
    T: tl.constexpr, K: tl.constexpr, BLOCK_K: tl.constexpr, BEFORE: tl.constexpr,
):  # fmt: skip
    here = columns + step * BLOCK_K
    inside = here < K
    stride: tl.constexpr = 2 * K if BEFORE == SWIGLU else K
    tokens = ()
    for token in tl.static_range(T):
        parts = load_parts(x, delta, norm, token * stride + here, here, inside, inside, K, BEFORE)
        tokens = tokens + (parts,)
    return tokens


@triton.jit
def vector_product(
    x, delta, norm, hidden, weight, weight_scale, x_scale, bias, out, eps,
    T: tl.constexpr, N: tl.constexpr, K: tl.constexpr, BEFORE: tl.constexpr,
    ROW_SCALES: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    AHEAD: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Rows `[BLOCK_N * program, …)` of `weight` times T tokens; `AHEAD` tiles loaded in advance."""
    steps: tl.constexpr = (K + BLOCK_K - 1) // BLOCK_K
    if PDL:
        tl.extra.cuda.gdc_launch_dependents()
    program = tl.program_id(0)
    rows = program * BLOCK_N + tl.arange(0, BLOCK_N)
    columns = tl.arange(0, BLOCK_K)
    first = weight + program.to(tl.int64) * (BLOCK_N * K)
    pointers = first + tl.arange(0, BLOCK_N)[:, None] * K + columns[None, :]

    weights = ()
    for step in tl.static_range(AHEAD):
        tile = _load_weight(pointers, columns, rows, step, N, K, BLOCK_N, BLOCK_K)
        weights = weights + (tile,)
    if PDL:
        tl.extra.cuda.gdc_wait()
    inputs = ()
    for step in tl.static_range(AHEAD):
        inputs = inputs + (_load_tokens(x, delta, norm, columns, step, T, K, BLOCK_K, BEFORE),)

    sums = ()
    squares = ()
    for _ in tl.static_range(T):
        sums = sums + (tl.zeros([BLOCK_N, BLOCK_K // 8], tl.float32),)
        squares = squares + (tl.zeros([BLOCK_K], tl.float32),)
    for step in tl.static_range(steps):
        w = weights[0].to(tl.float32)
        tokens = inputs[0]
        weights = weights[1:]
        inputs = inputs[1:]
        if step + AHEAD < steps:
            tile = _load_weight(pointers, columns, rows, step + AHEAD, N, K, BLOCK_N, BLOCK_K)
            weights = weights + (tile,)
            new = _load_tokens(x, delta, norm, columns, step + AHEAD, T, K, BLOCK_K, BEFORE)
            inputs = inputs + (new,)
        here = columns + step * BLOCK_K
        new_sums = ()
        new_squares = ()
        for token in tl.static_range(T):
            value = residual(tokens[token], delta is not None)
            if delta is not None:
                tl.store(hidden + token * K + here, value, mask=(here < K) & (program == 0))
            if BEFORE == NORM:
                h = value.to(tl.float32)
                new_squares = new_squares + (squares[token] + h * h,)
            products = w * operand(tokens[token], value, BEFORE)[None, :]
            by_eights = tl.reshape(products, [BLOCK_N, BLOCK_K // 8, 8])
            new_sums = new_sums + (sums[token] + tl.sum(by_eights, axis=2),)
        sums = new_sums
        squares = new_squares

    for token in tl.static_range(T):
        total = tl.sum(sums[token], axis=1)
        if BEFORE == NORM:
            total *= tl.rsqrt(tl.sum(squares[token], axis=0) / K + eps)
        if x_scale is not None:
            total *= tl.load(x_scale + token)
        if weight_scale is not None:
            if ROW_SCALES:
                total *= tl.load(weight_scale + rows, mask=rows < N, other=0.0)
            else:
                total *= tl.load(weight_scale)
        if bias is not None:
            total += tl.load(bias + rows, mask=rows < N, other=0.0).to(tl.float32)
        tl.store(out + token * N + rows, total, mask=rows < N)
