"""Products that still lack their scales, for the kernels that read them."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from engines.kernels.base import Product, Scaled
from engines.kernels.triton.dependent_launch import wait_for_previous

_BLOCK = 1024
_WARPS = 4


class Operands(NamedTuple):
    """A product as a kernel's arguments; None for what it doesn't lack."""

    values: torch.Tensor | None
    token_scale: torch.Tensor | None
    row_scale: torch.Tensor | None
    row_step: int
    bias: torch.Tensor | None


def operands(product: Product | None) -> Operands:
    """`values`, and what `scaled` asks for beside them."""
    if product is None or isinstance(product, torch.Tensor):
        return Operands(product, None, None, 0, None)
    step = int(product.row_scale.numel() > 1)
    return Operands(product.values, product.token_scale, product.row_scale, step, product.bias)


@triton.jit
def scaled(product, token, columns, inside, missing):
    """float32 columns of a token's product with the scales and the bias that it lacks.

    `missing`: token scales, row scales, the step from one of these to the next, and the bias.
    """
    if missing[1] is not None:
        rows = tl.load(missing[1] + columns * missing[2], mask=inside, other=0.0)
        product *= tl.load(missing[0] + token) * rows
        if missing[3] is not None:
            product += tl.load(missing[3] + columns, mask=inside, other=0.0).to(tl.float32)
    return product


@triton.jit
def _scale_product(
    values, token_scale, row_scale, row_step, bias, out,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    wait_for_previous(PDL)
    token = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < WIDTH
    x = tl.load(values + token * WIDTH + columns, mask=inside, other=0.0).to(tl.float32)
    missing = (token_scale, row_scale, row_step, bias)
    tl.store(out + token * WIDTH + columns, scaled(x, token, columns, inside, missing), mask=inside)


def scale_product(product: Scaled, pdl: bool = False) -> torch.Tensor:
    """The product itself, `[T, N]` in the dtype of its values."""
    tokens, width = product.values.shape
    out = torch.empty_like(product.values)
    _scale_product[(tokens, triton.cdiv(width, _BLOCK))](
        *operands(product), out, width, _BLOCK, pdl, num_warps=_WARPS, launch_pdl=pdl
    )
    return out
