"""What the kernels can do, as plain numbers: told before anything is loaded, without torch."""

from __future__ import annotations

KERNEL_CAPABILITY = (8, 0)
"""The least compute capability of the attention kernels, Triton's and flashinfer's, and of the
fused ones: asynchronous copies and bfloat16."""

FP8_CAPABILITY = (8, 9)
"""The least compute capability that computes in FP8."""

FP8_MULTIPLE = 16
"""Scaled matrix products take rows and columns in multiples of this."""

TRITON_HEAD_DIMS = range(32, 257, 16)
TRITON_LEAST_BLOCK = 8
FLASHINFER_HEAD_DIMS = (64, 128, 256)


def fits_triton(block_size: int) -> bool:
    """Whether the Triton attention has this block size: powers of two from
    `TRITON_LEAST_BLOCK`."""
    return block_size >= TRITON_LEAST_BLOCK and not block_size & (block_size - 1)
