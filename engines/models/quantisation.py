"""The block formats of GGUF tensors, and their values as 32-bit floats.

A quantised tensor is a row of equal blocks; each holds its scale, sometimes a minimum, and the
packed integers of 32 or 256 neighbouring elements:

    Q4_1   | d f16 | m f16 | 16 bytes: element j low nibble, element j+16 high nibble |
    Q8_0   | d f16 | 32 × int8 |
    Q4_K   | d f16 | dmin f16 | 12 bytes: 8 × (6-bit scale, 6-bit minimum) | 128 bytes |

The layouts are those that ggml defines. All arithmetic is done in 32-bit floats, as ggml does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.errors import ModelError

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

# Small enough that a chunk's temporaries stay in the processor's caches, and that dequantising
# a large embedding table needs little more memory than its result.
_CHUNK_ELEMENTS = 1 << 18


@dataclass(frozen=True, slots=True)
class TensorType:
    """How a GGUF tensor is stored: `block_bytes` bytes hold `block_elements` elements."""

    name: str
    block_elements: int
    block_bytes: int


# By the type number in the file. Formats that cannot be dequantised here are listed too: their
# sizes are needed to check where tensors lie.
TENSOR_TYPES: dict[int, TensorType] = {
    0: TensorType("F32", 1, 4),
    1: TensorType("F16", 1, 2),
    2: TensorType("Q4_0", 32, 18),
    3: TensorType("Q4_1", 32, 20),
    6: TensorType("Q5_0", 32, 22),
    7: TensorType("Q5_1", 32, 24),
    8: TensorType("Q8_0", 32, 34),
    10: TensorType("Q2_K", 256, 84),
    11: TensorType("Q3_K", 256, 110),
    12: TensorType("Q4_K", 256, 144),
    13: TensorType("Q5_K", 256, 176),
    14: TensorType("Q6_K", 256, 210),
    16: TensorType("IQ2_XXS", 256, 66),
    17: TensorType("IQ2_XS", 256, 74),
    18: TensorType("IQ3_XXS", 256, 98),
    19: TensorType("IQ1_S", 256, 50),
    20: TensorType("IQ4_NL", 32, 18),
    21: TensorType("IQ3_S", 256, 110),
    22: TensorType("IQ2_S", 256, 82),
    23: TensorType("IQ4_XS", 256, 136),
    24: TensorType("I8", 1, 1),
    25: TensorType("I16", 1, 2),
    26: TensorType("I32", 1, 4),
    27: TensorType("I64", 1, 8),
    28: TensorType("F64", 1, 8),
    29: TensorType("IQ1_M", 256, 56),
    30: TensorType("BF16", 1, 2),
    34: TensorType("TQ1_0", 256, 54),
    35: TensorType("TQ2_0", 256, 66),
    39: TensorType("MXFP4", 32, 17),
    40: TensorType("NVFP4", 64, 36),
    41: TensorType("Q1_0", 128, 18),
}


def dequantise(data: Bytes, tensor_type: TensorType, name: str) -> Floats:
    """The values of a tensor, flat `[elements]`, in the order in which they are stored.

    Args:
        data: the tensor's bytes `[bytes]`, a whole number of blocks.
        tensor_type: how they are packed.
        name: the tensor's name, for the message.

    Raises:
        ModelError: the format is not supported, or `data` does not end with a block.
    """
    unpack = _UNPACK.get(tensor_type.name)
    if unpack is None:
        raise ModelError(
            f"tensor {name!r} is stored as {tensor_type.name}, which cannot be read; "
            f"use a file quantised as one of {', '.join(_UNPACK)}"
        )
    num_blocks, rest = divmod(data.size, tensor_type.block_bytes)
    if rest:
        raise ModelError(
            f"tensor {name!r} has {data.size} bytes, not a whole number of {tensor_type.name} "
            f"blocks of {tensor_type.block_bytes}; the file is damaged, get it again"
        )
    blocks = data.reshape(num_blocks, tensor_type.block_bytes)
    values = np.empty((num_blocks, tensor_type.block_elements), dtype=np.float32)
    step = max(1, _CHUNK_ELEMENTS // tensor_type.block_elements)
    # A damaged scale may be infinite or not a number: that is the value then, not a warning.
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, num_blocks, step):
            values[start : start + step] = unpack(blocks[start : start + step])
    return values.reshape(-1)


def _half(blocks: Bytes, at: int) -> Floats:
    """The 16-bit float at byte `at` of every block, as a column `[blocks, 1]`."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32)


def _nibbles(packed: Bytes) -> Bytes:
    """Low nibbles of all bytes, then high nibbles: `[blocks, n]` to `[blocks, 2n]`."""
    return np.concatenate([packed & 0x0F, packed >> 4], axis=1)


