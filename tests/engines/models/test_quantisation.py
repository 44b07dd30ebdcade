"""Block formats against blocks that were computed by hand."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from engines.errors import ModelError
from engines.models.quantisation import TENSOR_TYPES, dequantise

BY_NAME = {kind.name: kind for kind in TENSOR_TYPES.values()}


def values(name: str, data: bytes) -> list[float]:
    return dequantise(np.frombuffer(data, np.uint8), BY_NAME[name], "t").tolist()


def half(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}e", *numbers)


# Low nibbles count up, high nibbles count down.
NIBBLES = bytes(j | (15 - j) << 4 for j in range(16))
CODES = [*range(16), *range(15, -1, -1)]


def test_plain_floats() -> None:
    assert values("F32", struct.pack("<2f", 0.1, -3.0)) == [np.float32(0.1), -3.0]
    assert values("F16", half(0.5, -65504.0)) == [0.5, -65504.0]
    assert values("BF16", bytes([0x80, 0x3F, 0x49, 0xC0])) == [1.0, -3.140625]


def test_q4_0() -> None:
    assert values("Q4_0", half(0.5) + NIBBLES) == [0.5 * (code - 8) for code in CODES]


def test_q4_1() -> None:
    assert values("Q4_1", half(0.25, -1.0) + NIBBLES) == [0.25 * code - 1.0 for code in CODES]


def test_q5_takes_the_fifth_bits_from_their_own_word() -> None:
    fifth = 0b1000_0000_0000_0001_0000_0000_0000_0010  # elements 1, 16 and 31
    codes = [code + 16 * (fifth >> j & 1) for j, code in enumerate(CODES)]
    word = struct.pack("<I", fifth)
    assert values("Q5_0", half(2.0) + word + NIBBLES) == [2.0 * (code - 16) for code in codes]
    assert values("Q5_1", half(2.0, 3.0) + word + NIBBLES) == [2.0 * code + 3 for code in codes]


def test_q8_0() -> None:
    numbers = [-128, 127, *range(-15, 15)]
    assert values("Q8_0", half(0.125) + struct.pack("<32b", *numbers)) == [
        0.125 * number for number in numbers
    ]


SCALES = [1, 2, 3, 63, 16, 33, 50, 47]
MINIMA = [0, 5, 62, 7, 63, 18, 32, 9]


def six_bit_pairs() -> bytes:
    packed = bytearray(12)
    for j in range(4):
        packed[j] = SCALES[j] | (SCALES[j + 4] >> 4) << 6
        packed[j + 4] = MINIMA[j] | (MINIMA[j + 4] >> 4) << 6
        packed[j + 8] = SCALES[j + 4] & 15 | (MINIMA[j + 4] & 15) << 4
    return bytes(packed)


def test_q4_k() -> None:
    packed = b"".join(bytes((j + g) % 16 | (3 * j % 16) << 4 for j in range(32)) for g in range(4))
    expected = []
    for sub_block in range(8):
        group, is_high = divmod(sub_block, 2)
        for j in range(32):
            code = 3 * j % 16 if is_high else (j + group) % 16
            expected.append(0.5 * SCALES[sub_block] * code - 0.25 * MINIMA[sub_block])
    assert values("Q4_K", half(0.5, 0.25) + six_bit_pairs() + packed) == expected


def test_q5_k() -> None:
    fifth = bytes((7 * j + 3) % 256 for j in range(32))
    packed = bytes(j % 16 | (5 * j % 16) << 4 for j in range(128))
    expected = []
    for sub_block in range(8):
        group, is_high = divmod(sub_block, 2)
        for j in range(32):
            byte = packed[32 * group + j]
            code = (byte >> 4 if is_high else byte & 15) + 16 * (fifth[j] >> sub_block & 1)
            expected.append(0.5 * SCALES[sub_block] * code - 0.25 * MINIMA[sub_block])
    assert values("Q5_K", half(0.5, 0.25) + six_bit_pairs() + fifth + packed) == expected


def test_q6_k() -> None:
    codes = [(11 * j + j // 64) % 64 for j in range(256)]
    scales = [*range(-8, 8)]
    low, top = bytearray(128), bytearray(64)
    for j, code in enumerate(codes):
        part, run, at = j // 128, j % 128 // 32, j % 32
        low[64 * part + 32 * (run % 2) + at] |= (code & 15) << 4 * (run // 2)
        top[32 * part + at] |= (code >> 4) << 2 * run
    block = bytes(low) + bytes(top) + struct.pack("<16b", *scales) + half(0.5)
    assert values("Q6_K", block) == [
        0.5 * scales[j // 16] * (code - 32) for j, code in enumerate(codes)
    ]


def test_many_blocks_come_in_order() -> None:
    scales = np.arange(1, 30_001, dtype=np.float32) % 2000 + 1
    blocks = np.zeros((len(scales), 34), np.uint8)
    blocks[:, :2] = scales.astype("<f2").view(np.uint8).reshape(-1, 2)
    blocks[:, 2:] = 1
    found = dequantise(blocks.reshape(-1), BY_NAME["Q8_0"], "t")
    np.testing.assert_array_equal(found, np.repeat(scales.astype("<f2").astype(np.float32), 32))


def test_damaged_scale_is_a_value_and_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    assert np.isnan(values("Q4_0", half(float("inf")) + b"\x88" * 16)).all()
    assert not recwarn.list


def test_unsupported_format_names_itself_and_the_supported_ones() -> None:
    with pytest.raises(ModelError, match=r"IQ4_XS.*F32, F16, BF16, Q4_0.*Q6_K"):
        values("IQ4_XS", bytes(136))


def test_part_of_a_block_is_refused() -> None:
    with pytest.raises(ModelError, match="'t' has 35 bytes"):
        values("Q8_0", bytes(35))
