"""Real English text that every install has, as one stream of tokens that prompts are cut from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from workloads.draws import Purpose, random_bits
from workloads.errors import WorkloadError

Encode: TypeAlias = Callable[[str], Sequence[int] | npt.NDArray[np.int32]]
"""Text to token ids, without special tokens."""


def english_text() -> str:
    """The language reference that CPython carries for `help()` (0.5–0.7 million characters).

    Prose and tables under the PSF licence, from the module `pydoc_data.topics`, topics in
    alphabetical order. It differs a little between Python versions: lengths and arrivals of a
    run don't depend on it, its tokens do. Raises `WorkloadError` where the module was left out.
    """
    try:
        from pydoc_data import topics
    except ImportError as error:
        raise WorkloadError(
            "prompts are cut from the text of Python's own help, and this Python has no module "
            "pydoc_data.topics: install the full standard library (Debian and Ubuntu: "
            "`apt install libpython3-stdlib`; elsewhere: a python.org, conda or uv build)"
        ) from error
    sections: dict[str, str] = topics.topics
    return "\n\n".join(sections[name] for name in sorted(sections))


def byte_encoder(vocab_size: int) -> Encode:
    """An encoder for models without a tokenizer: the text's UTF-8 bytes are the ids.

    A vocabulary under 256 gets the bytes modulo `vocab_size`. Raises `WorkloadError` for an empty
    vocabulary.
    """
    if vocab_size < 1:
        raise WorkloadError(f"vocab_size is {vocab_size}: a model has at least one token")

    def encode(text: str) -> npt.NDArray[np.int32]:
        ids = np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.int32)
        return ids % np.int32(min(vocab_size, 256))

    return encode


class TokenStream:
    """A long text in token ids, read as a ring: prompts are slices of exact length.

    Encoding costs about a second for a byte-pair tokenizer; a caller may keep `token_ids` on disk
    and build the stream from them again.

    Attributes:
        token_ids: int32 `[tokens]`, read-only. Prompts that don't pass its end are views of it.
    """

    __slots__ = ("_stride", "token_ids")

    def __init__(self, token_ids: Sequence[int] | npt.NDArray[np.int32]) -> None:
        """Raises `WorkloadError` for ids that are empty, negative or not one flat list."""
        wide = np.asarray(token_ids)
        if wide.ndim != 1 or len(wide) == 0 or not np.issubdtype(wide.dtype, np.integer):
            raise WorkloadError("the text encodes to no tokens: check the tokenizer")
        if int(wide.min()) < 0 or int(wide.max()) >= 1 << 31:
            raise WorkloadError("the text encodes to ids outside int32: check the tokenizer")
        self.token_ids: npt.NDArray[np.int32] = wide.astype(np.int32)
        self.token_ids.flags.writeable = False
        self._stride = _coprime_stride(len(self.token_ids))

    @classmethod
    def encoded(cls, encode: Encode, text: str | None = None) -> TokenStream:
        """The stream of `text` (by default `english_text()`), encoded once, in one call."""
        return cls(encode(english_text() if text is None else text))

    def __len__(self) -> int:
        return len(self.token_ids)

    def offsets(self, seed: int, request_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Where each request's text begins, int64 in the shape of `request_ids`.

        The seed sets where request 0 begins; ids walk on by a stride that visits every position
        once before any comes again. Independent offsets would collide (1 % of 1,000 requests on
        100,000 tokens), and each collision is a prefix-cache hit that the workload didn't ask for.
        """
        size = len(self.token_ids)
        start = int(random_bits(seed, np.zeros(1, np.int64), Purpose.TEXT_OFFSET)[0]) % size
        walked: npt.NDArray[np.int64] = (request_ids % size * self._stride + start) % size
        return walked

    def slice(self, offset: int, length: int) -> npt.NDArray[np.int32]:
        """`length` tokens from `offset` on, int32 `[length]`, wrapping round at the end."""
        size = len(self.token_ids)
        start = offset % size
        if start + length <= size:
            return self.token_ids[start : start + length]
        ring: npt.NDArray[np.int32] = np.take(
            self.token_ids, np.arange(start, start + length), mode="wrap"
        )
        return ring


def _coprime_stride(size: int) -> int:
    """A step near the golden section of `size` (neighbours land far apart), coprime to it."""
    stride = max(1, round(size * 0.6180339887498949))
    while math.gcd(stride, size) != 1:
        stride += 1
    return stride
