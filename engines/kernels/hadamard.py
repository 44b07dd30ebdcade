"""Heads times a Hadamard matrix: magnitudes are spread, products of two heads stay as they are.

As in QuaRot (arXiv:2404.00456) and FlashAttention-3 (arXiv:2407.08608, "incoherent processing").
"""

from __future__ import annotations

import math

import torch


def levels(head_dim: int) -> int:
    """How often both halves of a head divide by 2: the steps within them."""
    half = head_dim // 2
    return (half & -half).bit_length() - 1


def spread(heads: torch.Tensor) -> torch.Tensor:
    """Heads times an orthonormal matrix of equal magnitudes, its own inverse.

    Where `head_dim` is no power of two, the matrix has blocks: both halves of a head divide into
    parts of the largest power of two, and a part is mixed with its like in the other half.

    Args:
        heads: `[…, head_dim]`, an even size.

    Returns:
        The same shape and dtype; computed in float32.
    """
    dim = heads.shape[-1]
    count = levels(dim)
    mixed = heads.float()
    for stride in (*(1 << level for level in range(count)), dim // 2):
        first, second = mixed.reshape(*heads.shape[:-1], -1, 2, stride).unbind(-2)
        mixed = torch.stack((first + second, first - second), dim=-2).flatten(-3)
    return (mixed * math.sqrt(0.5 ** (count + 1))).to(heads.dtype)
