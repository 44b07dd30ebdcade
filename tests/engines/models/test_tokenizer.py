"""Tokenizers from GGUF fields: how text is cut, what is special, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_writer import tokenizer_fields

from engines.errors import ModelError
from engines.models.tokenizer import PRE_TOKENIZERS, tokenizer_from_gguf, tokenizer_from_json


def build(pre: str = "smollm", **changes: Any):
    fields = tokenizer_fields(pre) | {f"tokenizer.ggml.{key}": v for key, v in changes.items()}
    types = fields["tokenizer.ggml.token_type"]
    if isinstance(types, list):
        fields["tokenizer.ggml.token_type"] = np.array(types, dtype=np.int32)
    return tokenizer_from_gguf(fields, "file.gguf")


def cut(pre: str, text: str) -> list[str]:
    """The words that BPE then sees, in byte-level characters."""
    return [word for word, _ in build(pre).pre_tokenizer.pre_tokenize_str(text)]


def test_merges_are_applied_in_their_order() -> None:
    assert build().encode("hello w").tokens == ["hello", "Ġw"]
    assert build().encode("hell").tokens == ["hell"]


def test_smollm_splits_digits_one_by_one() -> None:
    # "12" is a token of the vocabulary, but never of a text.
    assert build().encode("a 12").tokens == ["a", "Ġ", "1", "2"]
    assert build("gpt-2").encode("a 12").tokens == ["a", "Ġ", "12"]
    assert cut("smollm", "x12.5") == ["x", "1", "2", ".", "5"]


def test_published_splitting_rules() -> None:
    assert cut("gpt-2", "I'll pay 1234  now\n\nok") == [
        "I", "'ll", "Ġpay", "Ġ1234", "Ġ", "Ġnow", "Ċ", "Ċ", "ok",
    ]  # fmt: skip
    assert cut("llama-bpe", "I'LL pay 12345!\n\nok") == [
        "I", "'LL", "Ġpay", "Ġ", "123", "45", "!ĊĊ", "ok",
    ]  # fmt: skip
    assert cut("qwen2", "x(y 123\n\n z") == ["x", "(y", "Ġ", "1", "2", "3", "ĊĊ", "Ġz"]


def test_qwen2_composes_characters() -> None:
    assert build("qwen2").encode("e\u0301").ids == build("qwen2").encode("é").ids
    assert build("gpt-2").encode("e\u0301").ids != build("gpt-2").encode("é").ids


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
@pytest.mark.parametrize(
    "text",
    ["hello 123 w", " two  spaces ", "tabs\tand\r\nlines\n", "日本語 café 🙂", "'s don't", ""],
)
def test_every_text_comes_back(pre: str, text: str) -> None:
    tokenizer = build(pre, add_bos_token=False)
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_control_tokens_are_special() -> None:
    tokenizer = build()
    ids = tokenizer.encode("<|start|>hello<|end|>").ids
    assert ids[0] == 1 and ids[-1] == 0 and len(ids) == 3
    assert tokenizer.decode(ids) == "hello"
    assert tokenizer.decode(ids, skip_special_tokens=False) == "<|start|>hello<|end|>"


def test_user_defined_tokens_are_whole_but_not_special() -> None:
    types = [3, 4] + [1] * (len(tokenizer_fields()["tokenizer.ggml.tokens"]) - 2)
    tokenizer = build(token_type=types)
    ids = tokenizer.encode("<|start|>hello").ids
    assert ids[0] == 1
    assert tokenizer.decode(ids) == "<|start|>hello"


def test_tokens_that_begin_and_end_a_text() -> None:
    tokenizer = build(add_bos_token=True, add_eos_token=True)
    assert tokenizer.encode("hello").tokens == ["<|start|>", "hello", "<|end|>"]
    assert tokenizer.encode("hello", add_special_tokens=False).tokens == ["hello"]


def test_llama_3_begins_every_text_unless_the_file_says_no() -> None:
    fields = tokenizer_fields("llama-bpe")
    del fields["tokenizer.ggml.add_bos_token"], fields["tokenizer.ggml.token_type"]
    assert tokenizer_from_gguf(fields, "f").encode("hello").tokens == ["<|start|>", "hello"]
    assert build("llama-bpe").encode("hello").tokens == ["hello"]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"model": "llama"}, "tokenizer.ggml.model is 'llama'"),
        ({"model": None}, "tokenizer.ggml.model is None"),
        ({"pre": "tekken"}, "'tekken' is not known; known are smollm"),
        ({"pre": "default"}, "'default' is not known"),
        ({"pre": None}, "None is not known"),
        ({"tokens": None}, "tokens is not a list of strings"),
        ({"tokens": ["a", "a"]}, "holds a token twice"),
        ({"merges": None}, "merges is not a list of strings"),
        ({"merges": ["he"]}, "merge 0 is 'he'"),
        ({"merges": ["h e", "l l l"]}, "merge 1 is 'l l l'"),
        ({"merges": ["zz yy"]}, "do not fit the vocabulary"),
        ({"token_type": [1, 1]}, "token_type is not one whole number per token"),
        ({"token_type": "x"}, "token_type is not one whole number per token"),
        ({"add_bos_token": True, "bos_token_id": 9999}, "bos_token_id is 9999"),
        ({"add_bos_token": True, "bos_token_id": None}, "bos_token_id is None"),
    ],
)
def test_what_cannot_be_right_is_refused(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(ModelError, match=r"file\.gguf") as caught:
        build(**changes)
    assert what in str(caught.value)


def test_json_roundtrip(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(build().to_str(), encoding="utf-8")
    text = "<|start|>hello 12 🙂<|end|>"
    assert tokenizer_from_json(path).encode(text).ids == build().encode(text).ids


@pytest.mark.parametrize("content", [b"", b"{}", b'{"model": 3', b"\xff\xfe", b"[" * 100_000])
def test_broken_json_is_a_model_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"tokenizer\.json: is no readable tokenizer"):
        tokenizer_from_json(path)
