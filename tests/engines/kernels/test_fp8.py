"""FP8 quantisation against its own arithmetic; the product itself needs a GPU."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import linear

from engines.errors import EngineConfigError
from engines.kernels import fp8
from engines.kernels.base import Fp8Weight

CPU = torch.device("cpu")


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(torch.bfloat16)


def restored(weight: Fp8Weight) -> torch.Tensor:
    return weight.values.float() * weight.scale.unsqueeze(1)


@pytest.mark.parametrize("per_row", [True, False])
def test_a_quantised_matrix_is_within_fp8s_step_of_the_full_one(per_row):
    full = normal(48, 64) * torch.logspace(-3, 3, 48).unsqueeze(1).to(torch.bfloat16)
    weight = fp8.quantise_weight(full, per_row)
    assert weight.values.dtype == torch.float8_e4m3fn
    assert weight.scale.shape == ((48,) if per_row else (1,))
    # Three bits of mantissa, and a smallest step of 2⁻⁹ scales.
    allowed = full.float().abs() / 16 + weight.scale.unsqueeze(1) * 2**-10
    assert ((restored(weight) - full.float()).abs() <= allowed * 1.001).all()


@pytest.mark.parametrize("per_row", [True, False])
def test_the_scale_is_chosen_for_the_least_error(per_row):
    full = normal(32, 256).float()
    amax = full.abs().amax(dim=1) if per_row else full.abs().max().expand(32)
    least = (amax / 448).unsqueeze(1)
    usual = (full / least).to(torch.float8_e4m3fn).float() * least

    def error(found):
        squared = (found - full).square()
        return squared.sum(dim=1) if per_row else squared.sum()

    chosen = restored(fp8.quantise_weight(full.to(torch.bfloat16), per_row))
    assert (error(chosen) <= error(usual)).all()
    assert not per_row or error(chosen).sum() < 0.9 * error(usual).sum()


@pytest.mark.parametrize("per_row", [True, False])
def test_chunks_make_no_difference(monkeypatch, per_row):
    full = normal(48, 64)
    whole = fp8.quantise_weight(full, per_row)
    monkeypatch.setattr(fp8, "_CHUNK_ELEMENTS", 7 * 64)
    parts = fp8.quantise_weight(full, per_row)
    assert torch.equal(whole.values.float(), parts.values.float())
    assert torch.equal(whole.scale, parts.scale)


def test_a_matrix_of_zeros_stays_zero():
    weight = fp8.quantise_weight(torch.zeros(16, 16, dtype=torch.bfloat16), per_row=True)
    assert not restored(weight).any()


@pytest.mark.parametrize("shape", [(24, 64), (64, 24)])
def test_a_shape_that_fp8_products_refuse_is_named(shape):
    with pytest.raises(EngineConfigError, match=rf"\[{shape[0]}, {shape[1]}\]"):
        fp8.quantise_weight(normal(*shape), per_row=True)


def test_each_tokens_activations_have_a_scale():
    x = normal(3, 64, seed=1) * torch.tensor([[1.0], [10.0], [100.0]], dtype=torch.bfloat16)
    values, scale = fp8.quantise_activations(x)
    assert scale.shape == (3, 1)
    torch.testing.assert_close(scale, x.float().abs().amax(dim=1, keepdim=True) / 448)
    torch.testing.assert_close(values.float() * scale, x.float(), rtol=1 / 16, atol=1e-2)


def test_a_cpu_is_refused_with_what_to_do():
    weight = fp8.quantise_weight(normal(16, 64), per_row=True)
    values, scale = fp8.quantise_activations(normal(3, 64, seed=1))
    with pytest.raises(EngineConfigError, match=r"'cpu'.*--quantization none"):
        fp8.fp8_linear(values, scale, weight, None, torch.bfloat16)


def test_a_gpu_without_fp8_is_refused_by_its_capability(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA A100")
    with pytest.raises(EngineConfigError, match=r"NVIDIA A100 has 8\.0"):
        fp8.require_fp8(torch.device("cuda"))


@pytest.mark.parametrize("per_row", [True, False])
@pytest.mark.parametrize("later", [False, True], ids=["at-once", "by-the-reader"])
def test_the_product_scales_rows_and_tokens(monkeypatch, per_row, later):
    monkeypatch.setattr(fp8, "require_fp8", lambda device: None)
    full, x, bias = normal(32, 64), normal(3, 64, seed=1), normal(32, seed=2)
    weight = fp8.quantise_weight(full, per_row)
    values, scale = fp8.quantise_activations(x)
    operands = (values, scale, weight, bias, torch.bfloat16)
    if later:
        product = fp8.fp8_product(*operands, torch.ones(()))
        assert product.values.dtype == torch.bfloat16
        got = product.values.float() * product.token_scale * product.row_scale + bias
    else:
        got = fp8.fp8_linear(*operands).float()
    expected = linear(values.float() * scale, restored(weight), bias.float())
    torch.testing.assert_close(got, expected, rtol=2e-2, atol=2e-2)


def test_another_dtype_than_bfloat16_is_refused(monkeypatch):
    monkeypatch.setattr(fp8, "require_fp8", lambda device: None)
    weight = fp8.quantise_weight(normal(16, 64), per_row=True)
    values, scale = fp8.quantise_activations(normal(3, 64))
    with pytest.raises(EngineConfigError, match="bfloat16, not float16"):
        fp8.fp8_linear(values, scale, weight, None, torch.float16)
