"""RMSNorm, alone or with the residual's addition before it and the step to FP8 behind it."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from engines.kernels.base import Product
from engines.kernels.triton.dependent_launch import start_next_and_wait
from engines.kernels.triton.quantise import empty_fp8_rows, fp8_scale, row_block, to_fp8
from engines.kernels.triton.scaled import operands, scaled


@triton.jit
def _norm(
    hidden, delta, token_scale, row_scale, row_step, bias, weight, summed, normed, scales, eps,
    WIDTH: tl.constexpr, PARTS: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    inside = columns < WIDTH
    w = tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    start_next_and_wait(PDL)
    places = row.to(tl.int64) * WIDTH + columns
    x = tl.load(hidden + places, mask=inside, other=0.0).to(tl.float32)
    if delta is not None:
        part = delta + row.to(tl.int64) * (WIDTH * PARTS) + columns
        change = tl.load(part, mask=inside, other=0.0).to(tl.float32)
        for _ in tl.static_range(1, PARTS):
            part += WIDTH
            change += tl.load(part, mask=inside, other=0.0)
        missing = (token_scale, row_scale, row_step, bias)
        change = scaled(change, row, columns, inside, missing)
        total = (x + change).to(hidden.dtype.element_ty)
        tl.store(summed + places, total, mask=inside)
        x = total.to(tl.float32)
    y = x * tl.rsqrt(tl.sum(x * x, axis=0) / WIDTH + eps) * w
    if scales is None:
        tl.store(normed + places, y, mask=inside)
    else:
        y = y.to(hidden.dtype.element_ty).to(tl.float32)
        scale = fp8_scale(tl.max(tl.abs(y), axis=0))
        tl.store(normed + places, to_fp8(y, scale), mask=inside)
        tl.store(scales + row, scale)


def _launch(
    hidden: torch.Tensor,
    delta: Product | None,
    weight: torch.Tensor,
    eps: float,
    normed: torch.Tensor,
    scales: torch.Tensor | None,
    pdl: bool,
) -> torch.Tensor:
    rows, width = hidden.shape
    summed = hidden if delta is None else torch.empty_like(hidden)
    parts = delta.shape[1] if isinstance(delta, torch.Tensor) and delta.dim() == 3 else 1
    block, warps = row_block(width)
    _norm[(rows,)](
        hidden, *operands(delta), weight, summed, normed, scales, eps, width, parts, block, pdl,
        num_warps=warps, launch_pdl=pdl,
    )  # fmt: skip
    return summed


def rms_norm(
    hidden: torch.Tensor, weight: torch.Tensor, eps: float, pdl: bool = False
) -> torch.Tensor:
    """Each row over its root mean square, times `weight`; computed in float32.

    Args:
        hidden: `[T, C]`, contiguous.
        weight: `[C]`.
        pdl: whether to start before the previous kernel ends.

    Returns:
        `[T, C]` in the dtype of `hidden`.
    """
    normed = torch.empty_like(hidden)
    _launch(hidden, None, weight, eps, normed, None, pdl)
    return normed


def add_rms_norm(
    hidden: torch.Tensor, delta: Product, weight: torch.Tensor, eps: float, pdl: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """The RMSNorm of `hidden + delta` and that sum, rounded to their dtype: `[T, C]` each.

    `delta` is `[T, C]`, perhaps without its scales, or float32 `[T, parts, C]` of which the parts
    are added.
    """
    normed = torch.empty_like(hidden)
    return normed, _launch(hidden, delta, weight, eps, normed, None, pdl)


def rms_norm_fp8(
    hidden: torch.Tensor, weight: torch.Tensor, eps: float, pdl: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """`quantise_rows` of the RMSNorm: float8_e4m3fn `[T, C]`, float32 scales `[T, 1]`."""
    normed, scales = empty_fp8_rows(hidden, hidden.shape[1])
    _launch(hidden, None, weight, eps, normed, scales, pdl)
    return normed, scales


def add_rms_norm_fp8(
    hidden: torch.Tensor, delta: Product, weight: torch.Tensor, eps: float, pdl: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`rms_norm_fp8` of `hidden + delta`, and that sum: values, scales, `[T, C]`."""
    normed, scales = empty_fp8_rows(hidden, hidden.shape[1])
    return normed, scales, _launch(hidden, delta, weight, eps, normed, scales, pdl)
