"""How a matrix product of few tokens is cut into programs, by its shape.

All figures: µs on an H200, bfloat16, weights from memory, with the norm or SwiGLU before the
product. cuBLAS has them in a kernel of their own, which takes 1.3 to 1.8 µs more.
"""

from __future__ import annotations

from dataclasses import dataclass

from engines.kernels.triton.product_config import suits_products

MAX_TOKENS = 16
"""The most tokens of a step that these kernels take."""
_FULL_ROWS = 16384


@dataclass(frozen=True, slots=True)
class VectorConfig:
    """`block_n` rows to a program, `block_k` columns to a tile, `ahead` tiles loaded in advance."""

    block_n: int
    block_k: int
    num_warps: int
    ahead: int


@dataclass(frozen=True, slots=True)
class DotConfig:
    """A tile's rows and columns, loads in flight, and how many programs share a row tile.

    Attributes:
        rows_first: whether the matrix is the tensor cores' first operand, else the tokens are.
    """

    block_n: int
    block_k: int
    num_warps: int
    stages: int
    split_k: int = 1
    rows_first: bool = True
    block_t: int = 16


def skinny_config(tokens: int, n: int, k: int) -> VectorConfig | DotConfig | None:
    """For up to `MAX_TOKENS` tokens and a matrix `[n, k]`; None where `product_config` or cuBLAS
    is to take it.

    From three tokens on small matrices go there: all layers of Qwen3-0.6B with four tokens then
    take 0.66 ms in place of 0.86, of SmolLM2-135M 0.47 in place of 0.55.
    """
    if tokens == 1:
        return _one(n, k)
    if tokens == 2:
        return _two(n, k)
    return None if suits_products(n, k) else _sixteen(n, k)


def fp8_config(tokens: int, n: int, k: int) -> VectorConfig | DotConfig:
    """For a matrix in FP8; one token in bfloat16, or more in FP8.

    With a scale to each row, layers of Llama-8B (qkv, output, gate and up, down) take one token in
    9.2, 5.7, 36.2, 20.5 (`_scaled_mm`, without the norms: 14.1, 13.6, 51.7, 37.6) and sixteen in
    11.3, 8.6, 33.4, 20.1 (14.1, 13.7, 38.0, 37.7).
    """
    if tokens == 1:
        return VectorConfig(4, 1024, 4, 3) if k > 8192 else VectorConfig(8, 1024, 4, 2)
    return DotConfig(64, 128, 4, 4, _split(n, k))


def _one(n: int, k: int) -> VectorConfig:
    """One token: always the faster way, between the memory's speed and half of it.

    Llama-8B 13.7, 9.1, 54.8, 29.1 (cuBLAS alone 17.2, 13.6, 57.4, 32.8); Qwen3-0.6B 3.2, 1.9, 4.0,
    3.3 (5.3, 12.7, 6.2, 7.4); SmolLM2-135M 1.3, 1.1, 2.3, 1.8 (4.0, 3.6, 4.1, 5.2); the heads 230,
    72, 14.9 (241, 77, 16.8).
    """
    if k <= 768:
        return VectorConfig(32, 64, 4, 5) if n >= _FULL_ROWS else VectorConfig(4, 256, 1, 3)
    if k <= 1024:
        if 4096 < n < _FULL_ROWS:
            return VectorConfig(4, 256, 1, 4)
        return VectorConfig(4 if n < _FULL_ROWS else 8, 1024, 4, 1)
    if k < 4096:
        return _between(k)
    if n >= _FULL_ROWS:
        return VectorConfig(2, 2048, 8, 2)
    return VectorConfig(4, 1024, 4, 2) if n * k < 20 << 20 else VectorConfig(8, 1024, 4, 1)


def _between(k: int) -> VectorConfig:
    """1024 < k < 4096."""
    if k <= 1536:
        return VectorConfig(4, 512, 2, 3)
    return VectorConfig(2, 1024, 4, 2) if k <= 2048 else VectorConfig(4, 1024, 4, 3)


def _two(n: int, k: int) -> VectorConfig | None:
    """Two tokens: the faster way but for large matrices, whose arithmetic then counts.

    Llama-8B 16.7, 10.3 (cuBLAS alone 16.8, 13.5), then cuBLAS; Qwen3-0.6B 4.0, 2.5, 5.7, 4.5
    (5.3, 8.1, 6.1, 7.4); SmolLM2-135M 2.2, 1.4, 3.2, 4.0 (3.8, 3.6, 4.1, 5.1).
    """
    if n * k > 32 << 20 or n >= _FULL_ROWS:
        return None
    if k <= 768:
        return VectorConfig(4, 256, 1, 3)
    if k <= 1024:
        return VectorConfig(4, 512, 2, 2) if n <= 4096 else VectorConfig(4, 1024, 4, 1)
    if k <= 1536:
        return VectorConfig(4, 512, 2, 3)
    if k < 4096:
        return VectorConfig(2, 1024, 4, 2 if k <= 2048 else 3)
    return VectorConfig(2, 1024, 4, 4) if n <= 4096 else VectorConfig(4, 1024, 4, 2)


def _sixteen(n: int, k: int) -> DotConfig | None:
    """Up to sixteen tokens, on the tensor cores.

    The output matrix of Llama-8B 12.0 (cuBLAS alone 13.6), gate and up 63.4 (57.8), down 38.0
    (33.5), qkv 20.3 (17.0): of these only the first is better here.
    """
    if n >= _FULL_ROWS or n * k > 17 << 20:
        return None
    return DotConfig(64, 128, 4, 4, _split(n, k))


def _split(n: int, k: int) -> int:
    """How many programs share a row tile, so that there are about two a multiprocessor."""
    return max(1, min(8, round(264 * 64 / n), k // 512))
