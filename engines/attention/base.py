"""The seam between a decoder layer and the way its attention is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from engines.kv_cache import LayerKV


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """What a backend needs to know of a model's attention."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    sliding_window: int | None

    @property
    def scale(self) -> float:
        return float(self.head_dim**-0.5)


@dataclass(frozen=True, slots=True)
class StepLayout:
    """How a step's tokens lie: sequences one after the other, decodes (one token each) first.

    Attributes:
        query_lens: int64 `[seqs]`, new tokens of each sequence.
        context_lens: int64 `[seqs]`, tokens that its last new token sees, itself included.
        block_tables: int32 `[seqs, max_blocks]`, null block behind a table's end.
        num_decodes: how many of the first sequences bring one token.
    """

    query_lens: npt.NDArray[np.int64]
    context_lens: npt.NDArray[np.int64]
    block_tables: npt.NDArray[np.int32]
    num_decodes: int


@dataclass(frozen=True, slots=True)
class DeviceStep:
    """How a step's tokens lie, told on the device: for backends that plan there.

    Sizes are those of the bucket that the step was padded to; the step's own are in `counts`.
    The first sequences bring one token each and are decodes: token t is sequence t. The rest are
    chunks of prompts. Padding tokens belong to no sequence, padding sequences see nothing.

    Attributes:
        num_tokens, num_seqs: of the bucket.
        max_decodes, max_prefills: the most sequences of each kind; 0: the bucket has none.
        rows: int32 `[num_seqs]`, each sequence's row of `block_tables`.
        query_starts: int32 `[num_seqs + 1]`, where its tokens begin in the step.
        context_lens: int32 `[num_seqs]`, tokens that its last new token sees; 0 for padding.
        counts: int32 `[4]`: sequences, decodes, tokens, samples of the step.
        block_tables: int32 `[rows, max_blocks]`.
        host: the same as host arrays, for backends that plan on the host; None in a graph.
    """

    num_tokens: int
    num_seqs: int
    max_decodes: int
    max_prefills: int
    rows: torch.Tensor
    query_starts: torch.Tensor
    context_lens: torch.Tensor
    counts: torch.Tensor
    block_tables: torch.Tensor
    host: StepLayout | None = None


class AttentionBackend(Protocol):
    """Causal attention of new tokens over paged keys and values.

    `begin_step` is called once a step and may upload and plan; `attend` once a layer, when the
    keys and values of the step's tokens are in the cache.

    Attributes:
        captures: whether both may be captured in a CUDA graph. Such a backend takes a
            `DeviceStep`, another one a `StepLayout`.
    """

    name: str
    captures: bool

    def begin_step(self, layout: Any) -> Any:
        """Whatever `attend` needs of this step's layout, made once."""

    def attend(self, query: torch.Tensor, kv: LayerKV, step: Any) -> torch.Tensor:
        """Attends over the cache.

        Args:
            query: `[tokens, heads, head_dim]`.
            step: what `begin_step` returned.

        Returns:
            `[tokens, heads * head_dim]`.
        """
