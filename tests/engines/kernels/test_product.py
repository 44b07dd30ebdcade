"""Products of some dozens of tokens, each against plain torch."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import linear, rms_norm, silu

from engines.kernels.base import Linear
from engines.kernels.fused import FusedKernels
from engines.kernels.triton import product_config
from engines.kernels.triton.norms import add_rms_norm
from engines.kernels.triton.product import gated_product, split_product
from engines.kernels.triton.product_config import ProductConfig

CPU = torch.device("cpu")
CONFIGS = [
    ProductConfig(16, 32),
    ProductConfig(32, 16, split_k=3),
    ProductConfig(64, 64, split_k=3, rows_first=False),
    ProductConfig(16, 64, rows_first=False),
    ProductConfig(32, 32, split_k=3, held=True),
]
SHAPES = [(4096, 1024), (1024, 2048), (1024, 3072), (960, 576), (576, 576), (576, 1536)]


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def matrix(n: int, k: int) -> torch.Tensor:
    return normal(n, k, seed=1) / k**0.5


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("tokens", [17, 40])
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_parts_add_up_to_torchs_product(
    config: ProductConfig, tokens: int, with_bias: bool
) -> None:
    x, weight = normal(tokens, 192, seed=2), matrix(72, 192)
    bias = normal(72, seed=3) if with_bias else None
    out = split_product(x, weight, bias, config)
    assert out.shape == ((tokens, 72) if config.split_k == 1 else (tokens, config.split_k, 72))
    whole = out if out.dim() == 2 else out.sum(dim=1)
    torch.testing.assert_close(whole, linear(x, weight, bias))


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("config", [CONFIGS[0], CONFIGS[3]], ids=str)
def test_the_gate_is_torchs(config: ProductConfig, with_bias: bool) -> None:
    x, weight = normal(19, 128, seed=2), matrix(2 * 40, 128)
    bias = normal(80, seed=3) if with_bias else None
    gate, up = linear(x, weight, bias).chunk(2, dim=-1)
    torch.testing.assert_close(gated_product(x, weight, bias, config), silu(gate) * up)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_token_doesnt_depend_on_those_beside_it(config: ProductConfig) -> None:
    x, weight = normal(40, 192, seed=2), matrix(72, 192)
    few = split_product(x[:17].contiguous(), weight, None, config)
    assert torch.equal(split_product(x, weight, None, config)[:17], few)


def test_the_norm_adds_the_parts() -> None:
    hidden, parts, weight = normal(5, 576, seed=2), normal(5, 3, 576, seed=3), normal(576, seed=4)
    normed, summed = add_rms_norm(hidden, parts, weight, 1e-5)
    torch.testing.assert_close(summed, hidden + parts.sum(dim=1))
    torch.testing.assert_close(normed, rms_norm(summed, (576,), weight, 1e-5))


@pytest.mark.parametrize("tokens", [3, 17, 64, 131, 256])
@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_configs_divide_the_columns(n: int, k: int, tokens: int) -> None:
    for may_split in (True, False):
        config = product_config.product_config(tokens, n, k, may_split)
        if config is None:
            continue
        assert k % (config.split_k * config.block_k) == 0
        assert may_split or config.split_k == 1


def test_no_more_of_a_matrix_is_held_than_shared_memory_takes() -> None:
    held = product_config.product_config(16, 1024, 3072, True)
    assert held is not None and held.held
    for n, k in ((896, 4864), (64, 64 * 127)):  # columns in few parts, or in none
        config = product_config.product_config(16, n, k, True)
        assert config is not None and not config.held


def test_large_matrices_and_many_tokens_are_left_to_cublas() -> None:
    assert product_config.product_config(64, 28672, 4096, True) is None
    assert product_config.product_config(257, 1024, 2048, True) is None
    assert product_config.gated_config(64, 14336, 4096, 227 << 10) is None


@pytest.mark.parametrize(("shared_kib", "stages"), [(227, 6), (163, 6), (99, 4)])
def test_less_is_in_flight_where_shared_memory_is_smaller(shared_kib: int, stages: int) -> None:
    config = product_config.gated_config(64, 3072, 1024, shared_kib << 10)
    assert config is not None and config.stages == stages


def linear_of(n: int, k: int, dtype: torch.dtype) -> Linear:
    module = Linear(n, k, False, CPU)
    weight = matrix(n, k).to(dtype)
    module.weight = torch.nn.Parameter(weight, requires_grad=False)
    return module


def test_an_mlp_of_parts_is_the_references() -> None:
    from engines.kernels.reference import ReferenceKernels

    gate_up, down = (linear_of(n, k, torch.float32) for n, k in ((128, 64), (64, 64)))
    hidden, norm = normal(20, 64, seed=2), normal(64, seed=3)
    delta = normal(20, 2, 64, seed=4)
    kernels = FusedKernels(CPU)
    got, summed = kernels.mlp(hidden, delta, norm, 1e-5, gate_up, down)
    whole = delta.sum(dim=1)
    expected, total = ReferenceKernels().mlp(hidden, whole, norm, 1e-5, gate_up, down)
    torch.testing.assert_close(summed, total)
    torch.testing.assert_close(kernels.whole(got, hidden.dtype), expected)
