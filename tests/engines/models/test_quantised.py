"""What of a model is quantised: the decoder and the sizes agree."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from engines.kernels.fp8 import quantise_weight
from engines.models.decoder import Decoder
from engines.models.quantised import described, quantised_shapes
from engines.models.shapes import SHAPES
from engines.sizing import weights_bytes

CPU = torch.device("cpu")
CONFIG = replace(SHAPES["tiny"], num_layers=4)


def quantised(matrices: str, per_row: bool = True) -> Decoder:
    device = torch.device(matrices)
    decoder = Decoder(CONFIG, 32, CPU, torch.bfloat16, device)
    decoder.randomise(seed=1)
    decoder.quantise(partial(quantise_weight, per_row=per_row), seed=1)
    return decoder


@pytest.mark.parametrize("matrices", ["cpu", "meta"])
def test_the_mlps_between_the_first_and_the_last_layer_are_in_fp8(matrices: str) -> None:
    decoder = quantised(matrices)
    found = {
        (index, name)
        for index, layer in enumerate(decoder.layers)
        for name, linear in layer.matrices().items()
        if linear.fp8 is not None
    }
    assert found == {(1, "gate_up"), (1, "down"), (2, "gate_up"), (2, "down")}
    assert not any(weight.is_meta for weight in decoder.parameters())
    shapes = [
        tuple(linear.fp8.values.shape)
        for layer in decoder.layers
        for linear in layer.matrices().values()
        if linear.fp8 is not None
    ]
    assert shapes == quantised_shapes(CONFIG)


def test_it_is_told_by_name() -> None:
    assert described(32) == "gate_up, down of layers 1 to 30 (0 to 31)"


def test_what_stays_full_keeps_its_values() -> None:
    full = Decoder(CONFIG, 32, CPU, torch.bfloat16)
    full.randomise(seed=1)
    decoder = quantised("cpu")
    expected = dict(full.named_parameters())
    kept = dict(decoder.named_parameters())
    assert len(expected) - len(kept) == 4
    assert all(torch.equal(weight, expected[name]) for name, weight in kept.items())


@pytest.mark.parametrize(("name", "per_row"), [("fp8", True), ("fp8-tensorwise", False)])
def test_the_weights_are_as_large_as_is_told_before(name: str, per_row: bool) -> None:
    decoder = quantised("cpu", per_row)
    size = sum(weight.nbytes for weight in decoder.parameters())
    for layer in decoder.layers:
        for linear in layer.matrices().values():
            if linear.fp8 is not None:
                size += linear.fp8.values.nbytes + linear.fp8.scale.nbytes
    assert size == weights_bytes(CONFIG, "bfloat16", name)
