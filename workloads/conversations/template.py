"""Messages as the tokens that a model expects them in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from workloads.conversations.conversation import Parts
from workloads.conversations.dialogues import Message
from workloads.text import Encode


class Template(Protocol):
    """How a chat is written down. Both here end a prompt where the assistant's answer begins."""

    def render(self, messages: Sequence[Message], follows_answer: bool) -> Parts:
        """One part per message, its role and tokens.

        With `follows_answer`, what closes the previous answer is the first part's beginning; what
        opens the next one is always the last part's end.
        """
        ...


class ChatML:
    """`<|im_start|>role`, the text, `<|im_end|>`: SmolLM2, Qwen and others: a `Template`.

    A model that stops by itself has written its own `<|im_end|>`, and a prompt then has two; with
    `ignore_eos`, as replayed lengths need, it has not. A text that holds such a mark has its `<`
    moved off it, so that no message can pose as another.
    """

    def __init__(self, encode: Encode) -> None:
        self._encode = encode

    def render(self, messages: Sequence[Message], follows_answer: bool) -> Parts:
        """See `Template`."""
        texts = [
            f"<|im_start|>{each.role}\n{each.text.replace('<|im_', '< |im_')}<|im_end|>\n"
            for each in messages
        ]
        first = "<|im_end|>\n" if follows_answer else ""
        return _parts(self._encode, messages, texts, first, "<|im_start|>assistant\n")


class PlainRoles:
    """`Role: text` and an empty line, for tokenizers without chat tokens: a `Template`."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode

    def render(self, messages: Sequence[Message], follows_answer: bool) -> Parts:
        """See `Template`."""
        texts = [f"{each.role.capitalize()}: {each.text}\n\n" for each in messages]
        first = "\n\n" if follows_answer else ""
        return _parts(self._encode, messages, texts, first, "Assistant:")


def template_for(encode: Encode) -> Template:
    """ChatML where the tokenizer has its tokens, plain role names elsewhere."""
    has_tokens = all(len(encode(mark)) == 1 for mark in ("<|im_start|>", "<|im_end|>"))
    return ChatML(encode) if has_tokens else PlainRoles(encode)


def _parts(
    encode: Encode, messages: Sequence[Message], texts: list[str], first: str, last: str
) -> Parts:
    texts = [first + texts[0], *texts[1:]]
    texts[-1] += last
    return tuple(
        (each.role, _int32(encode(text))) for each, text in zip(messages, texts, strict=True)
    )


def _int32(ids: Sequence[int] | npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    return np.asarray(ids, dtype=np.int32)
