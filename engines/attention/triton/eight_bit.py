"""Keys and values in float8_e4m3fn: products are taken in float16, which holds all its numbers.

Two numbers are converted by one instruction on sm_90; to bfloat16 they would need several.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2_LARGEST = tl.constexpr(8.807354922057604)
"""log2(448): weights of the softmax are as much larger, so that their products with the scales of
tokens (largest value / 448) keep their digits in float16. Sums of weights are too, so nothing
has to be divided by it."""


@triton.jit
def scaled_query(q, scale):
    """Queries as float16 in -1…1, and what their rows' scores are multiplied by (float32)."""
    q = q.to(tl.float32)
    largest = tl.max(tl.abs(q), 1)
    largest = tl.where(largest == 0.0, 1.0, largest)
    return (q / largest[:, None]).to(tl.float16), largest * scale


@triton.jit
def converted(numbers, pinned: tl.constexpr):
    """As float16. `pinned`: converted as they lie in memory and then handed on in shared memory.

    Left to itself the compiler reads the bytes of a product's second factor one by one.
    """
    if pinned:
        return tl.inline_asm_elementwise(
            """{
            .reg .b16 low, high;
            mov.b32 {low, high}, $2;
            cvt.rn.f16x2.e4m3x2 $0, low;
            cvt.rn.f16x2.e4m3x2 $1, high;
            }""",
            "=r,=r,r",
            [numbers],
            dtype=tl.float16,
            is_pure=False,
            pack=4,
        )
    else:
        return numbers.to(tl.float16)
