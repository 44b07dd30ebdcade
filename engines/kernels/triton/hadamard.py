"""`engines.kernels.hadamard` for heads that a program holds as two halves."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _mixed(half, LEVELS: tl.constexpr):
    ROWS: tl.constexpr = half.shape[0]
    HALF: tl.constexpr = half.shape[1]
    for level in tl.static_range(LEVELS):
        pairs = tl.reshape(half, [ROWS, HALF // (2 << level), 2, 1 << level])
        first, second = tl.split(tl.permute(pairs, (0, 1, 3, 2)))
        joined = tl.join(first + second, first - second)
        half = tl.reshape(tl.permute(joined, (0, 1, 3, 2)), [ROWS, HALF])
    return half


@triton.jit
def spread(first, second, LEVELS: tl.constexpr):
    """Both halves of heads, float32 `[heads, columns]` with 0 behind the head's own columns.

    `LEVELS` is `hadamard.levels` of the head's size.
    """
    factor: tl.constexpr = 0.5 ** ((LEVELS + 1) / 2)
    first = _mixed(first, LEVELS) * factor
    second = _mixed(second, LEVELS) * factor
    return first + second, first - second
