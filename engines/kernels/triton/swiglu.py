"""SwiGLU: silu(gate) · up of a joined row, in the model's dtype or in FP8."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from engines.kernels.base import Product, values_of
from engines.kernels.triton.dependent_launch import start_next_and_wait
from engines.kernels.triton.quantise import empty_fp8_rows, fp8_scale, row_block, to_fp8
from engines.kernels.triton.scaled import operands, scaled

_BLOCK = 1024
_WARPS = 4


@triton.jit
def _gated(gate_up, row, columns, inside, missing, WIDTH: tl.constexpr):
    start = gate_up + row.to(tl.int64) * (2 * WIDTH)
    gate = tl.load(start + columns, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(start + WIDTH + columns, mask=inside, other=0.0).to(tl.float32)
    gate = scaled(gate, row, columns, inside, missing)
    up = scaled(up, row, WIDTH + columns, inside, missing)
    return gate * tl.sigmoid(gate) * up


@triton.jit
def _swiglu(
    gate_up, token_scale, row_scale, row_step, bias, out,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    start_next_and_wait(PDL)
    row = tl.program_id(0)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < WIDTH
    missing = (token_scale, row_scale, row_step, bias)
    y = _gated(gate_up, row, columns, inside, missing, WIDTH)
    tl.store(out + row.to(tl.int64) * WIDTH + columns, y, mask=inside)


@triton.jit
def _swiglu_fp8(
    gate_up, token_scale, row_scale, row_step, bias, out, scales,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    start_next_and_wait(PDL)
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    inside = columns < WIDTH
    missing = (token_scale, row_scale, row_step, bias)
    y = _gated(gate_up, row, columns, inside, missing, WIDTH)
    y = y.to(gate_up.dtype.element_ty).to(tl.float32)
    scale = fp8_scale(tl.max(tl.abs(y), axis=0))
    tl.store(out + row.to(tl.int64) * WIDTH + columns, to_fp8(y, scale), mask=inside)
    tl.store(scales + row, scale)


def swiglu(gate_up: Product, pdl: bool = False) -> torch.Tensor:
    """silu of the first half of each row times the second, in float32, rounded once.

    Args:
        gate_up: `[T, 2 * I]`, contiguous.
        pdl: whether to start before the previous kernel ends.

    Returns:
        `[T, I]` in the dtype of `gate_up`, or of its values.
    """
    values = values_of(gate_up)
    rows, width = values.shape[0], values.shape[1] // 2
    out = values.new_empty((rows, width))
    grid = (rows, triton.cdiv(width, _BLOCK))
    _swiglu[grid](*operands(gate_up), out, width, _BLOCK, pdl, num_warps=_WARPS, launch_pdl=pdl)
    return out


def swiglu_fp8(gate_up: Product, pdl: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """`quantise_rows` of `swiglu`: float8_e4m3fn `[T, I]`, float32 scales `[T, 1]`."""
    values = values_of(gate_up)
    rows, width = values.shape[0], values.shape[1] // 2
    out, scales = empty_fp8_rows(values, width)
    block, warps = row_block(width)
    _swiglu_fp8[(rows,)](
        *operands(gate_up), out, scales, width, block, pdl, num_warps=warps, launch_pdl=pdl
    )
    return out, scales
