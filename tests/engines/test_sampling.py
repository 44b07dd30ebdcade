"""Sampling: the right distribution, the right cuts, and the same token in any company."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.compute.sampling import SamplingBatch, sample, uniforms

DRAWS = 20_000


def batch(
    rows: int,
    temperature: float | list[float] = 1.0,
    top_k: int | list[int] = 0,
    top_p: float | list[float] = 1.0,
    seed: int | list[int] = 0,
    position: Any = 0,
) -> SamplingBatch:
    return SamplingBatch(
        np.broadcast_to(np.asarray(temperature, np.float32), rows).copy(),
        np.broadcast_to(np.asarray(top_k, np.int32), rows).copy(),
        np.broadcast_to(np.asarray(top_p, np.float32), rows).copy(),
        np.broadcast_to(np.asarray(seed, np.uint64), rows).copy(),
        np.broadcast_to(np.asarray(position, np.int64), rows).copy(),
    )


def counts(probabilities: list[float], seed: int = 0, **params: Any) -> np.ndarray:
    """How often each token is drawn, at `DRAWS` positions, from given probabilities."""
    logits = torch.tensor(probabilities).log().expand(DRAWS, -1)
    tokens = sample(logits, batch(DRAWS, seed=seed, position=np.arange(DRAWS), **params))
    return np.bincount(tokens.numpy(), minlength=len(probabilities))


def assert_drawn_from(seen: np.ndarray, probabilities: list[float]) -> None:
    """Pearson's chi-square over the tokens that can be drawn, at a level of 1 in 10,000."""
    expected = np.array(probabilities) / sum(probabilities) * seen.sum()
    possible = expected > 0
    assert not seen[~possible].any(), "a token was drawn that was cut away"
    statistic = (((seen - expected) ** 2)[possible] / expected[possible]).sum()
    freedom = int(possible.sum()) - 1
    assert statistic < freedom + 4 * (2 * freedom) ** 0.5 + 10, (seen, expected)


# -- greedy -------------------------------------------------------------------------------------


def test_temperature_zero_takes_the_largest_logit_and_the_first_of_equals() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 5.0, 1.0], [-3.0, -2.0, -1.0]])
    assert sample(logits, batch(3, temperature=0.0)).tolist() == [1, 0, 2]


def test_greedy_ignores_seed_top_k_and_top_p() -> None:
    logits = torch.randn(64, 50, generator=torch.Generator().manual_seed(0))
    params = batch(64, 0.0, top_k=3, top_p=0.5, seed=list(range(64)), position=list(range(64)))
    assert torch.equal(sample(logits, params), logits.argmax(-1))


def test_greedy_and_drawn_rows_share_a_batch() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.0]]).repeat(4, 1)
    tokens = sample(logits, batch(4, temperature=[0.0, 1e-4, 0.0, 1e-4]))
    assert tokens.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("temperature", [1e-3, 1e-6, 1e-30, 1e-38])
