"""Matrix products of decode steps with few tokens, with what stands before them in the prologue.

Their time is that of reading the matrix. Every program computes the norm or SwiGLU of its part of
the tokens anew: that comes from the cache and saves a kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton

from engines.kernels.base import Fp8Weight
from engines.kernels.triton.skinny_config import (
    MAX_TOKENS,
    DotConfig,
    VectorConfig,
)
from engines.kernels.triton.skinny_dot import dot_product
from engines.kernels.triton.skinny_input import NORM, PLAIN, SWIGLU
from engines.kernels.triton.skinny_vector import vector_product

_SUM_FLOATS = 1 << 21
_ARRIVALS = 1 << 12


@dataclass(frozen=True, slots=True)
class PartialSums:
    """Where programs that share a tile leave their sums; one for each stream of products.

    Attributes:
        sums: float32.
        arrivals: int32, how many have left theirs; 0 between products.
    """

    sums: torch.Tensor
    arrivals: torch.Tensor

    @classmethod
    def allocate(cls, device: torch.device) -> PartialSums:
        return cls(
            torch.empty(_SUM_FLOATS, dtype=torch.float32, device=device),
            torch.zeros(_ARRIVALS, dtype=torch.int32, device=device),
        )


def skinny_linear(
    x: torch.Tensor,
    weight: torch.Tensor | Fp8Weight,
    bias: torch.Tensor | None,
    partial: PartialSums,
    config: VectorConfig | DotConfig,
    *,
    x_scale: torch.Tensor | None = None,
    pdl: bool = False,
) -> torch.Tensor:
    """`x @ weight.T + bias`.

    Args:
        x: `[T, K]`, contiguous, T ≤ 16; bfloat16 or float32, or float8_e4m3fn with its scales.
        weight: `[N, K]`, contiguous.
        bias: `[N]`.
        partial: room for sums that programs share.
        config: how the product is cut.
        x_scale: float32 `[T]` or `[T, 1]` by which FP8 values of `x` are multiplied.
        pdl: whether to start before the previous kernel ends.

    Returns:
        `[T, N]` in the dtype of `x`; bfloat16 where `x` is FP8.
    """
    return _launch(
        x, None, None, None, weight, bias, x_scale, 0.0, PLAIN.value, partial, config, pdl
    )


def skinny_norm_linear(
    hidden: torch.Tensor,
    delta: torch.Tensor | None,
    norm: torch.Tensor,
    eps: float,
    weight: torch.Tensor | Fp8Weight,
    bias: torch.Tensor | None,
    partial: PartialSums,
    config: VectorConfig | DotConfig,
    *,
    pdl: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The product of the RMSNorm of `hidden + delta` with a matrix, and that sum.

    The tokens are divided by their root mean square after the product. Arguments as in
    `skinny_linear`; `hidden` and `delta` are `[T, C]`, `norm` is `[C]`.

    Returns:
        `[T, N]`, and `hidden + delta` `[T, C]`: a new tensor, or `hidden` without a delta.
    """
    total = hidden if delta is None else torch.empty_like(hidden)
    out = _launch(
        hidden, delta, norm, total, weight, bias, None, eps, NORM.value, partial, config, pdl
    )
    return out, total


def skinny_swiglu_linear(
    gate_up: torch.Tensor,
    weight: torch.Tensor | Fp8Weight,
    bias: torch.Tensor | None,
    partial: PartialSums,
    config: VectorConfig | DotConfig,
    *,
    pdl: bool = False,
) -> torch.Tensor:
    """`(silu(gate) * up) @ weight.T + bias`; `gate_up` is `[T, 2K]`, the rest as above."""
    return _launch(
        gate_up, None, None, None, weight, bias, None, 0.0, SWIGLU.value, partial, config, pdl
    )


def _launch(
    x: torch.Tensor,
    delta: torch.Tensor | None,
    norm: torch.Tensor | None,
    hidden: torch.Tensor | None,
    weight: torch.Tensor | Fp8Weight,
    bias: torch.Tensor | None,
    x_scale: torch.Tensor | None,
    eps: float,
    before: int,
    partial: PartialSums,
    config: VectorConfig | DotConfig,
    pdl: bool,
) -> torch.Tensor:
    if isinstance(weight, Fp8Weight):
        values, scale = weight.values, weight.scale
    else:
        values, scale = weight, None
    tokens, (n, k) = x.shape[0], values.shape
    assert tokens <= MAX_TOKENS, f"{tokens} tokens; at most {MAX_TOKENS}"
    row_scales = scale is not None and scale.numel() > 1
    out = x.new_empty((tokens, n), dtype=torch.bfloat16 if x_scale is not None else x.dtype)
    operands = (x, delta, norm, hidden, values, scale, x_scale, bias, out)
    if isinstance(config, VectorConfig):
        vector_product[(triton.cdiv(n, config.block_n),)](
            *operands, eps, tokens, n, k, before, row_scales,
            config.block_n, config.block_k, min(config.ahead, triton.cdiv(k, config.block_k)), pdl,
            num_warps=config.num_warps, launch_pdl=pdl,
        )  # fmt: skip
        return out
    grid = (triton.cdiv(n, config.block_n), config.split_k, triton.cdiv(tokens, config.block_t))
    tiles = grid[0] * grid[2]
    if config.split_k > 1:
        room = tiles * config.split_k * config.block_t * (config.block_n + 1)
        assert room <= partial.sums.numel() and tiles <= partial.arrivals.numel(), (
            f"the sums of {tiles} tiles by {config.split_k} don't fit"
        )
    dot_product[grid](
        *operands, partial.sums, partial.arrivals, tokens, eps, n, k, before, row_scales,
        config.block_t, config.block_n, config.block_k, config.stages, config.split_k,
        config.rows_first, pdl,
        num_warps=config.num_warps, launch_pdl=pdl,
    )  # fmt: skip
    return out
