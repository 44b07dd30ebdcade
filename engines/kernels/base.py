"""The seam between a decoder layer and the code that computes its parts.

A layer is four matrix products, with what stands before them, round an attention:

    qkv, h   = norm_linear(h, delta, norm, qkv)         h += delta, normalised, times a matrix
    q        = rotate_and_store(qkv, …)                 RoPE; keys and values into the cache
    delta    = linear(attend(q), output)
    delta, h = mlp(h, delta, norm, gate_up, down)

so that a set of kernels may join any of these with its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from engines.kv_cache import LayerKV
from engines.models.rotary import RotaryTable


@dataclass(frozen=True, slots=True)
class Fp8Weight:
    """A matrix in float8_e4m3fn; its values times `scale` are the weights.

    Attributes:
        values: float8_e4m3fn `[out, in]`.
        scale: float32 `[out]`, one for each row, or `[1]`, one for all.
    """

    values: torch.Tensor
    scale: torch.Tensor


@dataclass(frozen=True, slots=True)
class Scaled:
    """A product that stands for `values * token_scale * row_scale + bias`; its reader applies them.

    Attributes:
        values: `[T, N]` in the model's dtype.
        token_scale: float32 `[T, 1]`.
        row_scale: float32 `[N]` or `[1]`, that of an `Fp8Weight`.
        bias: `[N]`.
    """

    values: torch.Tensor
    token_scale: torch.Tensor
    row_scale: torch.Tensor
    bias: torch.Tensor | None


Product = torch.Tensor | Scaled


def values_of(product: Product) -> torch.Tensor:
    """A product as it is, or without the scales that it lacks."""
    return product.values if isinstance(product, Scaled) else product


class Linear(nn.Module):
    """A matrix `[out, in]` and perhaps a bias `[out]`.

    Args:
        matrix: the device of the matrix; the bias is on torch's default one.

    Attributes:
        weight: the matrix; None once it is quantised.
        fp8: the quantised matrix; None before.
    """

    def __init__(
        self, out_features: int, in_features: int, bias: bool, matrix: torch.device
    ) -> None:
        super().__init__()
        with matrix:
            self.weight: nn.Parameter | None = parameter(out_features, in_features)
        self.bias = parameter(out_features) if bias else None
        self.fp8: Fp8Weight | None = None

    def full(self) -> torch.Tensor:
        """The matrix, where it is not quantised."""
        assert self.weight is not None, "a quantised matrix has no full one"
        return self.weight

    def take_quantised(self, weight: Fp8Weight) -> None:
        """Puts a quantised matrix in the place of the full one, whose memory is given back."""
        self.fp8 = weight
        self.weight = None


def parameter(*shape: int) -> nn.Parameter:
    """An empty weight in torch's default dtype."""
    return nn.Parameter(torch.empty(*shape), requires_grad=False)


@dataclass(frozen=True, slots=True)
class Heads:
    """How a joined q/k/v row divides, and the norms over each head of q and k, if there are any."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    q_norm: torch.Tensor | None
    k_norm: torch.Tensor | None
    eps: float


class LayerKernels(Protocol):
    """Computes the parts of a layer. T: tokens of the step; dtypes are the model's."""

    name: str

    def norm_linear(
        self,
        hidden: torch.Tensor,
        delta: Any,
        norm: torch.Tensor,
        eps: float,
        linear: Linear,
    ) -> tuple[Any, torch.Tensor]:
        """`hidden + delta` `[T, C]`, and `linear` of its RMSNorm `[T, out]`; the product first.

        The product of a quantised matrix may be a `Scaled` for `rotate_and_store`.
        """

    def linear(self, values: torch.Tensor, linear: Linear) -> Any:
        """`[T, in]` → `[T, out]`, or float32 `[T, parts, out]` that add up to it, or a `Scaled`.

        The two functions that take a `delta` take any; it may be None.
        """

    def mlp(
        self,
        hidden: torch.Tensor,
        delta: Any,
        norm: torch.Tensor,
        eps: float,
        gate_up: Linear,
        down: Linear,
    ) -> tuple[Any, torch.Tensor]:
        """`hidden + delta` `[T, C]`, and SwiGLU of its RMSNorm as `linear` gives it; that first."""

    def whole(self, delta: Any, dtype: torch.dtype) -> torch.Tensor:
        """The `[T, out]` in `dtype` that what `linear` or `mlp` gave stands for."""

    def rotation(self, table: RotaryTable, positions: torch.Tensor, dtype: torch.dtype) -> Any:
        """What `rotate_and_store` needs to know of the step's positions `[T]`; once a step."""

    def rotate_and_store(
        self, qkv: Any, heads: Heads, rotation: Any, slots: torch.Tensor, kv: LayerKV
    ) -> torch.Tensor:
        """Turns queries and keys by their positions and writes keys and values to the cache.

        Args:
            qkv: `[T, (heads + 2 * kv_heads) * head_dim]`, as `norm_linear` gave it.
            slots: int64 `[T]`, block × block size + offset of each token; 0 for padding.

        Returns:
            The queries, `[T, heads, head_dim]`; spread like the keys where the cache is in FP8.
        """
