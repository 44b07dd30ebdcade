"""Byte-level BPE tokenizers: from the fields of a GGUF file, or from a `tokenizer.json`.

A GGUF file holds vocabulary and merges, but of how text is cut up before merging only a name
(`tokenizer.ggml.pre`). A wrong guess there yields plausible, wrong tokens; so only names whose
rule is known are accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.errors import ModelError
from engines.models.gguf import MetadataValue

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

PRE_TOKENIZERS = ("smollm", "gpt-2", "llama-bpe", "qwen2")

# How a token of the vocabulary is used, by tokenizer.ggml.token_type.
_CONTROL, _USER_DEFINED = 3, 4

# The published splitting rules of Llama 3 and Qwen 2; they differ in how digits are grouped.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{digits}"
    r"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3_SPLIT = _SPLIT.format(digits="{1,3}")
_QWEN2_SPLIT = _SPLIT.format(digits="")


def tokenizer_from_gguf(metadata: Mapping[str, MetadataValue], name: str) -> Tokenizer:
    """The tokenizer that a GGUF file describes in its `tokenizer.ggml.*` fields.

    Control tokens are special: they are matched in text as a whole and left out by `decode`
    unless asked for.

    Raises:
        ModelError: no tokenizer, one that is not byte-level BPE, an unknown pre-tokenizer, or
            fields that contradict each other. `name` is the file, for the message.
    """
    from tokenizers import Tokenizer, decoders
    from tokenizers.models import BPE

    kind = metadata.get("tokenizer.ggml.model")
    if not isinstance(kind, str) or kind != "gpt2":
        raise ModelError(
            f"{name}: tokenizer.ggml.model is {kind!r}; only 'gpt2', byte-level BPE, is supported. "
            f"Use a Hugging Face folder of this model, with its tokenizer.json"
        )
    pre = metadata.get("tokenizer.ggml.pre")
    if not isinstance(pre, str) or pre not in PRE_TOKENIZERS:
        raise ModelError(
            f"{name}: the pre-tokenizer (tokenizer.ggml.pre) {pre!r} is not known; known are "
            f"{', '.join(PRE_TOKENIZERS)}. Use a Hugging Face folder of this model, with its "
            f"tokenizer.json"
        )
    tokens = _strings(metadata, "tokenizer.ggml.tokens", name)
    vocabulary = {token: token_id for token_id, token in enumerate(tokens)}
    if len(vocabulary) != len(tokens):
        raise ModelError(f"{name}: tokenizer.ggml.tokens holds a token twice; get the file again")
    try:
        # Llama 3 looks a whole word up in the vocabulary before it merges.
        bpe = BPE(vocabulary, _merges(metadata, name), ignore_merges=pre == "llama-bpe")
    except Exception as error:  # the library raises bare Exceptions for a merge of unknown tokens
        raise ModelError(
            f"{name}: tokenizer.ggml.merges do not fit the vocabulary ({error}); get the file again"
        ) from error
    tokenizer = Tokenizer(bpe)
    _set_splitting(tokenizer, pre)
    tokenizer.decoder = decoders.ByteLevel()
    control, user_defined = _added_tokens(metadata, tokens, name)
    tokenizer.add_special_tokens(control)
    tokenizer.add_tokens(user_defined)
    _set_template(tokenizer, metadata, pre, tokens, name)
    return tokenizer


def tokenizer_from_json(path: Path) -> Tokenizer:
    """The tokenizer in a `tokenizer.json`.

    Raises:
        ModelError: the file cannot be read or is not a tokenizer's.
    """
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises bare Exceptions for all that is wrong
        raise ModelError(
            f"{path}: is no readable tokenizer ({error}); get the file again"
        ) from error


def _strings(metadata: Mapping[str, MetadataValue], key: str, name: str) -> list[str]:
    value = metadata.get(key)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ModelError(f"{name}: {key} is not a list of strings; the file has no whole tokenizer")
    return [item for item in value if isinstance(item, str)]


def _merges(metadata: Mapping[str, MetadataValue], name: str) -> list[tuple[str, str]]:
    pairs = []
    for rank, merge in enumerate(_strings(metadata, "tokenizer.ggml.merges", name)):
        left, _, right = merge.partition(" ")
        if not left or not right or " " in right:
            raise ModelError(
                f"{name}: merge {rank} is {merge!r}, not two tokens with a space between; "
                f"get the file again"
            )
        pairs.append((left, right))
    return pairs


def _added_tokens(
    metadata: Mapping[str, MetadataValue], tokens: list[str], name: str
) -> tuple[list[AddedToken], list[AddedToken]]:
    """Control tokens and user-defined tokens; both are cut out of the text before BPE."""
    from tokenizers import AddedToken

    types = metadata.get("tokenizer.ggml.token_type")
    if types is None:
        return [], []
    if (
        not isinstance(types, np.ndarray)
        or not np.issubdtype(types.dtype, np.integer)
        or len(types) != len(tokens)
    ):
        raise ModelError(
            f"{name}: tokenizer.ggml.token_type is not one whole number per token "
            f"({len(tokens)}); get the file again"
        )

    def of_type(wanted: int, special: bool) -> list[AddedToken]:
        return [
            AddedToken(tokens[token_id], special=special, normalized=False)
            for token_id in np.flatnonzero(types == wanted).tolist()
            if tokens[token_id]
        ]

    return of_type(_CONTROL, special=True), of_type(_USER_DEFINED, special=False)


def _set_splitting(tokenizer: Tokenizer, pre: str) -> None:
    """How text is normalised and cut into words before BPE."""
    from tokenizers import Regex, normalizers, pre_tokenizers

    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if pre == "gpt-2":
        tokenizer.pre_tokenizer = gpt2
    elif pre == "smollm":
        digits = pre_tokenizers.Digits(individual_digits=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, gpt2])
    else:
        pattern = Regex(_LLAMA3_SPLIT if pre == "llama-bpe" else _QWEN2_SPLIT)
        words = pre_tokenizers.Split(pattern, behavior="isolated")
        symbols = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, symbols])
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()


def _set_template(
    tokenizer: Tokenizer,
    metadata: Mapping[str, MetadataValue],
    pre: str,
    tokens: list[str],
    name: str,
) -> None:
    """The beginning-of-text and end-of-text tokens that `encode` adds, where the model has them."""
    from tokenizers.processors import TemplateProcessing

    # Llama 3 begins every text with a token; the file says so only where it differs.
    add_bos = metadata.get("tokenizer.ggml.add_bos_token", pre == "llama-bpe")
    add_eos = metadata.get("tokenizer.ggml.add_eos_token", False)

    def token(key: str) -> tuple[str, int]:
        token_id: Any = metadata.get(key)
        if type(token_id) is not int or not 0 <= token_id < len(tokens):
            raise ModelError(
                f"{name}: {key} is {token_id!r}, not a token of the vocabulary ({len(tokens)}); "
                f"get the file again"
            )
        return tokens[token_id], token_id

    first = [token("tokenizer.ggml.bos_token_id")] if add_bos is True else []
    last = [token("tokenizer.ggml.eos_token_id")] if add_eos is True else []
    if first or last:
        template = [text for text, _ in first] + ["$A"] + [text for text, _ in last]
        try:
            tokenizer.post_processor = TemplateProcessing(
                single=template, special_tokens=first + last
            )
        except ValueError as error:  # a token that reads like a placeholder of the template
            raise ModelError(
                f"{name}: {first + last} cannot be added to a text ({error}); get the file again"
            ) from error
