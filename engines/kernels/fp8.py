"""Matrix products in float8_e4m3fn: weights quantised once, activations at every product."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from engines.dtypes import name_of
from engines.errors import EngineConfigError
from engines.kernels.base import Fp8Weight, Scaled
from engines.kv_cache import FP8, FP8_LEAST_SCALE, FP8_MAX
from engines.limits import FP8_CAPABILITY, FP8_MULTIPLE

_CHUNK_ELEMENTS = 1 << 24
_SCALES_TRIED = 8


def require_fp8(device: torch.device) -> None:
    """Raises EngineConfigError unless the device multiplies FP8 matrices."""
    if device.type != "cuda":
        raise EngineConfigError(
            f"quantization fp8 needs a GPU with FP8 tensor cores, not device {device.type!r}; "
            "take --quantization none"
        )
    capability = torch.cuda.get_device_capability(device)
    if capability < FP8_CAPABILITY:
        raise EngineConfigError(
            f"quantization fp8 needs compute capability 8.9 or more; "
            f"{torch.cuda.get_device_name(device)} has {capability[0]}.{capability[1]}; "
            "take --quantization none"
        )


def require_fp8_shape(out_features: int, in_features: int) -> None:
    """Raises EngineConfigError unless FP8 products take a matrix of this shape."""
    if out_features % FP8_MULTIPLE or in_features % FP8_MULTIPLE:
        raise EngineConfigError(
            f"quantization fp8 needs matrices whose sides are multiples of {FP8_MULTIPLE}; "
            f"one of this model is [{out_features}, {in_features}]; take --quantization none"
        )


def quantise_weight(weight: torch.Tensor, per_row: bool) -> Fp8Weight:
    """A matrix in FP8, quantised a few rows at a time: no float32 copy of the whole.

    FP8's steps double at every power of two, so where a row's weights lie between two of them
    matters. Of scales from amax / 448 up to twice that, the one with the least squared error is
    taken: some 15 % less error than under the first.

    Args:
        weight: `[N, K]`, any device.
        per_row: one scale for each row; else one for the matrix.

    Raises:
        EngineConfigError: a side is no multiple of 16.
    """
    rows, width = weight.shape
    require_fp8_shape(rows, width)
    chunk_rows = max(_CHUNK_ELEMENTS // width, 1)
    chunks = torch.split(weight, chunk_rows)
    amax = torch.cat([chunk.abs().amax(dim=1) for chunk in chunks]).float()
    if not per_row:
        amax = amax.amax(dim=0, keepdim=True)
    scale = _best_scale(chunks, (amax / FP8_MAX).clamp(min=FP8_LEAST_SCALE), rows)
    values = torch.empty_like(weight, dtype=FP8)
    for chunk, into, by in zip(
        chunks, torch.split(values, chunk_rows), _by_row(scale, rows, chunk_rows), strict=True
    ):
        into.copy_(_to_fp8(chunk, by))
    return Fp8Weight(values, scale)


def _best_scale(chunks: Sequence[torch.Tensor], least: torch.Tensor, rows: int) -> torch.Tensor:
    """The scale with the least squared error, of each row or of all, as `least` has them."""
    factors = torch.exp2(torch.arange(_SCALES_TRIED, device=least.device) / _SCALES_TRIED)
    errors = []
    for factor in factors:
        scales = _by_row(least * factor, rows, chunks[0].shape[0])
        parts = [_squared_error(chunk, by) for chunk, by in zip(chunks, scales, strict=True)]
        errors.append(torch.cat(parts))
    summed = torch.stack(errors)
    if least.numel() == 1:
        summed = summed.sum(dim=1, keepdim=True)
    return least * factors[summed.argmin(dim=0)]


def _by_row(scale: torch.Tensor, rows: int, chunk_rows: int) -> Sequence[torch.Tensor]:
    return torch.split(scale.expand(rows).unsqueeze(1), chunk_rows)


def _squared_error(weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Of each row, float32 `[rows]`."""
    return (_to_fp8(weight, scale).float() * scale - weight.float()).square().sum(dim=1)


def quantise_activations(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Values `[…, K]` in FP8: float8_e4m3fn, and a float32 scale for each row, `[…, 1]`."""
    amax = values.abs().amax(dim=-1, keepdim=True)
    scale = (amax.float() / FP8_MAX).clamp(min=FP8_LEAST_SCALE)
    return _to_fp8(values, scale), scale


def fp8_linear(
    x_values: torch.Tensor,
    x_scale: torch.Tensor,
    weight: Fp8Weight,
    bias: torch.Tensor | None,
    out_dtype: torch.dtype,
) -> torch.Tensor:
    """The product of quantised activations with a quantised matrix.

    Args:
        x_values: float8_e4m3fn `[T, K]`, contiguous.
        x_scale: float32 `[T, 1]`.
        bias: `[N]` in `out_dtype`.
        out_dtype: bfloat16, the one that scales by row allow.

    Returns:
        `[T, N]`.

    Raises:
        EngineConfigError: the device, the matrix's shape or the dtype doesn't allow FP8.
    """
    _require_fp8_product(x_values, weight, out_dtype)
    row_scale = weight.scale.reshape(1, -1).expand(1, weight.values.shape[0]).contiguous()
    return _multiply(x_values, weight, x_scale, row_scale, bias)


def fp8_product(
    x_values: torch.Tensor,
    x_scale: torch.Tensor,
    weight: Fp8Weight,
    bias: torch.Tensor | None,
    out_dtype: torch.dtype,
    one: torch.Tensor,
) -> Scaled:
    """As `fp8_linear`, but scales and bias are left to whoever reads the product.

    Up to 256 tokens the products that need no scales are up to twice as fast on Hopper as those by
    row. The sums, at most 448² · K, fit bfloat16's range, and its step is relative: they lose no
    more by rounding than scaled ones do.

    Args:
        one: float32 1, on the device.
    """
    _require_fp8_product(x_values, weight, out_dtype)
    return Scaled(_multiply(x_values, weight, one, one, None), x_scale, weight.scale, bias)


def _require_fp8_product(values: torch.Tensor, weight: Fp8Weight, dtype: torch.dtype) -> None:
    require_fp8(values.device)
    require_fp8_shape(*weight.values.shape)
    if dtype != torch.bfloat16:
        raise EngineConfigError(f"quantization fp8 needs --dtype bfloat16, not {name_of(dtype)}")


def _multiply(
    values: torch.Tensor,
    weight: Fp8Weight,
    token_scale: torch.Tensor,
    row_scale: torch.Tensor,
    bias: torch.Tensor | None,
) -> torch.Tensor:
    return torch._scaled_mm(
        values,
        weight.values.t(),
        scale_a=token_scale,
        scale_b=row_scale,
        bias=bias,
        out_dtype=torch.bfloat16,
        use_fast_accum=True,
    )


def _to_fp8(values: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return (values.float() / scale).clamp_(-FP8_MAX, FP8_MAX).to(FP8)
