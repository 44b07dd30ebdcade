"""How a matrix product of some dozens of tokens is cut into programs, by its shape."""

from __future__ import annotations

from dataclasses import dataclass

MAX_PRODUCT_TOKENS = 256
"""The most tokens for which these kernels are chosen."""
MAX_PRODUCT_WEIGHTS = 8 << 20
"""The largest matrix for which they are: above it cuBLAS keeps the memory busy."""
FEW_TOKENS = 64
"""The most tokens for which products whose columns can't be split beat cuBLAS."""
_MAX_WHOLE_WEIGHTS = 1 << 20
_MAX_MANY_WEIGHTS = 2 << 20
_PROGRAMS = 160
_COLUMNS = 64
_ELEMENT_BYTES = 2
_MAX_HELD = 8
"""The most tiles of a part that is held: with those of the tokens they take up to 12 KiB of shared
memory each, and 19 of them are more than a program may have."""


@dataclass(frozen=True, slots=True)
class ProductConfig:
    """A tile's tokens, rows and columns, and how many programs share it.

    Attributes:
        stages: loads in flight.
        split_k: parts of the columns, each with its own sums.
        rows_first: whether the matrix is the tensor cores' first operand, else the tokens are.
        held: whether a program's whole part of the matrix is loaded, to registers, before the
            previous kernel ends.
    """

    block_t: int
    block_n: int
    block_k: int = 64
    num_warps: int = 4
    stages: int = 4
    split_k: int = 1
    rows_first: bool = True
    held: bool = False


def suits_products(n: int, k: int) -> bool:
    """Whether a matrix `[n, k]` is small and even enough."""
    return n * k <= MAX_PRODUCT_WEIGHTS and not k % _COLUMNS and not n % 16


def product_config(tokens: int, n: int, k: int, may_split: bool) -> ProductConfig | None:
    """For a matrix `[n, k]`; None where cuBLAS is to take it.

    On an H200, with the norm that follows, cuBLAS against these, µs: 1024 × 2048 at 16, 64 and
    128 tokens 6.8, 6.8 and 7.2 against 4.2, 4.9 and 5.4; 1024 × 3072 8.2, 8.5 and 8.7 against
    4.6, 5.7 and 6.6; 960 × 576 at 64 tokens 4.6 against 3.1, and at 128 4.8 against 5.4.

    Args:
        may_split: whether the reader adds sums of parts.
    """
    if tokens > MAX_PRODUCT_TOKENS or not suits_products(n, k):
        return None
    parts = k // _COLUMNS
    if not may_split:
        if tokens > FEW_TOKENS or n * k > _MAX_WHOLE_WEIGHTS:
            return None
        if tokens <= 32:
            return ProductConfig(16, 32 if tokens <= 16 else 64)
        return ProductConfig(32, 64, stages=6)
    if tokens <= 32:
        block_t = 16 if tokens <= 16 else 32
        split_k = _parts(parts, 12, -(-n // 64))
        return ProductConfig(block_t, 64, split_k=split_k, held=parts // split_k <= _MAX_HELD)
    if tokens <= FEW_TOKENS:
        return ProductConfig(32, 64, stages=6, split_k=_parts(parts, 4, 1))
    block_n = 64 if n > 640 else 32
    if tokens <= 128:
        return ProductConfig(64, block_n, split_k=_parts(parts, 4, 1), rows_first=False)
    if n * k > _MAX_MANY_WEIGHTS:
        return None
    return ProductConfig(64, block_n, split_k=_parts(parts, 2, 1), rows_first=False)


def gated_config(tokens: int, n: int, k: int, shared_bytes: int) -> ProductConfig | None:
    """For a matrix `[2n, k]` of gate and up rows; None where SwiGLU has a kernel of its own.

    On an H200, cuBLAS and SwiGLU's kernel against this, µs, at 16 and 64 tokens: 6144 × 1024 8.1
    and 8.6 against 7.5 and 7.2, 3072 × 576 6.2 and 6.3 against 4.6 and 4.3. From 96 tokens on
    cuBLAS is the faster.

    Args:
        shared_bytes: shared memory that one program may have.
    """
    if tokens > FEW_TOKENS or not suits_products(2 * n, k):
        return None
    block_t, block_n = 16 if tokens <= 16 else 32, 64
    stage_bytes = (block_t + 2 * block_n) * _COLUMNS * _ELEMENT_BYTES
    return ProductConfig(block_t, block_n, stages=min(6, shared_bytes // stage_bytes))


def _parts(parts: int, most: int, tiles: int) -> int:
    """Into how many of `parts` to cut, at most, without more programs than run at once."""
    return max(
        s for s in range(1, most + 1) if not parts % s and (s == 1 or tiles * s <= _PROGRAMS)
    )
