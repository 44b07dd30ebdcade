"""Which parts are chosen on which device, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engines.capabilities import DeviceFacts, Resolved, computes_in_fp8, installed, resolve
from engines.errors import EngineConfigError
from engines.models.shapes import named_shape
from engines.options import EngineOptions

CPU = DeviceFacts("cpu", "cpu", None, frozenset({"triton", "flashinfer"}))
H200 = DeviceFacts("cuda", "NVIDIA H200", (9, 0), frozenset({"triton", "flashinfer"}))
A100 = replace(H200, name="NVIDIA A100", capability=(8, 0))
T4 = replace(H200, name="Tesla T4", capability=(7, 5))
BARE = replace(H200, packages=frozenset())
LLAMA = named_shape("llama-3.1-8b")


def chosen(facts: DeviceFacts = H200, config: Any = LLAMA, **asked: Any) -> Resolved:
    return resolve(EngineOptions(**asked), config, facts)


def test_a_cpu_takes_the_reference() -> None:
    assert chosen(CPU) == Resolved(
        dtype="float32",
        kv_dtype="float32",
        attention="reference",
        kernels="reference",
        cuda_graphs=False,
        overlap=False,
        quantization="none",
    )


def test_a_gpu_takes_the_fast_parts() -> None:
    fast = Resolved(
        dtype="bfloat16",
        kv_dtype="bfloat16",
        attention="triton",
        kernels="fused",
        cuda_graphs=True,
        overlap=True,
        quantization="none",
    )
    assert chosen(H200) == chosen(A100) == fast


@pytest.mark.parametrize(
    ("facts", "asked"),
    [
        (T4, {}),
        (BARE, {}),
        (replace(H200, capability=None), {}),
        (H200, {"dtype": "float32"}),
        (H200, {"attention": "reference"}),
    ],
)
def test_where_the_fast_attention_cannot_be_the_reference_is_taken(
    facts: DeviceFacts, asked: dict[str, Any]
) -> None:
    parts = chosen(facts, **asked)
    assert (parts.attention, parts.kernels) == ("reference", "reference")
    assert not parts.cuda_graphs and not parts.overlap


@pytest.mark.parametrize("head_dim", [16, 40, 72, 272])
def test_a_head_size_that_triton_lacks_takes_the_reference_or_is_refused(head_dim: int) -> None:
    config = replace(LLAMA, head_dim=head_dim)
    assert chosen(config=config).attention == "reference"
    with pytest.raises(EngineConfigError, match=f"has {head_dim}; --attention reference can"):
        chosen(config=config, attention="triton")


@pytest.mark.parametrize("head_dim", [32, 64, 80, 96, 128, 256])
def test_every_sixteenth_head_size_from_32_to_256_is_fast(head_dim: int) -> None:
    assert chosen(config=replace(LLAMA, head_dim=head_dim)).attention == "triton"


@pytest.mark.parametrize("block_size", [1, 4, 12, 24])
def test_a_block_size_that_triton_lacks_takes_the_reference_or_is_refused(block_size: int) -> None:
    assert chosen(block_size=block_size).attention == "reference"
    with pytest.raises(EngineConfigError, match=f"powers of two from 8, not {block_size}"):
        chosen(block_size=block_size, attention="triton")


def test_each_switch_turns_off_what_it_says_alone() -> None:
    fast = chosen()
    assert chosen(cuda_graphs=False) == replace(fast, cuda_graphs=False)
    assert chosen(overlap=False) == replace(fast, overlap=False)
    assert chosen(quantization="fp8") == replace(fast, quantization="fp8")
    assert chosen(kv_dtype="fp8") == replace(fast, kv_dtype="fp8")
    # A captured step is made of fused kernels.
    assert chosen(kernels="reference") == replace(fast, kernels="reference", cuda_graphs=False)
    assert chosen(attention="flashinfer") == replace(
        fast, attention="flashinfer", cuda_graphs=False
    )


def test_the_reference_stores_fp8_anywhere() -> None:
    assert chosen(CPU, kv_dtype="fp8").kv_dtype == "fp8"
    assert chosen(A100, kv_dtype="fp8", attention="reference").kv_dtype == "fp8"


@pytest.mark.parametrize(
    ("asked", "flag"),
    [
        ({"attention": "triton"}, "--attention triton"),
        ({"attention": "flashinfer"}, "--attention flashinfer"),
        ({"kernels": "fused"}, "--kernels fused"),
        ({"cuda_graphs": True}, "--graphs"),
        ({"overlap": True}, "--overlap"),
        ({"quantization": "fp8"}, "--quantization fp8"),
        ({"quantization": "fp8-tensorwise"}, "--quantization fp8-tensorwise"),
    ],
)
def test_a_cpu_refuses_what_is_of_a_gpu(asked: dict[str, Any], flag: str) -> None:
    message = f"^{flag} needs a CUDA device.*leave it out, or run where there is a GPU"
    with pytest.raises(EngineConfigError, match=message):
        chosen(CPU, **asked)
    with pytest.raises(EngineConfigError, match=message):
        EngineOptions(device="cpu", **asked)
    assert EngineOptions(device="auto", **asked)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"cuda_graphs": True, "attention": "reference"}, "captured with --attention triton alone"),
        ({"cuda_graphs": True, "attention": "flashinfer"}, "not with flashinfer; leave out"),
        ({"cuda_graphs": True, "kernels": "reference"}, "captured with --kernels fused alone"),
        ({"overlap": True, "attention": "reference"}, "--overlap: the reference attention plans"),
        ({"attention": "flashinfer", "kv_dtype": "fp8"}, "take --attention triton or reference"),
        ({"quantization": "fp8", "dtype": "float32"}, "take --dtype bfloat16"),
        ({"attention": "flash"}, "attention 'flash': there is auto, reference, triton, flashinfer"),
        ({"kernels": "fast"}, "kernels 'fast': there is auto, reference, fused"),
        ({"quantization": "int4"}, "quantization 'int4': there is none, fp8, fp8-tensorwise"),
        ({"kv_dtype": "int8"}, "kv_dtype 'int8': there is auto, fp8"),
    ],
)
def test_contradictions_are_refused_before_a_device_is_known(
    asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(EngineConfigError, match=message):
        EngineOptions(**asked)


@pytest.mark.parametrize(
    ("facts", "asked", "message"),
    [
        (A100, {"quantization": "fp8"}, "needs compute capability 8.9, and that of NVIDIA A100 is"),
        (A100, {"kv_dtype": "fp8"}, "fp8 with --attention triton: it needs compute capability 8.9"),
        (
            A100,
            {"kv_dtype": "fp8", "attention": "reference", "kernels": "fused"},
            "fp8 with --kernels fused: it needs compute capability 8.9",
        ),
        (
            T4,
            {"attention": "triton"},
            "capability 8.0, and that of Tesla T4 is 7.5; --att",
        ),
        (T4, {"cuda_graphs": True}, "--graphs needs the Triton attention, and it needs compute"),
        (T4, {"overlap": True}, "--overlap needs the Triton attention.*leave --overlap out"),
        (BARE, {"attention": "triton"}, "the package triton is not installed"),
        (BARE, {"kernels": "fused"}, "triton is not installed; take --kernels reference"),
        (BARE, {"attention": "flashinfer"}, r"pip install 'workbench\[cuda\]'"),
        (
            replace(H200, packages=frozenset({"triton"})),
            {"attention": "flashinfer"},
            "flashinfer is not installed.*; --attention triton can do it",
        ),
        (
            H200,
            {"attention": "flashinfer", "dtype": "float32"},
            "computes in bfloat16, not in float32; --attention reference",
        ),
        (
            H200,
            {"attention": "triton", "dtype": "float32"},
            "computes in bfloat16, not in float32; --attention reference",
        ),
        (H200, {"cuda_graphs": True, "dtype": "float32"}, "--graphs needs the Triton attention"),
    ],
)
def test_what_a_gpu_lacks_is_said_with_what_can(
    facts: DeviceFacts, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(EngineConfigError, match=message):
        chosen(facts, **asked)


def test_matrices_of_odd_sizes_are_not_quantised() -> None:
    config = replace(LLAMA, intermediate_size=14_340)
    with pytest.raises(EngineConfigError, match=r"multiples of 16.*intermediate_size = 14340"):
        chosen(config=config, quantization="fp8")


def test_a_model_whose_every_layer_would_stay_in_bfloat16_is_not_quantised() -> None:
    with pytest.raises(EngineConfigError, match=r"first and the last layer .* has 2; run it"):
        chosen(config=replace(LLAMA, num_layers=2), quantization="fp8")
    assert chosen(config=replace(LLAMA, num_layers=3), quantization="fp8").quantization == "fp8"


def test_fp8_is_computed_from_ada_on() -> None:
    assert computes_in_fp8(H200) and computes_in_fp8(replace(H200, capability=(8, 9)))
    assert not computes_in_fp8(A100) and not computes_in_fp8(CPU)


def test_installed_packages_are_found_without_importing_them() -> None:
    assert installed(("numpy", "no_such_package")) == {"numpy"}
