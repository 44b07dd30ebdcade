"""What stands before a matrix product of few tokens: nothing, a residual's RMSNorm, or SwiGLU.

A tile of the input is loaded as it lies in memory (`load_parts`), so that the loads can be under
way while another tile is in work, and made into the product's operand later (`operand`).
"""

# Device code: Triton has no types and names its constants in capitals.
# mypy: ignore-errors
from __future__ import annotations

import triton
import triton.language as tl

PLAIN: tl.constexpr = tl.constexpr(0)
NORM: tl.constexpr = tl.constexpr(1)
SWIGLU: tl.constexpr = tl.constexpr(2)


@triton.jit
def load_parts(
    x, delta, norm, places, columns, inside, column_inside,
    K: tl.constexpr, BEFORE: tl.constexpr,
):  # fmt: skip
    """The tile's parts: x; x, norm weight and delta; or gate and up."""
    first = tl.load(x + places, mask=inside, other=0.0)
    if BEFORE == SWIGLU:
        return first, tl.load(x + places + K, mask=inside, other=0.0)
    elif BEFORE == NORM:
        weight = tl.load(norm + columns, mask=column_inside, other=0.0)
        if delta is None:
            return first, weight
        else:
            return first, weight, tl.load(delta + places, mask=inside, other=0.0)
    else:
        return (first,)


@triton.jit
def residual(parts, HAS_DELTA: tl.constexpr):
    """`hidden + delta`, rounded to their dtype as the reference rounds it."""
    if HAS_DELTA:
        total = parts[0].to(tl.float32) + parts[2].to(tl.float32)
        return total.to(parts[0].dtype)
    else:
        return parts[0]


@triton.jit
def operand(parts, hidden, BEFORE: tl.constexpr):
    """The tile in float32; after a norm still to be divided by the row's root mean square."""
    if BEFORE == NORM:
        return hidden.to(tl.float32) * parts[1].to(tl.float32)
    elif BEFORE == SWIGLU:
        gate = parts[0].to(tl.float32)
        return gate / (1.0 + tl.exp(-gate)) * parts[1].to(tl.float32)
    else:
        return parts[0].to(tl.float32)
