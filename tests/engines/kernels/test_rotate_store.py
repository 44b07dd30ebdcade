"""Head norms, RoPE and the writes to the cache, against the reference kernels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from engines.kernels.base import Heads
from engines.kernels.reference import ReferenceKernels
from engines.kernels.triton.rotate_store import FEW_TOKENS, rotate_and_store
from engines.kv_cache import FP8, KVCache, LayerKV
from engines.models.config import ModelConfig
from engines.models.rotary import RotaryTable

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BLOCKS, BLOCK_SIZE, POSITIONS = 40, 16, 128


def rotary(head_dim: int) -> RotaryTable:
    config: Any = SimpleNamespace(head_dim=head_dim, rope_theta=1e4, rope_scaling=None)
    return RotaryTable(cast(ModelConfig, config), POSITIONS, DEVICE)


def case(
    num_heads: int, num_kv_heads: int, head_dim: int, tokens: int, normed: bool
) -> tuple[torch.Tensor, Heads, torch.Tensor, torch.Tensor]:
    """q/k/v rows, their heads, positions and slots; the last two tokens of many are padding."""
    generator = torch.Generator().manual_seed(tokens)
    qkv = torch.randn((tokens, (num_heads + 2 * num_kv_heads) * head_dim), generator=generator)
    norms = [1 + torch.randn(head_dim, generator=generator) / 4 if normed else None] * 2
    positions = torch.randint(POSITIONS, (tokens,), generator=generator, dtype=torch.int32)
    slots = BLOCK_SIZE + torch.randperm((BLOCKS - 1) * BLOCK_SIZE, generator=generator)[:tokens]
    if tokens > 2:
        positions[-2:], slots[-2:] = 0, 0
    norms = [norm if norm is None else norm.to(DEVICE) for norm in norms]
    heads = Heads(num_heads, num_kv_heads, head_dim, *norms, 1e-6)
    return qkv.to(DEVICE), heads, positions.to(DEVICE), slots.to(DEVICE)


def cache(heads: Heads, dtype: torch.dtype) -> LayerKV:
    """The second of three layers: its neighbours must stay as they are."""
    shape = (3, BLOCKS, BLOCK_SIZE, heads.num_kv_heads, heads.head_dim)
    return KVCache.allocate(*shape, dtype, DEVICE).layers()[1]


SHAPES = [
    (16, 8, 128, 1),
    (9, 3, 64, 5),
    (3, 1, 24, 4),
    (4, 4, 80, 3),
    (6, 2, 96, 7),
    (32, 8, 128, 2),
]


@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize(("num_heads", "num_kv_heads", "head_dim", "tokens"), SHAPES)
def test_as_the_reference(
    num_heads: int, num_kv_heads: int, head_dim: int, tokens: int, normed: bool
) -> None:
    qkv, heads, positions, slots = case(num_heads, num_kv_heads, head_dim, tokens, normed)
    table, reference = rotary(head_dim), ReferenceKernels()
    kv, expected_kv = cache(heads, torch.float32), cache(heads, torch.float32)
    query = rotate_and_store(qkv, heads, table.cos, table.sin, positions, slots, kv)
    rotation = reference.rotation(table, positions, qkv.dtype)
    expected = reference.rotate_and_store(qkv, heads, rotation, slots, expected_kv)
    torch.testing.assert_close(query, expected)
    # The null block takes padding, in any order.
    torch.testing.assert_close(kv.data[:, 1:], expected_kv.data[:, 1:])


@pytest.mark.parametrize(("num_heads", "num_kv_heads", "head_dim", "tokens"), SHAPES[:4])
def test_fp8_cache_has_a_scale_for_each_token_and_head(
    num_heads: int, num_kv_heads: int, head_dim: int, tokens: int
) -> None:
    qkv, heads, positions, slots = case(num_heads, num_kv_heads, head_dim, tokens, False)
    table, reference = rotary(head_dim), ReferenceKernels()
    kv, expected = cache(heads, FP8), cache(heads, FP8)
    rotate_and_store(qkv, heads, table.cos, table.sin, positions, slots, kv)
    rotation = reference.rotation(table, positions, qkv.dtype)
    reference.rotate_and_store(qkv, heads, rotation, slots, expected)
    assert kv.scales is not None and expected.scales is not None
    torch.testing.assert_close(kv.scales[:, 1:], expected.scales[:, 1:])
    got, right = kv.data[:, 1:].float(), expected.data[:, 1:].float()
    mantissa = right.abs() / torch.exp2(right.abs().clamp(min=1e-9).log2().floor())
    # The interpreter loses a carry into the exponent and truncates what is subnormal.
    sound = (mantissa > 1) & (right.abs() >= 2**-6)
    assert ((got == right) | ~sound).float().mean() > 0.999
    assert (right != 0).any()


def test_neighbours_in_the_cache_are_left_alone() -> None:
    qkv, heads, positions, slots = case(4, 2, 64, 3, False)
    table, whole = (
        rotary(64),
        KVCache.allocate(3, BLOCKS, BLOCK_SIZE, 2, 64, torch.float32, DEVICE),
    )
    rotate_and_store(qkv, heads, table.cos, table.sin, positions, slots, whole.layers()[1])
    written = whole.data.abs().sum(dim=(-1, -2)).flatten(2).nonzero()
    expected = {(1, part, slot) for part in (0, 1) for slot in slots.tolist()}
    assert {tuple(place) for place in written.tolist()} == expected


def test_a_token_gets_the_same_in_a_small_and_in_a_large_step() -> None:
    tokens = FEW_TOKENS + 4
    qkv, heads, positions, slots = case(3, 1, 24, tokens, True)
    table = rotary(24)
    large, small = cache(heads, torch.float32), cache(heads, torch.float32)
    query = rotate_and_store(qkv, heads, table.cos, table.sin, positions, slots, large)
    few = rotate_and_store(qkv[:8], heads, table.cos, table.sin, positions[:8], slots[:8], small)
    torch.testing.assert_close(query[:8], few)
    at = slots[:8]
    torch.testing.assert_close(large.data.flatten(1, 2)[:, at], small.data.flatten(1, 2)[:, at])