def _high_bits(blocks: Bytes, at: int) -> Bytes:
    """The fifth bits of 32 elements, packed in the four bytes at `at`, as 0 or 16."""
    bits = np.unpackbits(blocks[:, at : at + 4], axis=1, bitorder="little")
    return bits * np.uint8(16)


def _f32(blocks: Bytes) -> Floats:
    return np.ascontiguousarray(blocks).view("<f4")


def _f16(blocks: Bytes) -> Floats:
    return np.ascontiguousarray(blocks).view("<f2").astype(np.float32)


def _bf16(blocks: Bytes) -> Floats:
    upper_half = np.ascontiguousarray(blocks).view("<u2").astype(np.uint32)
    return (upper_half << 16).view(np.float32)


def _q4_0(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * (_nibbles(blocks[:, 2:]).astype(np.float32) - 8)


def _q4_1(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * _nibbles(blocks[:, 4:]).astype(np.float32) + _half(blocks, 2)


def _q5_0(blocks: Bytes) -> Floats:
    codes = _nibbles(blocks[:, 6:]) | _high_bits(blocks, 2)
    return _half(blocks, 0) * (codes.astype(np.float32) - 16)


def _q5_1(blocks: Bytes) -> Floats:
    codes = _nibbles(blocks[:, 8:]) | _high_bits(blocks, 4)
    return _half(blocks, 0) * codes.astype(np.float32) + _half(blocks, 2)


def _q8_0(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * blocks[:, 2:].view(np.int8).astype(np.float32)


def _scales_and_minima(packed: Bytes) -> tuple[Floats, Floats]:
    """Eight 6-bit scales and minima out of 12 bytes, each `[blocks, 8, 1]`.

    Bytes 0-3 hold scales 0-3 in their low six bits, bytes 4-7 minima 0-3 likewise; bytes 8-11
    hold the low nibbles of scales 4-7 (low) and minima 4-7 (high), whose two top bits are the
    top bits of bytes 0-3 and 4-7.
    """
    first, second, third = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([first & 63, (third & 15) | ((first >> 6) << 4)], axis=1)
    minima = np.concatenate([second & 63, (third >> 4) | ((second >> 6) << 4)], axis=1)
    return scales.astype(np.float32)[..., None], minima.astype(np.float32)[..., None]


def _k_nibbles(packed: Bytes) -> Bytes:
    """128 bytes as eight sub-blocks of 32: low nibbles of 32 bytes, then their high nibbles."""
    groups = packed.reshape(-1, 4, 32)
    return np.stack([groups & 15, groups >> 4], axis=2).reshape(-1, 8, 32)


def _k_affine(blocks: Bytes, codes: Bytes) -> Floats:
    """`d · scale · code − dmin · minimum` for eight sub-blocks of 32 elements."""
    scales, minima = _scales_and_minima(blocks[:, 4:16])
    scales *= _half(blocks, 0)[..., None]
    minima *= _half(blocks, 2)[..., None]
    return (scales * codes.astype(np.float32) - minima).reshape(-1, 256)


def _q4_k(blocks: Bytes) -> Floats:
    return _k_affine(blocks, _k_nibbles(blocks[:, 16:]))


def _q5_k(blocks: Bytes) -> Floats:
    # Bit s of byte l is the fifth bit of element l of sub-block s.
    bits = np.unpackbits(blocks[:, 16:48].reshape(-1, 32, 1), axis=2, bitorder="little")
    return _k_affine(blocks, _k_nibbles(blocks[:, 48:]) | bits.transpose(0, 2, 1) * np.uint8(16))


def _q6_k(blocks: Bytes) -> Floats:
    # Two halves of 128 elements, each four runs of 32: the low four bits are in 64 bytes (two
    # runs in low nibbles, two in high), the top two bits of all four runs share 32 bytes.
    halves = blocks[:, :128].reshape(-1, 2, 64)
    low = np.concatenate([halves & 15, halves >> 4], axis=2).reshape(-1, 2, 4, 32)
    shifts = np.array([0, 2, 4, 6], dtype=np.uint8).reshape(1, 1, 4, 1)
    top = (blocks[:, 128:192].reshape(-1, 2, 1, 32) >> shifts) & 3
    codes = (low | (top << 4)).reshape(-1, 16, 16).astype(np.float32) - 32
    scales = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8).astype(np.float32)
    values: Floats = (scales * _half(blocks, 208))[..., None] * codes
    return values.reshape(-1, 256)


_UNPACK: dict[str, Callable[[Bytes], Floats]] = {
    "F32": _f32,
    "F16": _f16,
    "BF16": _bf16,
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
}
