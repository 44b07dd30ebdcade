"""Tokens on the device: those of the plain sampler, in the right frequencies, in any company."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from scipy.stats import chi2
from step_tensors import DEVICE, MAX_SEQS, Step

from engines.compute.sampling import LOWEST_TEMPERATURE, SamplingBatch, uniforms
from engines.compute.sampling import sample as plain_sample
from engines.kernels.triton import sampling
from engines.kernels.triton.sampling import CHUNK, sample_tokens


@triton.jit
def uniform_kernel(low, high, positions, out, block: tl.constexpr):  # type: ignore[no-untyped-def]
    index = tl.arange(0, block)
    number = sampling.uniform(
        tl.load(low + index), tl.load(high + index), tl.load(positions + index)
    )
    tl.store(out + index, number)


def draw(
    logits: torch.Tensor,
    temperature: float | list[float],
    seeds: list[int] | None = None,
    positions: list[int] | None = None,
    padding: int = 0,
) -> list[int]:
    """The tokens of some rows, `padding` rows behind them."""
    rows, vocab = logits.shape
    step = Step([], decodes=0)
    temperatures = temperature if isinstance(temperature, list) else [temperature] * rows
    seeds, positions = seeds or list(range(rows)), positions or list(range(rows))
    step.sample(list(range(rows))[::-1], temperatures, seeds, positions, ring_slot=2)
    tensors = step.tensors()
    before = tensors.next_token.clone()
    ring = torch.full((4, MAX_SEQS), -1, dtype=torch.int32, device=DEVICE)
    padded = torch.cat((logits.to(DEVICE), torch.full((padding, vocab), torch.nan, device=DEVICE)))
    sample_tokens(padded, tensors.packed, MAX_SEQS, ring, tensors.next_token)
    tokens: list[int] = ring[2, :rows].tolist()
    assert (ring[2, rows:] == -1).all() and (ring[[0, 1, 3]] == -1).all()
    assert tensors.next_token[:rows].tolist() == tokens[::-1]
    assert torch.equal(tensors.next_token[rows:], before[rows:])
    return tokens


def random(rows: int, vocab: int, seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn((rows, vocab), generator=torch.Generator().manual_seed(seed))


def test_uniform_numbers_are_those_of_the_plain_sampler_bit_for_bit() -> None:
    generator = np.random.default_rng(0)
    seeds = generator.integers(0, 2**64, 256, dtype=np.uint64)
    seeds[:4] = 0, 1, 2**63, 2**64 - 1
    positions = generator.integers(0, 2**31, 256).astype(np.int32)
    positions[:8] = 0, 0, 0, 0, 1, 2, 3, 2**31 - 1
    halves = torch.from_numpy(seeds.view(np.int32).reshape(-1, 2).copy()).to(DEVICE)
    low, high = halves[:, 0].contiguous(), halves[:, 1].contiguous()
    out = torch.empty(256, dtype=torch.float64, device=DEVICE)
    uniform_kernel[(1,)](low, high, torch.from_numpy(positions).to(DEVICE), out, 256)
    np.testing.assert_array_equal(out.cpu().numpy(), uniforms(seeds, positions.astype(np.int64)))


def test_lowest_temperature_is_that_of_the_plain_sampler() -> None:
    assert np.float32(sampling._LOWEST_TEMPERATURE.value) == LOWEST_TEMPERATURE


@pytest.mark.parametrize("vocab", [5, CHUNK, CHUNK + 1, 3 * CHUNK - 7])
def test_greedy_takes_the_largest(vocab: int) -> None:
    logits = random(4, vocab)
    assert draw(logits, 0.0) == logits.argmax(dim=-1).tolist()


def test_greedy_ties_go_to_the_lowest_id() -> None:
    logits = random(3, 3 * CHUNK).clamp(max=5.0)
    logits[0, [CHUNK - 1, CHUNK, 2 * CHUNK]] = 50.0
    logits[1, [17, 18, 2 * CHUNK + 1]] = 50.0
    logits[2, :] = 0.0
    assert draw(logits, 0.0) == [CHUNK - 1, 17, 0]


@pytest.mark.parametrize("temperature", [0.3, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("vocab", [5, 1000, 2 * CHUNK + 99])
def test_draws_as_the_plain_sampler(vocab: int, temperature: float) -> None:
    rows = 12
    logits = random(rows, vocab, seed=vocab)
    seeds, positions = [3**i for i in range(rows)], [7 * i for i in range(rows)]
    full = np.full(rows, temperature, np.float32)
    batch = SamplingBatch(
        full,
        np.zeros(rows, np.int32),
        np.ones(rows, np.float32),
        np.array(seeds, np.uint64),
        np.array(positions, np.int64),
    )
    assert draw(logits, temperature, seeds, positions) == plain_sample(logits, batch).tolist()


def test_frequencies_are_the_probabilities() -> None:
    """χ² over draws at many positions; the likeliest tokens lie in different chunks."""
    draws, places = 360, [0, 3, CHUNK - 1, CHUNK, CHUNK + 5]
    probabilities = np.array([0.1, 0.25, 0.3, 0.05, 0.3])
    logits = torch.full((MAX_SEQS, CHUNK + 6), -math.inf)
    logits[:, places] = 2.0 * torch.from_numpy(probabilities).log().float()
    tokens: list[int] = []
    for first in range(0, draws, MAX_SEQS):
        positions = list(range(first, first + MAX_SEQS))
        tokens += draw(logits, 2.0, [99] * MAX_SEQS, positions)
    assert set(tokens) == set(places)
    counts = np.array([tokens.count(place) for place in places])
    expected = probabilities * len(tokens)
    statistic = float(((counts - expected) ** 2 / expected).sum())
    assert chi2.sf(statistic, len(places) - 1) > 1e-3


def test_neighbours_and_padding_change_nothing() -> None:
    logits = random(6, CHUNK + 50)
    temperatures = [0.7, 0.0, 1.5, 1.0, 0.0, 0.4]
    together = draw(logits, temperatures, list(range(6)), list(range(6)), padding=3)
    alone = [
        draw(logits[i : i + 1], temperatures[i : i + 1], [i], [i] if i else None)[0]
        for i in range(6)
    ]
    assert together == alone


def test_impossible_tokens_are_never_drawn() -> None:
    """Whatever number is drawn: tokens of probability 0 stand before, between and behind."""
    logits = torch.full((MAX_SEQS, 3 * CHUNK), -math.inf)
    possible = [5, CHUNK + 7, CHUNK + 9]
    logits[:, possible] = 1.0
    drawn: set[int] = set()
    for seed in range(10):
        drawn |= set(draw(logits, 1.0, [seed] * MAX_SEQS))
    assert drawn == set(possible)


def test_a_temperature_near_zero_is_greedy_without_overflow() -> None:
    logits = random(3, 2 * CHUNK)
    assert draw(logits, [1e-38, 1e-30, 1e-6]) == logits.argmax(dim=-1).tolist()


def test_a_row_of_nothing_finite_still_gives_a_token() -> None:
    logits = torch.full((2, 100), -math.inf)
    logits[1] = torch.nan
    for temperature in (0.0, 1.0):
        assert all(0 <= token < 100 for token in draw(logits, temperature))
