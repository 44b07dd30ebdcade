"""Matrix products of few tokens, each against plain torch."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import linear, rms_norm, silu

from engines.kernels.base import Fp8Weight

EPS = 1e-5
SHAPES = [(96, 64), (40, 576), (24, 1536), (19, 200)]


@pytest.fixture(scope="module")
def skinny():
    from engines.kernels.triton import skinny

    return skinny


@pytest.fixture
def partial(skinny):
    return skinny.PartialSums.allocate(torch.device("cpu"))


def configs():
    from engines.kernels.triton.skinny_config import DotConfig, VectorConfig

    return [
        VectorConfig(block_n=4, block_k=256, num_warps=4, ahead=2),
        VectorConfig(block_n=2, block_k=128, num_warps=4, ahead=1),
        DotConfig(block_n=16, block_k=64, num_warps=4, stages=3),
        DotConfig(block_n=16, block_k=64, num_warps=4, stages=3, rows_first=False),
        DotConfig(block_n=32, block_k=32, num_warps=4, stages=3, split_k=3),
        DotConfig(block_n=16, block_k=64, num_warps=4, stages=3, split_k=2, block_t=2),
    ]


def chosen(tokens: int, n: int, k: int):
    from engines.kernels.triton.skinny_config import skinny_config

    return skinny_config(tokens, n, k)


def fitting(tokens: int, n: int, k: int):
    """The config for a shape, or one for small matrices, which are not chosen for these kernels."""
    return chosen(tokens, n, k) or configs()[4]


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def matrix(n: int, k: int) -> torch.Tensor:
    return normal(n, k, seed=1) / k**0.5


@pytest.mark.parametrize("tokens", [1, 3, 16])
@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_linear_is_torchs(skinny, partial, tokens, n, k):
    x, weight = normal(tokens, k, seed=2), matrix(n, k)
    got = skinny.skinny_linear(x, weight, None, partial, fitting(tokens, n, k))
    torch.testing.assert_close(got, linear(x, weight))


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize("which", range(6))
def test_every_way_of_cutting_gives_the_same_product(skinny, partial, which, tokens, with_bias):
    n, k = 40, 576
    x, weight = normal(tokens, k, seed=2), matrix(n, k)
    bias = normal(n, seed=3) if with_bias else None
    got = skinny.skinny_linear(x, weight, bias, partial, configs()[which])
    torch.testing.assert_close(got, linear(x, weight, bias))


@pytest.mark.parametrize("with_delta", [False, True])
@pytest.mark.parametrize("tokens", [1, 3, 16])
@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_norm_linear_adds_normalises_and_multiplies(skinny, partial, n, k, tokens, with_delta):
    hidden, weight, norm = normal(tokens, k, seed=2) * 5, matrix(n, k), normal(k, seed=4)
    delta = normal(tokens, k, seed=5) if with_delta else None
    before = hidden.clone()
    out, total = skinny.skinny_norm_linear(
        hidden, delta, norm, EPS, weight, None, partial, fitting(tokens, n, k)
    )
    expected = hidden if delta is None else hidden + delta
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(out, linear(rms_norm(expected, (k,), norm, EPS), weight))
    assert torch.equal(hidden, before)


@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize("which", range(6))
def test_the_norm_survives_every_way_of_cutting(skinny, partial, which, tokens):
    n, k = 40, 576
    hidden, delta = normal(tokens, k, seed=2) * 5, normal(tokens, k, seed=5)
    weight, norm, bias = matrix(n, k), normal(k, seed=4), normal(n, seed=3)
    out, total = skinny.skinny_norm_linear(
        hidden, delta, norm, EPS, weight, bias, partial, configs()[which]
    )
    torch.testing.assert_close(total, hidden + delta)
    torch.testing.assert_close(out, linear(rms_norm(total, (k,), norm, EPS), weight, bias))


@pytest.mark.parametrize("tokens", [1, 3, 16])
@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_swiglu_linear_gates_and_multiplies(skinny, partial, n, k, tokens):
    gate_up, weight, bias = normal(tokens, 2 * k, seed=2), matrix(n, k), normal(n, seed=3)
    gate, up = gate_up.chunk(2, dim=-1)
    got = skinny.skinny_swiglu_linear(gate_up, weight, bias, partial, fitting(tokens, n, k))
    torch.testing.assert_close(got, linear(silu(gate) * up, weight, bias))


def test_shared_sums_are_left_ready_for_the_next_product(skinny, partial):
    x, weight = normal(3, 576, seed=2), matrix(40, 576)
    config = configs()[4]
    first = skinny.skinny_linear(x, weight, None, partial, config)
    assert not partial.arrivals.any()
    assert torch.equal(first, skinny.skinny_linear(x, weight, None, partial, config))


@pytest.mark.parametrize("per_row", [True, False])
@pytest.mark.parametrize("tokens", [1, 5])
def test_an_fp8_matrix_is_scaled_in_the_product(skinny, partial, tokens, per_row):
    n, k = 40, 576
    values = normal(n, k, seed=1).to(torch.float8_e4m3fn)
    scale = normal(n if per_row else 1, seed=6).abs()
    x, bias = normal(tokens, k, seed=2), normal(n, seed=3)
    got = skinny.skinny_linear(x, Fp8Weight(values, scale), bias, partial, fitting(tokens, n, k))
    expected = linear(x, values.float() * scale.unsqueeze(1), bias)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tokens", [1, 5])
def test_fp8_tokens_meet_an_fp8_matrix(skinny, partial, tokens):
    n, k = 40, 576
    values, scale = normal(n, k, seed=1).to(torch.float8_e4m3fn), normal(n, seed=6).abs()
    x, x_scale = normal(tokens, k, seed=2).to(torch.float8_e4m3fn), normal(tokens, 1, seed=7).abs()
    got = skinny.skinny_linear(
        x, Fp8Weight(values, scale), None, partial, fitting(tokens, n, k), x_scale=x_scale
    )
    expected = linear(x.float() * x_scale, values.float() * scale.unsqueeze(1))
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), expected, rtol=1e-2, atol=1e-2)


def test_more_tokens_than_fit_are_refused(skinny, partial):
    with pytest.raises(AssertionError, match="17 tokens; at most 16"):
        skinny.skinny_linear(normal(17, 64, seed=2), matrix(16, 64), None, partial, configs()[2])


def test_the_way_of_cutting_follows_the_shape():
    from engines.kernels.triton.skinny_config import DotConfig, VectorConfig

    llama, qwen = [(6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336)], [(1024, 2048)]
    assert all(isinstance(chosen(1, n, k), VectorConfig) for n, k in llama + qwen)
    assert [chosen(2, n, k) is None for n, k in llama] == [False, False, True, True]
    assert [chosen(8, n, k) is None for n, k in llama] == [True, False, True, True]
    assert isinstance(chosen(2, 1024, 2048), VectorConfig)
    assert isinstance(chosen(3, 4096, 4096), DotConfig)
    assert chosen(3, 1024, 2048) is None, "the products of some dozens of tokens take it"
