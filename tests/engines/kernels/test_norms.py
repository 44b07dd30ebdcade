"""RMSNorm, SwiGLU and rows of FP8 as torch computes them, at widths that fill no block."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import rms_norm as torch_rms_norm
from torch.nn.functional import silu

from engines.kernels.triton import norms
from engines.kernels.triton.quantise import quantise_rows
from engines.kernels.triton.swiglu import swiglu, swiglu_fp8
from engines.kv_cache import FP8, FP8_MAX

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
EPS = 1e-5
WIDTHS = [24, 576, 1024, 5120]
ROWS = [1, 5]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def check_fp8(quantised: torch.Tensor, scales: torch.Tensor, rows: torch.Tensor) -> None:
    """Each row over its own scale, rounded to the nearest FP8 value."""
    assert quantised.dtype == FP8
    assert scales.shape == (rows.shape[0], 1)
    expected = (rows.abs().amax(dim=1, keepdim=True) / FP8_MAX).clamp(min=1e-12)
    torch.testing.assert_close(scales, expected)
    nearest = (rows / scales).clamp(-FP8_MAX, FP8_MAX).to(FP8).float()
    # The interpreter loses a carry into the exponent and truncates what is subnormal.
    mantissa = nearest.abs() / torch.exp2(nearest.abs().clamp(min=1e-9).log2().floor())
    sound = (mantissa > 1) & (nearest.abs() >= 2**-6)
    assert sound.float().mean() > 0.7
    assert ((quantised.float() == nearest) | ~sound).float().mean() > 0.999


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("rows", ROWS)
def test_norm_is_torchs(rows: int, width: int) -> None:
    hidden, weight = random(rows, width), random(width, seed=1)
    torch.testing.assert_close(
        norms.rms_norm(hidden, weight, EPS), torch_rms_norm(hidden, (width,), weight, EPS)
    )


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("rows", ROWS)
def test_residual_is_added_before_the_norm_and_given_back(rows: int, width: int) -> None:
    hidden, delta, weight = random(rows, width), random(rows, width, seed=1), random(width, seed=2)
    before = hidden.clone()
    normed, summed = norms.add_rms_norm(hidden, delta, weight, EPS)
    torch.testing.assert_close(summed, hidden + delta, rtol=0, atol=0)
    torch.testing.assert_close(normed, torch_rms_norm(hidden + delta, (width,), weight, EPS))
    assert torch.equal(hidden, before)


def test_epsilon_holds_up_a_row_of_zeros() -> None:
    hidden, weight = torch.zeros(2, 576, device=DEVICE), torch.ones(576, device=DEVICE)
    assert torch.equal(norms.rms_norm(hidden, weight, EPS), hidden)
    values, scales = norms.rms_norm_fp8(hidden, weight, EPS)
    assert torch.equal(values.float(), hidden)
    assert (scales > 0).all()


@pytest.mark.parametrize("width", WIDTHS)
def test_norm_in_fp8_is_the_norm_quantised(width: int) -> None:
    hidden, delta, weight = random(5, width), random(5, width, seed=1), random(width, seed=2)
    values, scales = norms.rms_norm_fp8(hidden, weight, EPS)
    check_fp8(values, scales, norms.rms_norm(hidden, weight, EPS))
    values, scales, summed = norms.add_rms_norm_fp8(hidden, delta, weight, EPS)
    check_fp8(values, scales, norms.rms_norm(hidden + delta, weight, EPS))
    assert torch.equal(summed, hidden + delta)


@pytest.mark.parametrize("width", [16, 1536, 3000])
@pytest.mark.parametrize("rows", ROWS)
def test_swiglu_is_torchs(rows: int, width: int) -> None:
    gate_up = random(rows, 2 * width) * 4
    gate, up = gate_up.chunk(2, dim=-1)
    torch.testing.assert_close(swiglu(gate_up), silu(gate) * up)
    check_fp8(*swiglu_fp8(gate_up), silu(gate) * up)


def test_swiglu_of_large_gates_stays_finite() -> None:
    gate_up = torch.tensor([[-200.0, -80.0, 80.0, 200.0, 1.0, 1.0, 1.0, 1.0]], device=DEVICE)
    torch.testing.assert_close(swiglu(gate_up).cpu(), torch.tensor([[0.0, 0.0, 80.0, 200.0]]))


@pytest.mark.parametrize("width", WIDTHS)
def test_rows_are_quantised_over_their_own_scales(width: int) -> None:
    sizes = torch.tensor([1e-3, 1.0, 50.0, 1e4, 1.0], device=DEVICE)
    values = random(5, width) * sizes.unsqueeze(1)
    check_fp8(*quantise_rows(values), values)
