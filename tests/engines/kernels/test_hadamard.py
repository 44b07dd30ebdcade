"""Heads times a Hadamard matrix: an FP8 cache keeps more of them, and attention doesn't change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engines.attention.base import AttentionShape, StepLayout
from engines.attention.reference import ReferenceAttention
from engines.kernels.hadamard import spread
from engines.kernels.reference import _store
from engines.kv_cache import FP8, KVCache

CPU = torch.device("cpu")


@pytest.mark.parametrize("head_dim", [2, 24, 64, 80, 96, 128, 256])
def test_the_matrix_is_orthonormal_and_its_own_inverse(head_dim):
    matrix = spread(torch.eye(head_dim))
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(head_dim))
    torch.testing.assert_close(spread(matrix), torch.eye(head_dim))


def test_it_is_sylvesters_matrix_for_powers_of_two():
    matrix = torch.ones(1, 1)
    while len(matrix) < 64:
        matrix = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), matrix)
    torch.testing.assert_close(spread(torch.eye(64)), matrix / 8)


def test_parts_of_other_sizes_are_as_large_as_they_can_be():
    reached = (spread(torch.eye(96)) != 0).sum(dim=1)
    assert (reached == 32).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shape_and_dtype_stay(dtype):
    heads = torch.randn(5, 3, 64).to(dtype)
    assert spread(heads).shape == heads.shape and spread(heads).dtype == dtype


def attended(heads: tuple[torch.Tensor, ...], dtype: torch.dtype, turned: bool) -> torch.Tensor:
    """Attention of one prompt over a cache of `dtype`, filled as the kernels do it."""
    query, key, value = heads
    if turned:
        query, key = spread(query), spread(key)
    tokens, kv_heads, dim = key.shape
    cache = KVCache.allocate(1, 1 + tokens // 16, 16, kv_heads, dim, dtype, CPU).layers()[0]
    slots = torch.arange(16, 16 + tokens)
    _store(cache, 0, slots, key)
    _store(cache, 1, slots, value)
    attention = ReferenceAttention(
        AttentionShape(query.shape[1], kv_heads, dim, None), 16, CPU, torch.float32
    )
    table = np.arange(1, 1 + tokens // 16, dtype=np.int32)[None]
    step = attention.begin_step(StepLayout(np.array([tokens]), np.array([tokens]), table, 0))
    return attention.attend(query, cache, step)


def test_attention_over_a_spread_cache_is_the_same_and_in_fp8_better():
    generator = torch.Generator().manual_seed(1)
    query, key, value = (torch.randn(64, heads, 64, generator=generator) for heads in (4, 2, 2))
    # A few large channels, as the keys of trained models have them.
    query[:, :, [5, 40]] *= 6
    query /= 8
    key[:, :, [5, 40]] *= 6
    heads = query, key, value.sign()  # values that FP8 keeps as they are
    expected = attended(heads, torch.float32, turned=False)
    torch.testing.assert_close(
        attended(heads, torch.float32, turned=True), expected, rtol=1e-4, atol=1e-5
    )
    plain, turned = (
        (attended(heads, FP8, turned) - expected).square().mean().sqrt() for turned in (False, True)
    )
    assert turned < 0.6 * plain
