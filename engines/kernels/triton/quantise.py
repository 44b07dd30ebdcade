"""Rows in float8_e4m3fn, each over a scale of its own."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from engines.kernels.triton.dependent_launch import wait_for_previous
from engines.kv_cache import FP8, FP8_LEAST_SCALE, FP8_MAX

_LARGEST: tl.constexpr = tl.constexpr(FP8_MAX)
_LEAST_SCALE: tl.constexpr = tl.constexpr(FP8_LEAST_SCALE)


@triton.jit
def fp8_scale(amax):
    """The scale under which the largest magnitude is FP8's largest; never 0."""
    return tl.maximum(amax / _LARGEST, _LEAST_SCALE)


@triton.jit
def to_fp8(values, scale):
    """float32 values over their scale, in float8_e4m3fn."""
    scaled = values * (1.0 / scale)
    return tl.minimum(tl.maximum(scaled, -_LARGEST), _LARGEST).to(tl.float8e4nv)


@triton.jit
def _quantise_rows(
    values, quantised, scales, WIDTH: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr
):
    wait_for_previous(PDL)
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    places = row.to(tl.int64) * WIDTH + columns
    x = tl.load(values + places, mask=columns < WIDTH, other=0.0).to(tl.float32)
    scale = fp8_scale(tl.max(tl.abs(x), axis=0))
    tl.store(quantised + places, to_fp8(x, scale), mask=columns < WIDTH)
    tl.store(scales + row, scale)


def row_block(width: int) -> tuple[int, int]:
    """Block size and warps for a program that holds one row of `width` elements."""
    block = triton.next_power_of_2(width)
    return block, min(max(block // 512, 1), 32)


def empty_fp8_rows(like: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Room for as many rows as `like` has: float8_e4m3fn `[T, width]` and float32 `[T, 1]`."""
    rows = like.shape[0]
    return like.new_empty((rows, width), dtype=FP8), like.new_empty((rows, 1), dtype=torch.float32)


def quantise_rows(values: torch.Tensor, pdl: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Each row over its own scale, amax / 448.

    Args:
        values: `[T, K]`, contiguous.
        pdl: whether to start before the previous kernel ends.

    Returns:
        float8_e4m3fn `[T, K]` and float32 scales `[T, 1]`.
    """
    rows, width = values.shape
    quantised, scales = empty_fp8_rows(values, width)
    block, warps = row_block(width)
    _quantise_rows[(rows,)](
        values, quantised, scales, width, block, pdl, num_warps=warps, launch_pdl=pdl
    )
    return quantised, scales
