"""A layer's parts in plain torch: the oracle of the fused kernels, and what runs on a CPU."""

from __future__ import annotations

import torch
from torch.nn.functional import linear as product
from torch.nn.functional import rms_norm, silu

from engines.kernels.base import Heads, Linear
from engines.kernels.fp8 import fp8_linear, quantise_activations
from engines.kernels.hadamard import spread
from engines.kv_cache import LayerKV
from engines.models.rotary import RotaryTable, rotate


class ReferenceKernels:
    """Plain torch, any device. Satisfies `LayerKernels`."""

    name = "reference"

    def norm_linear(
        self,
        hidden: torch.Tensor,
        delta: torch.Tensor | None,
        norm: torch.Tensor,
        eps: float,
        linear: Linear,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = hidden if delta is None else hidden + delta
        return self.linear(rms_norm(hidden, norm.shape, norm, eps), linear), hidden

    def linear(self, values: torch.Tensor, linear: Linear) -> torch.Tensor:
        if linear.fp8 is None:
            return product(values, linear.full(), linear.bias)
        quantised, scale = quantise_activations(values)
        return fp8_linear(quantised, scale, linear.fp8, linear.bias, values.dtype)

    def mlp(
        self,
        hidden: torch.Tensor,
        delta: torch.Tensor | None,
        norm: torch.Tensor,
        eps: float,
        gate_up: Linear,
        down: Linear,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        joined, hidden = self.norm_linear(hidden, delta, norm, eps, gate_up)
        gate, up = joined.chunk(2, dim=-1)
        return self.linear(silu(gate) * up, down), hidden

    def whole(self, delta: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        return delta

    def rotation(
        self, table: RotaryTable, positions: torch.Tensor, dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return table.at(positions, dtype)

    def rotate_and_store(
        self,
        qkv: torch.Tensor,
        heads: Heads,
        rotation: tuple[torch.Tensor, torch.Tensor],
        slots: torch.Tensor,
        kv: LayerKV,
    ) -> torch.Tensor:
        num_heads, num_kv_heads, dim = heads.num_heads, heads.num_kv_heads, heads.head_dim
        rows = qkv.view(-1, num_heads + 2 * num_kv_heads, dim)
        if heads.q_norm is not None and heads.k_norm is not None:
            query = rms_norm(rows[:, :num_heads], (dim,), heads.q_norm, heads.eps)
            key = rms_norm(rows[:, num_heads:-num_kv_heads], (dim,), heads.k_norm, heads.eps)
            query, key = rotate(query, *rotation), rotate(key, *rotation)
        else:
            turned = rotate(rows[:, :-num_kv_heads], *rotation)
            query, key = turned[:, :num_heads], turned[:, num_heads:]
        if kv.scales is not None:
            query, key = spread(query), spread(key)
        _store(kv, 0, slots, key)
        _store(kv, 1, slots, rows[:, -num_kv_heads:])
        return query


def _store(kv: LayerKV, part: int, slots: torch.Tensor, values: torch.Tensor) -> None:
    """Writes keys (part 0) or values (part 1) `[T, kv_heads, head_dim]` to their slots."""
    cache = kv.data[part].flatten(0, 1)
    if kv.scales is None:
        cache.index_copy_(0, slots, values)
        return
    quantised, scale = quantise_activations(values)
    # As bytes: not every device copies FP8 by index.
    cache.view(torch.uint8).index_copy_(0, slots, quantised.view(torch.uint8))
    kv.scales[part].flatten(0, 1).index_copy_(0, slots, scale.squeeze(-1))
