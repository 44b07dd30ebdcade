"""Attention by gathering each sequence's blocks and calling scaled-dot-product attention.

The oracle for every faster backend, and the one that runs on a CPU. Decodes of similar length are
gathered together, so that little of a copy is padding. Copies go into one scratch buffer that is
kept: on a CPU, fresh pages for each would cost more than the copy itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

from engines.attention.base import AttentionShape, StepLayout
from engines.kv_cache import FP8, LayerKV

CPU_GROUP_TOKENS = 1 << 14
CUDA_GROUP_TOKENS = 1 << 19
CPU_SHORTEST_IN_GROUP = 0.75
CUDA_SHORTEST_IN_GROUP = 0.0
"""A group's shortest context, as a share of its longest (beyond the first few blocks). On a GPU the
launches of a further group cost more than padding does."""


QUERY_TILE = 64
"""PyTorch's memory-efficient kernel reads the wrong row of a mask for the last query where its last
tile of queries holds no other (seen with 2.11 on an H200): such a chunk is computed with its last
query twice."""


@dataclass(slots=True)
class DecodeGroup:
    """Decodes that are computed by one call.

    rows: int64 `[seqs]` among the step's tokens; blocks: int64 `[seqs * blocks]`; bias: additive
    mask `[seqs, 1, 1, context]`, or None where every gathered slot is seen.
    """

    rows: torch.Tensor | slice
    blocks: torch.Tensor
    num_seqs: int
    context: int
    bias: torch.Tensor | None


@dataclass(slots=True)
class PrefillChunk:
    """One prompt's new tokens `first:last`; bias `[new, context]`, or None if plain causal.

    Biases are as wide as whole blocks: the fast kernels ask for aligned rows.
    """

    first: int
    last: int
    blocks: torch.Tensor
    context: int
    bias: torch.Tensor | None


@dataclass(slots=True)
class ReferenceStep:
    groups: list[DecodeGroup]
    chunks: list[PrefillChunk]


class ReferenceAttention:
    """Gather and SDPA; see the module's docstring. Satisfies `AttentionBackend`."""

    name = "reference"
    captures = False

    def __init__(
        self, shape: AttentionShape, block_size: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.shape = shape
        self.block_size = block_size
        self.device = device
        self.dtype = dtype
        cpu = device.type == "cpu"
        self.group_tokens = CPU_GROUP_TOKENS if cpu else CUDA_GROUP_TOKENS
        self.shortest_in_group = CPU_SHORTEST_IN_GROUP if cpu else CUDA_SHORTEST_IN_GROUP
        if not cpu:
            # cuDNN's attention builds a plan for each new shape (30 ms); here each step has one.
            torch.backends.cuda.enable_cudnn_sdp(False)
        self._scratch = [torch.empty(0, dtype=dtype, device=device) for _ in range(2)]

    def begin_step(self, layout: StepLayout) -> ReferenceStep:
        groups = self._decode_groups(layout) if layout.num_decodes else []
        chunks = []
        first = layout.num_decodes
        for index in range(layout.num_decodes, len(layout.query_lens)):
            new, context = int(layout.query_lens[index]), int(layout.context_lens[index])
            table = layout.block_tables[index, : -(-context // self.block_size)]
            bias = self._chunk_bias(new, context)
            width = context if bias is None else bias.shape[1]
            chunks.append(PrefillChunk(first, first + new, self._ids(table), width, bias))
            first += new
        return ReferenceStep(groups, chunks)

    def attend(self, query: torch.Tensor, kv: LayerKV, step: ReferenceStep) -> torch.Tensor:
        heads, kv_heads, dim = self.shape.num_heads, self.shape.num_kv_heads, self.shape.head_dim
        output = query.new_empty(query.shape[0], heads * dim)
        for group in step.groups:
            # The query heads that share a KV head become its query positions: no copy of K or V.
            grouped = query[group.rows].view(group.num_seqs, kv_heads, heads // kv_heads, dim)
            seen = (group.num_seqs, -1, kv_heads, dim)
            k, v = (
                gathered.view(seen)[:, : group.context].transpose(1, 2)
                for gathered in self._gather(kv, group.blocks)
            )
            attended = scaled_dot_product_attention(
                grouped, k, v, attn_mask=group.bias, scale=self.shape.scale
            )
            output[group.rows] = attended.reshape(group.num_seqs, heads * dim)
        for chunk in step.chunks:
            new = chunk.last - chunk.first
            # KV heads become the batch and the query heads of each share them with stride 0.
            q = query[chunk.first : chunk.last].view(new, kv_heads, heads // kv_heads, dim)
            q = q.permute(1, 2, 0, 3)
            k, v = (
                gathered.view(-1, kv_heads, dim)[: chunk.context]
                .transpose(0, 1)
                .unsqueeze(1)
                .expand(-1, heads // kv_heads, -1, -1)
                for gathered in self._gather(kv, chunk.blocks)
            )
            if chunk.bias is not None and chunk.bias.shape[0] > new:
                q = torch.cat((q, q[:, :, -1:]), dim=2)
            attended = scaled_dot_product_attention(
                q, k, v, attn_mask=chunk.bias, is_causal=chunk.bias is None, scale=self.shape.scale
            )
            output[chunk.first : chunk.last] = (
                attended[:, :, :new].permute(2, 0, 1, 3).reshape(new, heads * dim)
            )
        return output

    def _gather(self, kv: LayerKV, blocks: torch.Tensor) -> list[torch.Tensor]:
        """Keys and values of `blocks`, `[blocks, block_size, kv_heads, head_dim]` each."""
        shape = (len(blocks), *kv.data.shape[2:])
        size = math.prod(shape)
        if self._scratch[0].numel() < size:
            self._scratch = [
                torch.empty(size, dtype=self.dtype, device=self.device) for _ in range(2)
            ]
        gathered = [scratch[:size].view(shape) for scratch in self._scratch]
        for part, copy in enumerate(gathered):
            if kv.scales is None:
                torch.index_select(kv.data[part], 0, blocks, out=copy)
            else:
                # By bytes: not every device selects FP8.
                chosen = kv.data[part].view(torch.uint8)[blocks].view(FP8)
                scales = kv.scales[part][blocks].unsqueeze(-1)
                copy.copy_(chosen.float().mul_(scales))
        return gathered

    def _decode_groups(self, layout: StepLayout) -> list[DecodeGroup]:
        contexts = layout.context_lens[: layout.num_decodes]
        order = np.argsort(-contexts, kind="stable")
        groups, start = [], 0
        while start < len(order):
            longest = int(contexts[order[start]])
            count = max(1, min(self.group_tokens // longest, len(order) - start))
            shortest = self.shortest_in_group * longest - 4 * self.block_size
            rows = order[start : start + count]
            rows = rows[contexts[rows] >= shortest]
            count = len(rows)
            start += count
            num_blocks = -(-longest // self.block_size)
            tables = layout.block_tables[rows, :num_blocks]
            everyone = count == layout.num_decodes and np.array_equal(rows, np.arange(count))
            selected = slice(0, count) if everyone else self._ids(rows)
            bias = self._decode_bias(contexts[rows], num_blocks * self.block_size)
            context = longest if bias is None else num_blocks * self.block_size
            groups.append(DecodeGroup(selected, self._ids(tables), count, context, bias))
        return groups

    def _decode_bias(self, contexts: np.ndarray, width: int) -> torch.Tensor | None:
        """`[seqs, 1, 1, width]` over whole blocks, or None where all see the same tokens."""
        window = self.shape.sliding_window
        longest = contexts.max()
        if contexts.min() == longest and (window is None or longest <= window):
            return None
        positions = np.arange(width)
        seen = positions < contexts[:, None]
        if window is not None:
            seen &= positions >= contexts[:, None] - window
        return self._additive(seen)[:, None, None, :]

    def _chunk_bias(self, new: int, context: int) -> torch.Tensor | None:
        """`[new, width]` over whole blocks, or None where the chunk is plain causal."""
        window = self.shape.sliding_window
        if new == context and (window is None or context <= window):
            return None
        query_positions = np.arange(context - new, context)[:, None]
        if self.device.type == "cuda" and new % QUERY_TILE == 1 and new > 1:
            query_positions = np.append(query_positions, query_positions[-1:], axis=0)
        positions = np.arange(-(-context // self.block_size) * self.block_size)
        seen = positions <= query_positions
        if window is not None:
            seen &= positions > query_positions - window
        return self._additive(seen)

    def _additive(self, seen: np.ndarray) -> torch.Tensor:
        """0 where seen and -inf elsewhere, made once a step: a bool mask would be turned into this
        in every layer."""
        unseen = torch.from_numpy(~seen).to(self.device)
        return torch.zeros(seen.shape, dtype=self.dtype, device=self.device).masked_fill_(
            unseen, -torch.inf
        )

    def _ids(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.int64).ravel()).to(self.device)
