"""The cache: what a step stores is in its slots, as it can be read back, and nowhere else."""

from __future__ import annotations

import pytest
import torch

from engines.kernels.base import Heads
from engines.kernels.reference import ReferenceKernels
from engines.kv_cache import FP8, KVCache, LayerKV

CPU = torch.device("cpu")
LAYERS, BLOCKS, BLOCK_SIZE, KV_HEADS, HEAD_DIM = 3, 6, 4, 2, 8
SLOTS = torch.tensor([9, 4, 23, 0])


def cache(dtype: torch.dtype) -> KVCache:
    return KVCache.allocate(LAYERS, BLOCKS, BLOCK_SIZE, KV_HEADS, HEAD_DIM, dtype, CPU)


def store(kv: LayerKV) -> tuple[torch.Tensor, ...]:
    """Four tokens at position 0 into `SLOTS`; queries, keys and values as they were given, and
    the queries that came back."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(len(SLOTS), 3 * KV_HEADS, HEAD_DIM, generator=generator)
    rows[1, -1] = 0.0
    rows[2, -1] *= 1e4
    heads = Heads(KV_HEADS, KV_HEADS, HEAD_DIM, None, None, 1e-6)
    angles = torch.zeros(len(SLOTS), 1, HEAD_DIM // 2)
    rotation = angles.cos(), angles.sin()
    query = ReferenceKernels().rotate_and_store(rows.flatten(1), heads, rotation, SLOTS, kv)
    return *rows.unflatten(1, (3, KV_HEADS)).unbind(1), query


def read_back(kv: LayerKV) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values in `SLOTS`, and their scales `[2, tokens, kv_heads, 1]`."""
    assert kv.scales is not None
    scales = kv.scales.flatten(1, 2)[:, SLOTS].unsqueeze(-1)
    return kv.data.float().flatten(1, 2)[:, SLOTS] * scales, scales


@pytest.mark.parametrize("dtype", [torch.float32, FP8])
def test_a_step_writes_its_slots_of_its_layer_alone(dtype: torch.dtype) -> None:
    kv = cache(dtype)
    raw = kv.data.view(torch.uint8)
    raw.fill_(0x5A)
    if kv.scales is not None:
        kv.scales.fill_(3.0)
    before = raw.clone()
    store(kv.layers()[1])
    written = (raw != before).unflatten(-1, (HEAD_DIM, -1)).any(-1).any(-1).any(-1)
    expected = torch.zeros(LAYERS, 2, BLOCKS * BLOCK_SIZE, dtype=torch.bool)
    expected[1, :, SLOTS] = True
    assert torch.equal(written.flatten(2), expected)
    if kv.scales is not None:
        assert torch.equal((kv.scales != 3.0).any(-1).flatten(2), expected)


def test_keys_and_values_are_read_back_as_they_were_stored() -> None:
    kv = cache(torch.float32).layers()[0]
    query, keys, values, given_back = store(kv)
    assert kv.scales is None and torch.equal(given_back, query)
    assert torch.equal(kv.data.flatten(1, 2)[:, SLOTS], torch.stack([keys, values]))


def test_fp8_keeps_the_largest_value_of_each_token_and_head_and_three_bits_of_the_rest() -> None:
    kv = cache(FP8).layers()[0]
    _, _, values, _ = store(kv)
    read, scales = read_back(kv)
    torch.testing.assert_close(read[1].abs().amax(-1), values.abs().amax(-1))
    allowed = values.abs() / 16 + scales[1] * 2**-10
    assert ((read[1] - values).abs() <= allowed * 1.001).all()
    assert not read[1, 1, -1].any() and scales.min() > 0


def test_fp8_keys_give_the_queries_their_scores() -> None:
    kv = cache(FP8).layers()[0]
    query, keys, _, given_back = store(kv)
    read, _ = read_back(kv)
    expected, scores = (query * keys).sum(-1), (given_back * read[0]).sum(-1)
    allowed = query.norm(dim=-1) * keys.norm(dim=-1) / 16
    assert ((scores - expected).abs() <= allowed).all()


@pytest.mark.parametrize(("dtype", "each"), [(torch.float32, 4 * 8), (FP8, 8 + 4)])
def test_its_bytes_count_values_and_scales(dtype: torch.dtype, each: int) -> None:
    kv = cache(dtype)
    assert kv.num_bytes == LAYERS * 2 * BLOCKS * BLOCK_SIZE * KV_HEADS * each
    assert kv.block_size == BLOCK_SIZE and len(kv.layers()) == LAYERS
    assert not kv.data.view(torch.uint8).any()
