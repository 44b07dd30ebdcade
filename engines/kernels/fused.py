"""A layer's parts in fused Triton kernels, for CUDA.

Steps of many tokens: a norm with the residual's addition before it, SwiGLU, and rotation with the
write to the cache are one pass over memory each, between matrix products of cuBLAS. Steps of few
tokens read little but weights: there the norm and SwiGLU move into the products themselves. Small
matrices and some dozens of tokens have a product of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import linear as product

from engines.kernels.base import Fp8Weight, Heads, Linear, Product, Scaled, values_of
from engines.kernels.fp8 import fp8_product
from engines.kernels.triton.dependent_launch import can_start_early
from engines.kernels.triton.norms import add_rms_norm, add_rms_norm_fp8, rms_norm, rms_norm_fp8
from engines.kernels.triton.product import gated_product, split_product
from engines.kernels.triton.product_config import gated_config, product_config
from engines.kernels.triton.quantise import quantise_rows
from engines.kernels.triton.rotate_store import rotate_and_store
from engines.kernels.triton.scaled import scale_product
from engines.kernels.triton.skinny import (
    PartialSums,
    skinny_linear,
    skinny_norm_linear,
    skinny_swiglu_linear,
)
from engines.kernels.triton.skinny_config import (
    MAX_TOKENS,
    DotConfig,
    VectorConfig,
    fp8_config,
    skinny_config,
)
from engines.kernels.triton.swiglu import swiglu, swiglu_fp8
from engines.kv_cache import LayerKV
from engines.models.rotary import RotaryTable


@dataclass(frozen=True, slots=True)
class _Rotation:
    cos: torch.Tensor
    sin: torch.Tensor
    positions: torch.Tensor


class FusedKernels:
    """Triton and cuBLAS. Satisfies `LayerKernels`.

    Args:
        device: where the products of few tokens keep the sums that their programs share.
        pdl: whether kernels start before the one before them ends; None: where the device can.
    """

    name = "fused"

    def __init__(self, device: torch.device, pdl: bool | None = None) -> None:
        self._partial = PartialSums.allocate(device)
        self._one = torch.ones((), device=device)
        self._shared_bytes = _shared_bytes(device)
        if pdl is None:
            pdl = can_start_early(device)
        self._pdl = pdl

    def norm_linear(
        self,
        hidden: torch.Tensor,
        delta: Product | None,
        norm: torch.Tensor,
        eps: float,
        linear: Linear,
    ) -> tuple[Product, torch.Tensor]:
        config = _skinny(hidden, linear)
        plain = isinstance(delta, torch.Tensor) and delta.dim() == 2
        if config is not None and (delta is None or plain):
            assert not isinstance(delta, Scaled)
            return skinny_norm_linear(
                hidden, delta, norm, eps, _weight(linear), linear.bias, self._partial, config,
                pdl=self._pdl,
            )  # fmt: skip
        if linear.fp8 is not None:
            if delta is None:
                values, scale = rms_norm_fp8(hidden, norm, eps, self._pdl)
            else:
                values, scale, hidden = add_rms_norm_fp8(hidden, delta, norm, eps, self._pdl)
            return self._fp8(values, scale, linear.fp8, linear.bias, hidden.dtype), hidden
        normed, hidden = self._norm(hidden, delta, norm, eps)
        return self._product(normed, linear, may_split=False), hidden

    def linear(self, values: torch.Tensor, linear: Linear) -> Product:
        config = _skinny(values, linear)
        if config is not None:
            return skinny_linear(
                values, _weight(linear), linear.bias, self._partial, config, pdl=self._pdl
            )
        if linear.fp8 is not None:
            quantised, scale = quantise_rows(values, self._pdl)
            return self._fp8(quantised, scale, linear.fp8, linear.bias, values.dtype)
        return self._product(values, linear, may_split=True)

    def mlp(
        self,
        hidden: torch.Tensor,
        delta: Product | None,
        norm: torch.Tensor,
        eps: float,
        gate_up: Linear,
        down: Linear,
    ) -> tuple[Product, torch.Tensor]:
        full = gate_up.fp8 is None and down.fp8 is None
        if full and _skinny(hidden, gate_up) is None:
            tokens, (n, k) = hidden.shape[0], gate_up.full().shape
            config = None
            if hidden.element_size() == 2:
                config = gated_config(tokens, n // 2, k, self._shared_bytes)
            if config is not None:
                normed, hidden = self._norm(hidden, delta, norm, eps)
                gated = gated_product(normed, gate_up.full(), gate_up.bias, config, self._pdl)
                return self._product(gated, down, may_split=True), hidden
        joined, hidden = self.norm_linear(hidden, delta, norm, eps, gate_up)
        return self._swiglu_linear(joined, down), hidden

    def whole(self, delta: Product, dtype: torch.dtype) -> torch.Tensor:
        if isinstance(delta, Scaled):
            return scale_product(delta, self._pdl)
        return delta if delta.dim() == 2 else delta.sum(dim=1).to(dtype)

    def rotation(
        self, table: RotaryTable, positions: torch.Tensor, dtype: torch.dtype
    ) -> _Rotation:
        return _Rotation(table.cos, table.sin, positions)

    def rotate_and_store(
        self, qkv: Product, heads: Heads, rotation: _Rotation, slots: torch.Tensor, kv: LayerKV
    ) -> torch.Tensor:
        return rotate_and_store(
            qkv, heads, rotation.cos, rotation.sin, rotation.positions, slots, kv, self._pdl
        )

    def _norm(
        self, hidden: torch.Tensor, delta: Product | None, norm: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if delta is None:
            return rms_norm(hidden, norm, eps, self._pdl), hidden
        return add_rms_norm(hidden, delta, norm, eps, self._pdl)

    def _swiglu_linear(self, gate_up: Product, linear: Linear) -> Product:
        if isinstance(gate_up, torch.Tensor):
            config = _skinny(gate_up, linear)
            if config is not None:
                return skinny_swiglu_linear(
                    gate_up, _weight(linear), linear.bias, self._partial, config, pdl=self._pdl
                )
        if linear.fp8 is not None:
            values, scale = swiglu_fp8(gate_up, self._pdl)
            dtype = values_of(gate_up).dtype
            return self._fp8(values, scale, linear.fp8, linear.bias, dtype)
        return self._product(swiglu(gate_up, self._pdl), linear, may_split=True)

    def _product(self, values: torch.Tensor, linear: Linear, may_split: bool) -> torch.Tensor:
        weight = linear.full()
        config = None
        if values.element_size() == 2:
            n, k = weight.shape
            config = product_config(values.shape[0], n, k, may_split)
        if config is None:
            return product(values, weight, linear.bias)
        return split_product(values, weight, linear.bias, config, self._pdl)

    def _fp8(
        self,
        values: torch.Tensor,
        scale: torch.Tensor,
        weight: Fp8Weight,
        bias: torch.Tensor | None,
        dtype: torch.dtype,
    ) -> Product:
        if values.shape[0] > MAX_TOKENS:
            return fp8_product(values, scale, weight, bias, dtype, self._one)
        config = fp8_config(values.shape[0], *weight.values.shape)
        return skinny_linear(
            values, weight, bias, self._partial, config, x_scale=scale, pdl=self._pdl
        )


def _shared_bytes(device: torch.device) -> int:
    """What one program may have; as much as any for the interpreter."""
    if device.type != "cuda":
        return 1 << 20
    properties: Any = torch.cuda.get_device_properties(device)
    return int(properties.shared_memory_per_block_optin)


def _weight(linear: Linear) -> torch.Tensor | Fp8Weight:
    return linear.full() if linear.fp8 is None else linear.fp8


def _skinny(values: torch.Tensor, linear: Linear) -> VectorConfig | DotConfig | None:
    """How the product of few tokens takes them in the model's dtype; None where it doesn't."""
    tokens = values.shape[0]
    if linear.fp8 is not None:
        return fp8_config(1, *linear.fp8.values.shape) if tokens == 1 else None
    return skinny_config(tokens, *linear.full().shape) if tokens <= MAX_TOKENS else None
