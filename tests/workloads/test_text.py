import sys

import numpy as np
import pytest

from workloads.errors import WorkloadError
from workloads.text import TokenStream, byte_encoder, english_text


def test_english_text_is_long_and_deterministic():
    text = english_text()
    assert len(text) > 300_000
    assert " the " in text
    assert text == english_text()


def test_a_python_without_the_text_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data", None)
    with pytest.raises(WorkloadError, match=r"pydoc_data\.topics: install"):
        english_text()


def test_byte_encoder():
    assert byte_encoder(50_000)("aé").tolist() == [97, 0xC3, 0xA9]
    assert byte_encoder(256)("\xff").tolist() == [0xC3, 0xBF]
    small = byte_encoder(100)("aé")
    assert small.tolist() == [97, 0xC3 % 100, 0xA9 % 100]
    assert small.dtype == np.int32
    with pytest.raises(WorkloadError, match="vocab_size"):
        byte_encoder(0)


def test_the_text_is_encoded_once():
    calls = []

    def encode(text):
        calls.append(text)
        return [len(word) for word in text.split()]

    stream = TokenStream.encoded(encode, "one three five")
    for offset in range(10):
        stream.slice(offset, 2)
    assert calls == ["one three five"]
    assert stream.token_ids.tolist() == [3, 5, 4]


def test_slices_have_exact_length_and_wrap():
    stream = TokenStream([10, 11, 12, 13])
    assert stream.slice(1, 2).tolist() == [11, 12]
    assert stream.slice(3, 3).tolist() == [13, 10, 11]
    assert stream.slice(2, 9).tolist() == [12, 13, 10, 11, 12, 13, 10, 11, 12]
    assert stream.slice(6, 2).tolist() == [12, 13]
    assert stream.slice(0, 0).tolist() == []
    assert stream.slice(3, 3).dtype == np.int32


def test_slices_are_read_only_views_and_the_callers_array_stays_its_own():
    mine = np.arange(8, dtype=np.int32)
    stream = TokenStream(mine)
    mine[0] = 99
    assert stream.slice(0, 1).tolist() == [0]
    with pytest.raises(ValueError, match="read-only"):
        stream.slice(0, 2)[0] = 5


@pytest.mark.parametrize("size", [1, 2, 3, 10, 997, 4096])
def test_offsets_visit_every_position_before_any_comes_again(size):
    stream = TokenStream(np.zeros(size, dtype=np.int32))
    offsets = stream.offsets(3, np.arange(2 * size))
    assert sorted(offsets[:size]) == list(range(size))
    assert np.array_equal(offsets[:size], offsets[size:])


def test_offsets_depend_on_the_seed():
    stream = TokenStream(np.zeros(100_003, dtype=np.int32))
    assert stream.offsets(1, np.arange(3)).tolist() != stream.offsets(2, np.arange(3)).tolist()


@pytest.mark.parametrize("ids", [[], [1, -1], [1 << 31], [[1, 2]], [0.5]])
def test_a_broken_tokenizer_is_noticed(ids):
    with pytest.raises(WorkloadError, match="check the tokenizer"):
        TokenStream.encoded(lambda text: ids, "text")
