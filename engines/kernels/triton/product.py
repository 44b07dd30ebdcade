"""Matrix products of some dozens of tokens with small matrices.

Where there are fewer tiles than multiprocessors, several programs share a tile and each takes a
part of the columns. Their sums lie side by side in the result: the norm that reads it adds them,
which needs no program to wait for another.
"""

# Device code: Triton has no types, names its constants in capitals and knows no unpacking.
# mypy: ignore-errors
# ruff: noqa: RUF005
from __future__ import annotations

import torch
import triton
import triton.language as tl

from engines.kernels.triton.product_config import ProductConfig
from engines.kernels.triton.skinny_dot import prefetch


@triton.jit
def _multiply(weights, values, total, ROWS_FIRST: tl.constexpr):
    if ROWS_FIRST:
        return tl.dot(weights, tl.trans(values), total, input_precision="ieee")
    else:
        return tl.dot(values, tl.trans(weights), total, input_precision="ieee")


@triton.jit
def _with_bias(total, bias, rows, part, N: tl.constexpr):
    if bias is None:
        return total
    else:
        b = tl.load(bias + rows, mask=(rows < N) & (part == 0), other=0.0)
        return total + b.to(tl.float32)[None, :]


@triton.jit(do_not_specialize=["T"])
def _product(
    x, weight, bias, out, T, N: tl.constexpr, K: tl.constexpr, GATED: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, STAGES: tl.constexpr,
    SPLIT_K: tl.constexpr, ROWS_FIRST: tl.constexpr, HELD: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """A `[BLOCK_T, BLOCK_N]` tile; grid: token tiles, row tiles, parts of the columns."""
    if PDL:
        tl.extra.cuda.gdc_launch_dependents()
    tokens = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    rows = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    part = tl.program_id(2)
    part_k: tl.constexpr = K // SPLIT_K
    columns = part * part_k + tl.arange(0, BLOCK_K)
    up = weight + N * K
    # What is outside is read from other rows instead: loads without a mask are the fastest. Not
    # all from one row: on an H200 that took 15 to 100 % longer.
    places = tl.minimum(rows, N - 1)[:, None] * K + columns[None, :]
    inputs = x + (tokens % T)[:, None] * K + columns[None, :]
    steps: tl.constexpr = part_k // BLOCK_K
    held = ()
    if HELD:
        for step in tl.static_range(steps):
            held = held + (tl.load(weight + places + step * BLOCK_K),)
    if PDL and not HELD:
        early: tl.constexpr = triton.next_power_of_2(min(part_k, 512))
        prefetch(weight, rows, part * part_k, N, K, early // 64, early)
        if GATED:
            prefetch(up, rows, part * part_k, N, K, early // 64, early)
    if PDL:
        tl.extra.cuda.gdc_wait()

    total = tl.zeros([BLOCK_N, BLOCK_T] if ROWS_FIRST else [BLOCK_T, BLOCK_N], tl.float32)
    total_up = total
    if HELD:
        values = ()
        for step in tl.static_range(steps):
            values = values + (tl.load(inputs + step * BLOCK_K),)
        for step in tl.static_range(steps):
            total = _multiply(held[step], values[step], total, ROWS_FIRST)
    else:
        for step in tl.range(steps, num_stages=STAGES):
            values = tl.load(inputs + step * BLOCK_K)
            w = tl.load(weight + places + step * BLOCK_K)
            total = _multiply(w, values, total, ROWS_FIRST)
            if GATED:
                w = tl.load(up + places + step * BLOCK_K)
                total_up = _multiply(w, values, total_up, ROWS_FIRST)
    if ROWS_FIRST:
        total = tl.trans(total)
    total = _with_bias(total, bias, rows, part, N)
    if GATED:
        if ROWS_FIRST:
            total_up = tl.trans(total_up)
        total_up = _with_bias(total_up, None if bias is None else bias + N, rows, part, N)
        total = total * tl.sigmoid(total) * total_up
    places = (tokens * SPLIT_K + part)[:, None] * N + rows[None, :]
    tl.store(out + places, total, mask=(tokens < T)[:, None] & (rows < N)[None, :])


def split_product(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    config: ProductConfig,
    pdl: bool = False,
) -> torch.Tensor:
    """`x @ weight.T + bias`, or the sums that add up to it.

    Args:
        x: `[T, K]`, contiguous.
        weight: `[N, K]`, contiguous.
        bias: `[N]`.
        config: how the product is cut.
        pdl: whether to start before the previous kernel ends.

    Returns:
        `[T, N]` in the dtype of `x`; float32 `[T, split_k, N]` where columns are split.
    """
    tokens, n = x.shape[0], weight.shape[0]
    if config.split_k == 1:
        out = x.new_empty((tokens, n))
    else:
        out = x.new_empty((tokens, config.split_k, n), dtype=torch.float32)
    _launch(x, weight, bias, out, n, False, config, pdl)
    return out


def gated_product(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    config: ProductConfig,
    pdl: bool = False,
) -> torch.Tensor:
    """`silu(gate) * up` of `x @ weight.T + bias`, rounded once.

    `weight` is `[2N, K]`, gate above up; `config` doesn't split columns. Returns `[T, N]`.
    """
    assert config.split_k == 1 and not config.held, "the gate needs whole sums"
    n = weight.shape[0] // 2
    out = x.new_empty((x.shape[0], n))
    _launch(x, weight, bias, out, n, True, config, pdl)
    return out


def _launch(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    out: torch.Tensor,
    n: int,
    gated: bool,
    config: ProductConfig,
    pdl: bool,
) -> None:
    (tokens, k), c = x.shape, config
    assert k % (c.split_k * c.block_k) == 0, f"{k} columns in {c.split_k} parts of {c.block_k}"
    grid = (triton.cdiv(tokens, c.block_t), triton.cdiv(n, c.block_n), c.split_k)
    _product[grid](
        x, weight, bias, out, tokens, n, k, gated,
        c.block_t, c.block_n, c.block_k, c.stages, c.split_k, c.rows_first, c.held, pdl,
        num_warps=c.num_warps, launch_pdl=pdl,
    )  # fmt: skip
