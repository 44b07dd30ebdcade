"""The GGUF reader: what it reads, and that whatever is wrong ends in one ModelError."""

from __future__ import annotations

import contextlib
import random
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from gguf_writer import (
    ARRAY,
    BOOL,
    F32_TENSOR,
    Q8_0_TENSOR,
    STRING,
    U32,
    container,
    gguf_bytes,
    index_entry,
    model_metadata,
    model_tensors,
    text,
    typed,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines.errors import ModelError
from engines.models.gguf import read_gguf
from engines.models.gguf_model import gguf_config, hugging_face_tensors
from engines.models.tokenizer import tokenizer_from_gguf


def parse(tmp_path: Path, data: bytes):
    path = tmp_path / "file.gguf"
    path.write_bytes(data)
    return read_gguf(path)


def entry(key: str | bytes, value: bytes) -> bytes:
    return text(key) + value


@pytest.mark.parametrize("version", [2, 3])
def test_reads_what_was_written(tmp_path: Path, version: int) -> None:
    metadata = {
        "a.number": 7,
        "a.float": 0.5,
        "a.flag": True,
        "a.text": "naïve 日本",
        "numbers": [1, 2, 3],
        "words": ["", "x", "Ġthe"],
        "nested": [[1, 2], [3]],
        "empty": [],
    }
    tensors = model_tensors()
    file = parse(tmp_path, gguf_bytes(metadata, tensors, version))
    assert file.version == version
    for key in ("a.number", "a.float", "a.flag", "a.text", "words"):
        assert file.metadata[key] == metadata[key]
    assert file.metadata["a.flag"] is True
    assert file.metadata["numbers"].tolist() == [1, 2, 3]
    assert [inner.tolist() for inner in file.metadata["nested"]] == [[1, 2], [3]]
    assert len(file.metadata["empty"]) == 0
    assert list(file.tensors) == list(tensors)
    for name, values in tensors.items():
        assert file.tensors[name].shape == values.shape
        np.testing.assert_array_equal(file.load(name), values)


def test_alignment_of_the_file_is_respected(tmp_path: Path) -> None:
    metadata = entry("general.alignment", typed(64))
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + metadata + index_entry("t", (2,), F32_TENSOR, 0)
    data = head + b"\0" * (-len(head) % 64) + struct.pack("<2f", 1.5, -2.0)
    assert parse(tmp_path, data).load("t").tolist() == [1.5, -2.0]


def one(value: bytes) -> bytes:
    return container(entry("k", value), 1, b"", 0, b"")


def tensors(*entries: bytes, data: bytes = b"\0" * 256) -> bytes:
    return container(b"", 0, b"".join(entries), len(entries), data)


HUGE = 2**63
BROKEN = {
    "empty": (b"", "only 0 bytes"),
    "other magic": (b"PK\3\4" + b"\0" * 60, "does not begin with 'GGUF'"),
    "version 1": (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "huge tensor count": (b"GGUF" + struct.pack("<IQQ", 3, HUGE, 0), "tensors cannot fit"),
    "huge entry count": (b"GGUF" + struct.pack("<IQQ", 3, 0, HUGE), "metadata entries cannot fit"),
    "long key": (container(struct.pack("<Q", HUGE) + b"k" * 40, 1, b"", 0, b""), "does not fit"),
    "empty key": (container(entry("", typed(1)), 1, b"", 0, b""), "has 0 characters"),
    "key not utf-8": (container(entry(b"\xff", typed(1)), 1, b"", 0, b""), "not UTF-8"),
    "key twice": (container(entry("k", typed(1)) * 2, 2, b"", 0, b""), "occurs twice"),
    "value type": (one(struct.pack("<IQ", 99, 0)), "unknown type 99"),
    "long string": (one(struct.pack("<IQ", STRING, HUGE)), "does not fit"),
    "text not utf-8": (one(struct.pack("<I", STRING) + text(b"\xc3")), "not UTF-8"),
    "truth value": (one(struct.pack("<IB", BOOL, 2)), "neither 0 nor 1"),
    "long array": (one(struct.pack("<IIQ", ARRAY, U32, HUGE)), "does not fit"),
    "many strings": (one(struct.pack("<IIQ", ARRAY, STRING, HUGE)), "cannot fit"),
    "many arrays": (one(struct.pack("<IIQ", ARRAY, ARRAY, HUGE)), "cannot fit"),
    "string in list too long": (
        one(struct.pack("<IIQQ", ARRAY, STRING, 1, HUGE)),
        "past the end",
    ),
    "deep nesting": (
        one(struct.pack("<I", ARRAY) + struct.pack("<IQ", ARRAY, 1) * 5000),
        "nests arrays",
    ),
    "alignment": (
        container(entry("general.alignment", typed(48)), 1, b"", 0, b""),
        "not a power of two",
    ),
    "no dimensions": (tensors(index_entry("t", (), F32_TENSOR, 0)), "0 dimensions"),
    "five dimensions": (tensors(index_entry("t", (1,) * 5, F32_TENSOR, 0)), "5 dimensions"),
    "no elements": (tensors(index_entry("t", (0, 4), F32_TENSOR, 0)), "no whole F32"),
    "tensor type": (tensors(index_entry("t", (4,), 4, 0)), "type number 4"),
    "part of a block": (tensors(index_entry("t", (2, 33), Q8_0_TENSOR, 0)), "no whole Q8_0"),
    "not aligned": (tensors(index_entry("t", (4,), F32_TENSOR, 4)), "not aligned"),
    "outside": (tensors(index_entry("t", (4,), F32_TENSOR, 256)), "ends at byte"),
    "larger than can be": (tensors(index_entry("t", (HUGE, HUGE), F32_TENSOR, 0)), "ends at byte"),
    "tensor twice": (
        tensors(index_entry("t", (4,), F32_TENSOR, 0), index_entry("t", (4,), F32_TENSOR, 32)),
        "occurs twice",
    ),
    "overlap": (
        tensors(index_entry("a", (16,), F32_TENSOR, 0), index_entry("b", (4,), F32_TENSOR, 32)),
        "overlap",
    ),
}


@pytest.mark.parametrize(("data", "what"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_file_is_one_error_with_its_place(tmp_path: Path, data: bytes, what: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse(tmp_path, data)
    message = str(caught.value)
    assert what in message
    assert str(tmp_path / "file.gguf") in message
    assert "byte " in message


def test_absent_file_and_folder_are_model_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.gguf", tmp_path):
        with pytest.raises(ModelError, match="no such file"):
            read_gguf(path)


def test_absent_tensor_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no tensor 'x'"):
        parse(tmp_path, gguf_bytes({}, {})).load("x")


VALID = gguf_bytes(model_metadata(), model_tensors())
HEADER_BYTES = VALID.index(np.ascontiguousarray(model_tensors()["token_embd.weight"]).tobytes())


def use_all_of(tmp_path: Path, data: bytes) -> bool:
    """Read all that can be read; whether the file was refused. Nothing but ModelError may come."""
    try:
        file = parse(tmp_path, data)
        for name in file.tensors:
            file.load(name)
    except ModelError:
        return True
    refused = False
    for read in (
        lambda: list(hugging_face_tensors(file, gguf_config(file, "fuzzed"))),
        lambda: tokenizer_from_gguf(file.metadata, "fuzzed").encode("hello w12 <|end|>"),
    ):
        try:
            read()
        except ModelError:
            refused = True
    return refused


def test_valid_file_is_not_refused(tmp_path: Path) -> None:
    assert not use_all_of(tmp_path, VALID)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    for length in [*range(0, HEADER_BYTES, 7), *range(HEADER_BYTES, len(VALID) - 1, 997)]:
        with pytest.raises(ModelError):
            parse(tmp_path, VALID[:length])


def test_flipped_bytes_end_in_model_errors_or_a_valid_parse(tmp_path: Path) -> None:
    rng = random.Random(0)
    refused = 0
    for _ in range(1500):
        data = bytearray(VALID)
        for _ in range(rng.choice((1, 1, 2, 8))):
            data[rng.randrange(HEADER_BYTES)] = rng.randrange(256)
        refused += use_all_of(tmp_path, bytes(data))
    assert refused > 500


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    at=st.integers(0, HEADER_BYTES - 8),
    value=st.sampled_from([0, 1, 2**16, 2**31 - 1, 2**32 - 1, 2**40, 2**63, 2**64 - 1])
    | st.integers(0, 2**64 - 1),
    cut=st.integers(0, 64),
    extra=st.binary(max_size=16),
)
def test_planted_numbers_and_shifts(
    tmp_path: Path, at: int, value: int, cut: int, extra: bytes
) -> None:
    planted = VALID[:at] + struct.pack("<Q", value) + VALID[at + 8 :]
    use_all_of(tmp_path, planted)
    use_all_of(tmp_path, VALID[:at] + extra + VALID[at + cut :])


def test_planted_counts_cost_neither_memory_nor_time(tmp_path: Path) -> None:
    tracemalloc.start()
    begin = time.perf_counter()
    try:
        for at in range(0, min(HEADER_BYTES - 8, 2000), 11):
            for value in (len(VALID), 2**32 - 1, 2**63):
                with contextlib.suppress(ModelError):
                    parse(tmp_path, VALID[:at] + struct.pack("<Q", value) + VALID[at + 8 :])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * len(VALID)
    assert time.perf_counter() - begin < 20
