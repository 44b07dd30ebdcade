"""The paged KV cache of a worker: one tensor for all layers, and scales where it is quantised.

In FP8, keys lie there times a Hadamard matrix and queries come times the same one
(`engines.kernels.hadamard`): scores stay as they are, but a few large channels no longer make most
of their error. FlashAttention-3 (arXiv:2407.08608) calls this incoherent processing; QuaRot
(arXiv:2404.00456) stores caches so.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

FP8 = torch.float8_e4m3fn
FP8_MAX = 448.0
"""The largest finite value of float8_e4m3fn."""
FP8_LEAST_SCALE = 1e-12
"""By which rows of zeros are divided."""


@dataclass(frozen=True, slots=True)
class LayerKV:
    """One layer's keys (index 0) and values (index 1).

    Attributes:
        data: `[2, blocks, block_size, kv_heads, head_dim]`, the model's dtype or float8_e4m3fn.
        scales: float32 `[2, blocks, block_size, kv_heads]` by which FP8 values are multiplied;
            None where `data` is in the model's dtype.
    """

    data: torch.Tensor
    scales: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class KVCache:
    """Keys and values of every layer, `[layers, …]` before the shapes of `LayerKV`."""

    data: torch.Tensor
    scales: torch.Tensor | None

    @classmethod
    def allocate(
        cls,
        layers: int,
        num_blocks: int,
        block_size: int,
        kv_heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> KVCache:
        """Zeros; with one scale for each token and KV head where `dtype` is float8_e4m3fn."""
        shape = (layers, 2, num_blocks, block_size, kv_heads, head_dim)
        scales = None
        if dtype == FP8:
            # One byte of zeros is FP8's zero too; not every device fills FP8 tensors itself.
            data = torch.zeros(shape, dtype=torch.uint8, device=device).view(FP8)
            scales = torch.zeros(shape[:-1], dtype=torch.float32, device=device)
        else:
            data = torch.zeros(shape, dtype=dtype, device=device)
        return cls(data, scales)

    @property
    def block_size(self) -> int:
        return self.data.shape[3]

    @property
    def num_bytes(self) -> int:
        """Bytes of values and scales."""
        scales = 0 if self.scales is None else self.scales.numel() * self.scales.element_size()
        return self.data.numel() * self.data.element_size() + scales

    def layers(self) -> list[LayerKV]:
        """Views of one layer each, in order."""
        data = self.data.unbind(0)
        scales = [None] * len(data) if self.scales is None else self.scales.unbind(0)
        return [LayerKV(*pair) for pair in zip(data, scales, strict=True)]
