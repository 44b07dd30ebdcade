"""What stands between the q/k/v product and attention, in one kernel.

Norms over the heads of q and k where the model has them, RoPE, and the step's keys and values into
the paged cache.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from engines.kernels.base import Heads, Product, values_of
from engines.kernels.hadamard import levels
from engines.kernels.triton.dependent_launch import wait_for_previous
from engines.kernels.triton.hadamard import spread
from engines.kernels.triton.quantise import fp8_scale, to_fp8
from engines.kernels.triton.scaled import operands, scaled
from engines.kv_cache import LayerKV

FEW_TOKENS = 256
"""Up to so many, heads are spread over more programs: latency counts, not bandwidth."""


@triton.jit
def _halves(start, token, heads, columns, mask, missing, DIM: tl.constexpr):
    """The first and the second half of heads of a token's row, float32 `[heads, HALF]`."""
    places = heads * DIM + columns
    first = tl.load(start + places, mask=mask, other=0.0).to(tl.float32)
    second = tl.load(start + places + DIM // 2, mask=mask, other=0.0).to(tl.float32)
    first = scaled(first, token, places, mask, missing)
    return first, scaled(second, token, places + DIM // 2, mask, missing)


@triton.jit
def _normed(first, second, weight, columns, eps, DIM: tl.constexpr):
    """Heads over their root mean square, rounded as the norm's output is."""
    inside = columns < DIM // 2
    squares = tl.sum(first * first, axis=1) + tl.sum(second * second, axis=1)
    factor = tl.rsqrt(squares / DIM + eps)[:, None]
    first *= factor * tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    second *= factor * tl.load(weight + DIM // 2 + columns, mask=inside, other=0.0).to(tl.float32)
    dtype = weight.dtype.element_ty
    return first.to(dtype).to(tl.float32), second.to(dtype).to(tl.float32)


@triton.jit
def _turned(
    first, second, cos, sin, position, columns,
    dtype: tl.constexpr, DIM: tl.constexpr, LEVELS: tl.constexpr,
):  # fmt: skip
    """Heads turned by their token's position, and spread; cos and sin in the model's dtype."""
    angle = position * (DIM // 2) + columns
    inside = columns < DIM // 2
    c = tl.load(cos + angle, mask=inside, other=0.0).to(dtype).to(tl.float32)
    s = tl.load(sin + angle, mask=inside, other=0.0).to(dtype).to(tl.float32)
    first, second = first * c - second * s, second * c + first * s
    if LEVELS is not None:
        first, second = spread(first, second, LEVELS)
    return first.to(dtype), second.to(dtype)


@triton.jit
def _store(cache, scales, place, first, second, columns, real, DIM: tl.constexpr):
    """Heads into the cache; `place` counts heads, slot by slot, int64 `[heads, 1]`."""
    if scales is not None:
        first, second = first.to(tl.float32), second.to(tl.float32)
        amax = tl.maximum(
            tl.max(tl.abs(first), axis=1, keep_dims=True),
            tl.max(tl.abs(second), axis=1, keep_dims=True),
        )
        scale = fp8_scale(amax)
        tl.store(scales + place, scale, mask=real)
        first, second = to_fp8(first, scale), to_fp8(second, scale)
    mask = real & (columns < DIM // 2)
    tl.store(cache + place * DIM + columns, first, mask=mask)
    tl.store(cache + place * DIM + DIM // 2 + columns, second, mask=mask)


@triton.jit
def _queries(
    start, token, missing, q_norm, cos, sin, position, out, eps, part,
    HEADS: tl.constexpr, DIM: tl.constexpr, HALF: tl.constexpr, PART: tl.constexpr,
    LEVELS: tl.constexpr,
):  # fmt: skip
    columns = tl.arange(0, HALF)[None, :]
    heads = part * PART + tl.arange(0, PART)[:, None]
    mask = (heads < HEADS) & (columns < DIM // 2)
    first, second = _halves(start, token, heads, columns, mask, missing, DIM)
    if q_norm is not None:
        first, second = _normed(first, second, q_norm, columns, eps, DIM)
    dtype: tl.constexpr = start.dtype.element_ty
    first, second = _turned(first, second, cos, sin, position, columns, dtype, DIM, LEVELS)
    tl.store(out + heads * DIM + columns, first, mask=mask)
    tl.store(out + heads * DIM + DIM // 2 + columns, second, mask=mask)


@triton.jit
def _keys_and_values(
    start, token, missing, k_norm, cos, sin, position, slot, cache, scales, value_place, eps, part,
    FIRST: tl.constexpr, HEADS: tl.constexpr, DIM: tl.constexpr, HALF: tl.constexpr,
    PART: tl.constexpr, LEVELS: tl.constexpr,
):  # fmt: skip
    columns = tl.arange(0, HALF)[None, :]
    heads = part * PART + tl.arange(0, PART)[:, None]
    real = heads < HEADS
    mask = real & (columns < DIM // 2)
    place = slot.to(tl.int64) * HEADS + heads
    first, second = _halves(start, token, FIRST + heads, columns, mask, missing, DIM)
    if k_norm is not None:
        first, second = _normed(first, second, k_norm, columns, eps, DIM)
    dtype: tl.constexpr = start.dtype.element_ty
    first, second = _turned(first, second, cos, sin, position, columns, dtype, DIM, LEVELS)
    _store(cache, scales, place, first, second, columns, real, DIM)
    first, second = _halves(start, token, FIRST + HEADS + heads, columns, mask, missing, DIM)
    first, second = first.to(dtype), second.to(dtype)
    _store(cache, scales, value_place + place, first, second, columns, real, DIM)


@triton.jit
def _rotate_store(
    qkv, token_scale, row_scale, row_step, bias, q_norm, k_norm, cos, sin, positions, slots,
    query, cache, scales, value_place, eps,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr, HALF: tl.constexpr,
    PART: tl.constexpr, KV_PART: tl.constexpr, LEVELS: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    wait_for_previous(PDL)
    token = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    query_parts: tl.constexpr = (HEADS + PART - 1) // PART
    start = qkv + token * ((HEADS + 2 * KV_HEADS) * DIM)
    missing = (token_scale, row_scale, row_step, bias)
    position = tl.load(positions + token)
    if part < query_parts:
        out = query + token * (HEADS * DIM)
        _queries(
            start, token, missing, q_norm, cos, sin, position, out, eps, part,
            HEADS, DIM, HALF, PART, LEVELS,
        )  # fmt: skip
    else:
        slot = tl.load(slots + token)
        _keys_and_values(
            start, token, missing, k_norm, cos, sin, position, slot, cache, scales, value_place,
            eps, part - query_parts, HEADS, KV_HEADS, DIM, HALF, KV_PART, LEVELS,
        )  # fmt: skip


def _parts(heads: Heads, tokens: int) -> tuple[int, int, int, int]:
    """Half a head's padded size, query heads and KV heads of one program, and its warps."""
    half = triton.next_power_of_2(heads.head_dim // 2)
    most, most_kv = (4, 4) if tokens <= FEW_TOKENS else (16, 8)
    part = min(most, triton.next_power_of_2(heads.num_heads))
    kv_part = min(most_kv, triton.next_power_of_2(heads.num_kv_heads))
    return half, part, kv_part, min(max(2 * half * part // 512, 1), 8)


def rotate_and_store(
    qkv: Product,
    heads: Heads,
    cos: torch.Tensor,
    sin: torch.Tensor,
    positions: torch.Tensor,
    slots: torch.Tensor,
    kv: LayerKV,
    pdl: bool = False,
) -> torch.Tensor:
    """Turns queries and keys by their positions; keys and values go to the cache at their slots.

    Args:
        qkv: `[T, (heads + 2 * kv_heads) * head_dim]`, contiguous, perhaps without its scales.
        cos, sin: float32 `[positions, 1, head_dim / 2]`, contiguous; rounded to the dtype of `qkv`.
        positions, slots: int32 or int64 `[T]`; slot = block * block_size + offset.
        kv: one layer's, contiguous; of FP8 values each token and KV head gets a scale, and keys
            and queries are spread by `hadamard`.
        pdl: whether to start before the previous kernel ends.

    Returns:
        The queries, `[T, heads, head_dim]`.
    """
    values = values_of(qkv)
    tokens = values.shape[0]
    query = values.new_empty((tokens, heads.num_heads, heads.head_dim))
    half, part, kv_part, warps = _parts(heads, tokens)
    grid = (tokens, triton.cdiv(heads.num_heads, part) + triton.cdiv(heads.num_kv_heads, kv_part))
    _rotate_store[grid](
        *operands(qkv), heads.q_norm, heads.k_norm, cos, sin, positions, slots,
        query, kv.data, kv.scales, kv.data.stride(0) // heads.head_dim, heads.eps,
        heads.num_heads, heads.num_kv_heads, heads.head_dim, half, part, kv_part,
        None if kv.scales is None else levels(heads.head_dim), pdl,
        num_warps=warps, launch_pdl=pdl,
    )  # fmt: skip
    return query