def test_a_temperature_towards_zero_tends_to_greedy(temperature: float) -> None:
    logits = torch.randn(32, 100, generator=torch.Generator().manual_seed(1)) * 10
    tokens = sample(logits, batch(32, temperature, position=np.arange(32)))
    assert torch.equal(tokens, logits.argmax(-1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_any_float_dtype_gives_int64_tokens(dtype: torch.dtype) -> None:
    logits = torch.eye(3, dtype=dtype) * 100
    for temperature in (0.0, 1.0):
        tokens = sample(logits, batch(3, temperature, top_p=0.9))
        assert (tokens.tolist(), tokens.dtype) == ([0, 1, 2], torch.int64)


# -- distributions ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 12_345])
def test_tokens_are_drawn_with_their_probabilities(seed: int) -> None:
    probabilities = [0.4, 0.02, 0.3, 0.08, 0.2]
    assert_drawn_from(counts(probabilities, seed), probabilities)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_sharpens_and_flattens(temperature: float) -> None:
    probabilities = [0.4, 0.1, 0.3, 0.2]
    scaled = [p ** (1 / temperature) for p in probabilities]
    assert_drawn_from(counts(probabilities, temperature=temperature), scaled)


@pytest.mark.parametrize(
    ("top_k", "left"),
    [
        (1, [0, 0, 0.5, 0]),
        (2, [0.3, 0, 0.5, 0]),
        (3, [0.3, 0, 0.5, 0.15]),
        (4, [0.3, 0.05, 0.5, 0.15]),
        (99, [0.3, 0.05, 0.5, 0.15]),
    ],
)
def test_top_k_keeps_the_k_likeliest_in_proportion(top_k: int, left: list[float]) -> None:
    assert_drawn_from(counts([0.3, 0.05, 0.5, 0.15], top_k=top_k), left)


@pytest.mark.parametrize(
    ("top_p", "left"),
    [
        (0.0, [0, 0, 0.5, 0]),
        (0.3, [0, 0, 0.5, 0]),
        (0.49, [0, 0, 0.5, 0]),
        (0.51, [0.3, 0, 0.5, 0]),
        (0.79, [0.3, 0, 0.5, 0]),
        (0.81, [0.3, 0, 0.5, 0.15]),
        (0.96, [0.3, 0.05, 0.5, 0.15]),
        (1.0, [0.3, 0.05, 0.5, 0.15]),
    ],
)
def test_top_p_keeps_the_smallest_set_that_reaches_p(top_p: float, left: list[float]) -> None:
    """The token that crosses p is kept (Holtzman et al., ICLR '20)."""
    assert_drawn_from(counts([0.3, 0.05, 0.5, 0.15], top_p=top_p), left)


def test_top_p_is_taken_of_what_top_k_has_left() -> None:
    # Of the two that top-k leaves, 0.5 is 62 % of the whole: it alone reaches 0.6.
    assert_drawn_from(counts([0.3, 0.05, 0.5, 0.15], top_k=2, top_p=0.6), [0, 0, 0.5, 0])
    assert_drawn_from(counts([0.3, 0.05, 0.5, 0.15], top_k=2, top_p=0.7), [0.3, 0, 0.5, 0])


def test_top_p_is_taken_after_temperature() -> None:
    # At temperature 0.5 the shares become 0.69, 0.25, 0.06.
    assert_drawn_from(counts([0.5, 0.3, 0.15], top_p=0.6, temperature=0.5), [0.5, 0, 0])


def test_a_token_of_probability_zero_is_never_drawn() -> None:
    assert_drawn_from(counts([0.0, 0.5, 0.0, 0.5, 0.0]), [0.0, 0.5, 0.0, 0.5, 0.0])
    assert_drawn_from(counts([0.0, 0.5, 0.0, 0.5, 0.0], top_k=4), [0.0, 0.5, 0.0, 0.5, 0.0])


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(
    logits=st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=12),
    temperature=st.floats(0.125, 4, width=32),
    top_k=st.integers(0, 14),
    top_p=st.floats(0, 1, width=32),
)
def test_what_is_drawn_is_always_among_what_is_kept(
    logits: list[float], temperature: float, top_k: int, top_p: float
) -> None:
    rows = 64
    params = batch(rows, temperature, top_k, top_p, position=np.arange(rows))
    drawn = set(sample(torch.tensor(logits).expand(rows, -1), params).tolist())
    scaled = np.array(logits, np.float64) / temperature
    order = np.argsort(-scaled, kind="stable")[: top_k or None]
    shares = np.exp(scaled[order] - scaled[order].max())
    before = np.cumsum(shares / shares.sum()) - shares / shares.sum()
    kept = {int(token) for token, share in zip(order, before, strict=True) if share < top_p + 1e-6}
    assert drawn <= kept | {int(order[0])}


# -- reproducible in any company ----------------------------------------------------------------


def test_a_row_gets_the_same_token_alone_and_in_any_batch() -> None:
    generator = torch.Generator().manual_seed(2)
    rows = 48
    logits = torch.randn(rows, 300, generator=generator) * 3
    draw = np.random.default_rng(3)
    full = SamplingBatch(
        draw.choice(np.array([0.0, 0.7, 1.0, 1.5], np.float32), rows),
        draw.choice(np.array([0, 0, 5, 40], np.int32), rows),
        draw.choice(np.array([1.0, 1.0, 0.9, 0.5], np.float32), rows),
        draw.integers(0, 2**63, rows).astype(np.uint64),
        draw.integers(0, 4096, rows).astype(np.int64),
    )

    def of(chosen: np.ndarray) -> list[int]:
        params = SamplingBatch(
            full.temperature[chosen],
            full.top_k[chosen],
            full.top_p[chosen],
            full.seed[chosen],
            full.position[chosen],
        )
        return sample(logits[torch.from_numpy(chosen)], params).tolist()

    together = of(np.arange(rows))
    assert [of(np.array([row]))[0] for row in range(rows)] == together
    for _ in range(20):
        chosen = draw.permutation(rows)[: draw.integers(1, rows)]
        assert of(chosen) == [together[row] for row in chosen]


def test_a_row_without_cuts_does_not_notice_a_neighbour_with_cuts() -> None:
    logits = torch.zeros(2, 1000)
    logits[:, 500:] += 0.1
    for position in range(50):
        alone = sample(logits[:1], batch(1, position=position)).item()
        beside = sample(logits, batch(2, top_k=[0, 10], position=position))[0].item()
        assert alone == beside


def test_another_seed_or_position_draws_another_number() -> None:
    logits = torch.zeros(100, 10_000)
    by_position = sample(logits, batch(100, position=np.arange(100))).tolist()
    by_seed = sample(logits, batch(100, seed=list(range(100)))).tolist()
    assert len(set(by_position)) > 95 and len(set(by_seed)) > 95
    assert by_position != by_seed


# -- the numbers behind -------------------------------------------------------------------------


def test_uniforms_are_uniform_over_positions_and_over_seeds() -> None:
    n, bins = 100_000, 64
    index = np.arange(n)
    streams = {
        "positions": uniforms(np.zeros(n, np.uint64), index),
        "seeds": uniforms(index.astype(np.uint64), np.zeros(n, np.int64)),
        "both": uniforms(index.astype(np.uint64), index),
    }
    for name, values in streams.items():
        assert ((values >= 0) & (values < 1)).all()
        assert len(np.unique(values)) > n - 2, name
        seen = np.bincount((values * bins).astype(int), minlength=bins)
        assert_drawn_from(seen, [1 / bins] * bins)
        neighbours = np.corrcoef(values[:-1], values[1:])[0, 1]
        assert abs(neighbours) < 4 / n**0.5, name


def test_uniforms_of_every_seed_and_position_are_defined() -> None:
    ends = np.array([0, 1, 2**63, 2**64 - 1], np.uint64)
    values = uniforms(np.repeat(ends, 3), np.tile(np.array([0, 1, 2**40]), 4))
    assert np.isfinite(values).all() and len(np.unique(values)) == 12


def test_uniforms_are_pinned() -> None:
    """Saved runs are drawn again from these numbers: changing them is a change of the format."""
    seeds = np.array([0, 0, 1, 2**64 - 1], np.uint64)
    positions = np.array([0, 1, 0, 4096])
    assert uniforms(seeds, positions).tolist() == [
        0.6524484863740322,
        0.49050645623222144,
        0.36818951565166946,
        0.31832711734602026,
    ]
