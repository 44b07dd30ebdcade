"""The seam between a decoder layer and the way its attention is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch


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
        slots: int64 `[tokens]`, where each new token's K and V go: block × block size + offset.
        num_decodes: how many of the first sequences bring one token.
    """

    query_lens: npt.NDArray[np.int64]
    context_lens: npt.NDArray[np.int64]
    block_tables: npt.NDArray[np.int32]
    slots: npt.NDArray[np.int64]
    num_decodes: int


class AttentionBackend(Protocol):
    """Causal attention of new tokens over paged keys and values.

    `begin_step` is called once a step and may upload and plan; `forward` once a layer.
    """

    name: str

    def begin_step(self, layout: StepLayout) -> Any:
        """Whatever `forward` needs of this step's layout, made once."""

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        kv: torch.Tensor,
        step: Any,
    ) -> torch.Tensor:
        """Writes the new keys and values, then attends.

        Args:
            query: `[tokens, heads, head_dim]`; key, value: `[tokens, kv_heads, head_dim]`.
            kv: one layer's cache, `[2, blocks, block_size, kv_heads, head_dim]`.
            step: what `begin_step` returned.

        Returns:
            `[tokens, heads * head_dim]`.
        """
