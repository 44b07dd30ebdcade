"""Token ids to the rows of the embedding."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from engines.kernels.triton.dependent_launch import wait_for_previous


@triton.jit
def _embed(token_ids, embed, out, WIDTH: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr):
    wait_for_previous(PDL)
    token = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    row = tl.load(token_ids + token).to(tl.int64)
    values = tl.load(embed + row * WIDTH + columns, mask=columns < WIDTH)
    tl.store(out + token * WIDTH + columns, values, mask=columns < WIDTH)


def embed_tokens(token_ids: torch.Tensor, embed: torch.Tensor, pdl: bool = False) -> torch.Tensor:
    """The rows of `embed` `[vocab, C]` that `token_ids` `[T]` names: `[T, C]`."""
    tokens, width = token_ids.shape[0], embed.shape[1]
    out = embed.new_empty((tokens, width))
    block = min(1024, triton.next_power_of_2(width))
    grid = (tokens, triton.cdiv(width, block))
    _embed[grid](
        token_ids, embed, out, width, block, pdl, num_warps=max(block // 256, 1), launch_pdl=pdl
    )
    return out
