"""Steps over a shuffled paged cache, and what attention over them gives in float32."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from engines.attention.base import AttentionShape, DeviceStep
from engines.kv_cache import FP8, FP8_MAX, LayerKV


@dataclass(frozen=True)
class Case:
    query: torch.Tensor
    kv: LayerKV
    step: DeviceStep
    expected: torch.Tensor


def make_step(
    contexts: list[int],
    queries: list[int],
    *,
    block_size: int = 16,
    num_seqs: int | None = None,
    num_tokens: int | None = None,
    device: str = "cpu",
) -> DeviceStep:
    """A step whose decodes are the first sequences of one query; the rest are chunks."""
    num_decodes = next((i for i, new in enumerate(queries) if new != 1), len(queries))
    real_tokens, real_seqs = sum(queries), len(contexts)
    num_seqs, num_tokens = num_seqs or real_seqs, num_tokens or real_tokens
    generator = torch.Generator().manual_seed(real_tokens)
    pages = [-(-context // block_size) for context in contexts]
    order = torch.randperm(sum(pages), generator=generator) + 1
    tables = torch.zeros(num_seqs + 2, max(pages) + 1, dtype=torch.int32)
    rows = torch.full((num_seqs,), num_seqs + 1, dtype=torch.int32)
    used = 0
    for index, count in enumerate(pages):
        row = num_seqs - 1 - index
        rows[index] = row
        tables[row, :count] = order[used : used + count]
        used += count
    starts = torch.full((num_seqs + 1,), real_tokens, dtype=torch.int32)
    starts[: real_seqs + 1] = torch.tensor([0, *queries]).cumsum(0)
    lens = torch.zeros(num_seqs, dtype=torch.int32)
    lens[:real_seqs] = torch.tensor(contexts)
    only_decodes = num_decodes == real_seqs
    return DeviceStep(
        num_tokens=num_tokens,
        num_seqs=num_seqs,
        max_decodes=num_seqs if only_decodes else num_decodes,
        max_prefills=0 if only_decodes else num_seqs - num_decodes,
        rows=rows.to(device),
        query_starts=starts.to(device),
        context_lens=lens.to(device),
        counts=torch.tensor(
            [real_seqs, num_decodes, real_tokens, real_seqs], dtype=torch.int32, device=device
        ),
        block_tables=tables.to(device),
    )


def make_case(
    shape: AttentionShape,
    contexts: list[int],
    queries: list[int],
    *,
    block_size: int = 16,
    num_seqs: int | None = None,
    num_tokens: int | None = None,
    fp8: bool = False,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> Case:
    """Random queries, keys and values; NaN wherever no token of a sequence lies."""
    step = make_step(
        contexts,
        queries,
        block_size=block_size,
        num_seqs=num_seqs,
        num_tokens=num_tokens,
        device=device,
    )
    generator = torch.Generator().manual_seed(sum(contexts))
    blocks = sum(-(-context // block_size) for context in contexts) + 2
    size = (2, blocks, block_size, shape.num_kv_heads, shape.head_dim)
    values = torch.randn(size, generator=generator)
    query = torch.randn(step.num_tokens, shape.num_heads, shape.head_dim, generator=generator).to(
        dtype
    )
    scales = None
    if fp8:
        scales = values.abs().amax(-1) / FP8_MAX
        quantised = (values / scales[..., None]).to(FP8)
        values = quantised.float() * scales[..., None]
    else:
        values = values.to(dtype).float()
    expected = reference(shape, query.float(), values, step, contexts, queries, block_size)
    unused = ~used_slots(step, contexts, blocks, block_size)
    if scales is not None:
        data = quantised
        scales[:, unused] = torch.nan
        scales = scales.to(device)
    else:
        values[:, unused] = torch.nan
        data = values.to(dtype)
    return Case(query.to(device), LayerKV(data.to(device), scales), step, expected)


def used_slots(step: DeviceStep, contexts: list[int], blocks: int, block_size: int) -> torch.Tensor:
    """bool `[blocks, block_size]`."""
    used = torch.zeros(blocks * block_size, dtype=torch.bool)
    for index, context in enumerate(contexts):
        used[slots_of(step, index, context, block_size)] = True
    return used.view(blocks, block_size)


def slots_of(step: DeviceStep, index: int, context: int, block_size: int) -> torch.Tensor:
    table = step.block_tables[int(step.rows[index])].cpu().long()
    token = torch.arange(context)
    return table[token // block_size] * block_size + token % block_size


def reference(
    shape: AttentionShape,
    query: torch.Tensor,
    values: torch.Tensor,
    step: DeviceStep,
    contexts: list[int],
    queries: list[int],
    block_size: int,
) -> torch.Tensor:
    """float32 `[num_tokens, heads * head_dim]`; zeros for padding tokens."""
    output = torch.zeros(step.num_tokens, shape.num_heads, shape.head_dim)
    group = shape.num_heads // shape.num_kv_heads
    flat = values.view(2, -1, shape.num_kv_heads, shape.head_dim)
    first = 0
    for index, (context, new) in enumerate(zip(contexts, queries, strict=True)):
        slots = slots_of(step, index, context, block_size)
        key, value = flat[:, slots].repeat_interleave(group, dim=2)
        scores = torch.einsum("qhd,khd->hqk", query[first : first + new], key) * shape.scale
        position = torch.arange(context - new, context)[:, None]
        token = torch.arange(context)
        seen = token <= position
        if shape.sliding_window is not None:
            seen &= token > position - shape.sliding_window
        weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        output[first : first + new] = torch.einsum("hqk,khd->qhd", weights, value)
        first += new
    return output.view(step.num_tokens, -1)
