"""The reference backend against attention written out for one sequence at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from paged import PagedLayout

from engines.attention.base import AttentionShape
from engines.attention.reference import ReferenceAttention
from engines.kv_cache import LayerKV

TOLERANCE = 2e-6
"""Largest absolute difference in float32, of outputs around 1."""

HEAD_DIM = 16
CPU = torch.device("cpu")


def naive(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None
) -> torch.Tensor:
    """Causal attention of one whole sequence, position by position, in float64.

    query: `[tokens, heads, head_dim]`; key, value: `[tokens, kv_heads, head_dim]`.
    """
    query, key, value = query.double(), key.double(), value.double()
    heads, group = query.shape[1], query.shape[1] // key.shape[1]
    output = torch.empty_like(query)
    for position in range(len(query)):
        first = 0 if window is None else max(0, position + 1 - window)
        for head in range(heads):
            k, v = (t[first : position + 1, head // group] for t in (key, value))
            weights = (k @ query[position, head] * HEAD_DIM**-0.5).softmax(0)
            output[position, head] = weights @ v
    return output.flatten(1).float()


class Sequences:
    """Random queries, keys and values of several sequences, and a cache that holds junk."""

    def __init__(
        self, lengths: list[int], block_size: int, group: int, window: int | None, seed: int = 0
    ) -> None:
        self.lengths = lengths
        self.layout = PagedLayout(lengths, block_size, seed)
        kv_heads = 2
        self.shape = AttentionShape(kv_heads * group, kv_heads, HEAD_DIM, window)
        generator = torch.Generator().manual_seed(seed)

        def random(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator)

        self.query = [random(n, kv_heads * group, HEAD_DIM) for n in lengths]
        self.key = [random(n, kv_heads, HEAD_DIM) for n in lengths]
        self.value = [random(n, kv_heads, HEAD_DIM) for n in lengths]
        cache = (2, self.layout.num_blocks, block_size, kv_heads, HEAD_DIM)
        self.kv = 100 * random(*cache)
        self.backend = ReferenceAttention(self.shape, block_size, CPU, torch.float32)

    def expected(self, index: int) -> torch.Tensor:
        window = self.shape.sliding_window
        return naive(self.query[index], self.key[index], self.value[index], window)

    def fill(self, index: int, end: int, start: int = 0) -> None:
        """Puts the keys and values of `start:end` into the cache."""
        slots = torch.from_numpy(self.layout.slots(index, start, end))
        for cache, new in zip(self.kv, (self.key[index], self.value[index]), strict=True):
            cache.view(-1, *new.shape[1:])[slots] = new[start:end]

    def compute(self, parts: list[tuple[int, int, int]], num_decodes: int) -> list[torch.Tensor]:
        """The outputs of one step, part by part."""

        def joined(tensors: list[torch.Tensor]) -> torch.Tensor:
            return torch.cat([tensors[index][start:end] for index, start, end in parts])

        for index, start, end in parts:
            self.fill(index, end, start)
        step = self.backend.begin_step(self.layout.step(parts, num_decodes))
        output = self.backend.attend(joined(self.query), LayerKV(self.kv, None), step)
        return list(output.split([end - start for _, start, end in parts]))


def assert_close(output: torch.Tensor, expected: torch.Tensor) -> None:
    difference = (output - expected).abs().max().item()
    assert difference <= TOLERANCE, f"off by {difference:.2e}"


@pytest.mark.parametrize("block_size", [1, 4, 16])
@pytest.mark.parametrize("group", [1, 3, 4])
@pytest.mark.parametrize("window", [None, 1, 7])
def test_a_mixed_step_equals_plain_attention(
    block_size: int, group: int, window: int | None
) -> None:
    # Decodes of three lengths, a chunk behind a prefix, a whole prompt, and chunks of one token.
    lengths = [23, 1, 40, 33, 18, 9, 1]
    parts = [(0, 22, 23), (1, 0, 1), (2, 39, 40), (3, 12, 33), (4, 0, 18), (5, 8, 9), (6, 0, 1)]
    sequences = Sequences(lengths, block_size, group, window)
    for index, start, _ in parts:
        sequences.fill(index, start)
    outputs = sequences.compute(parts, num_decodes=3)
    for (index, start, end), output in zip(parts, outputs, strict=True):
        assert_close(output, sequences.expected(index)[start:end])


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("seed", range(4))
def test_random_sequences_grow_step_by_step(window: int | None, seed: int) -> None:
    """Random chunks and decodes until all is computed; nothing but the steps fills the cache."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, 40, 9).tolist()
    sequences = Sequences(lengths, int(draw.choice([1, 3, 4, 16])), 3, window, seed)
    expected = [sequences.expected(index) for index in range(len(lengths))]
    done = [0] * len(lengths)
    while any(have < length for have, length in zip(done, lengths, strict=True)):
        decodes, chunks = [], []
        for index in draw.permutation(len(lengths)).tolist():
            left = lengths[index] - done[index]
            if left and draw.random() < 0.7:
                new = int(draw.choice([1, 1, 2, 7, left]))
                part = (index, done[index], done[index] + min(new, left))
                is_decode = new == 1 and done[index] > 0
                (decodes if is_decode else chunks).append(part)
        if not decodes + chunks:
            continue
        outputs = sequences.compute(decodes + chunks, len(decodes))
        for (index, start, end), output in zip(decodes + chunks, outputs, strict=True):
            assert_close(output, expected[index][start:end])
            done[index] = end


def test_a_mixed_batch_equals_separate_steps() -> None:
    parts = [(0, 22, 23), (2, 39, 40), (3, 12, 33), (4, 0, 18)]
    together, apart = (Sequences([23, 1, 40, 33, 18], 4, 3, None) for _ in range(2))
    for sequences in (together, apart):
        for index, start, _ in parts:
            sequences.fill(index, start)
    mixed = together.compute(parts, num_decodes=2)
    for part, output in zip(parts, mixed, strict=True):
        (alone,) = apart.compute([part], num_decodes=int(part[2] - part[1] == 1))
        assert_close(output, alone)


def test_decodes_in_one_group_and_in_many_agree() -> None:
    lengths = [5, 200, 64, 199, 7, 180, 1, 65]
    outputs = []
    for group_tokens in (1, 400, 1 << 14):
        sequences = Sequences(lengths, 16, 3, None)
        for index, length in enumerate(lengths):
            sequences.fill(index, length - 1)
        sequences.backend.group_tokens = group_tokens
        parts = [(index, length - 1, length) for index, length in enumerate(lengths)]
        outputs.append(torch.cat(sequences.compute(parts, len(parts))))
    for output in outputs[1:]:
        assert_close(output, outputs[0])


def test_two_sequences_may_share_the_blocks_of_their_prefix() -> None:
    sequences = Sequences([12, 12], 4, 3, None)
    sequences.key[1][:8], sequences.value[1][:8] = sequences.key[0][:8], sequences.value[0][:8]
    sequences.layout.tables[1, :2] = sequences.layout.tables[0, :2]
    sequences.fill(0, 11)
    decode, chunk = sequences.compute([(0, 11, 12), (1, 8, 12)], num_decodes=1)
    assert_close(decode, sequences.expected(0)[11:])
    assert_close(chunk, sequences.expected(1)[8:])
