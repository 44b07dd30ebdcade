"""What an engine is made of, in a line."""

from __future__ import annotations

from workbench.analysis.engine_parts import engine_parts


def test_what_is_told_is_said_and_nothing_else() -> None:
    told = {
        "attention": "triton",
        "kernels": "reference",
        "cuda_graphs": False,
        "overlap": True,
        "quantization": "none",
        "kv_dtype": "bfloat16",
    }
    assert engine_parts(told) == ("triton attention, reference kernels, no CUDA graphs, overlap")
    told |= {"quantization": "fp8-tensorwise", "kv_dtype": "fp8"}
    assert engine_parts(told).endswith(", overlap, fp8-tensorwise weights, fp8 KV")
    assert engine_parts({"attention": "reference"}) == "reference attention"
    assert engine_parts({}) == ""


def test_on_a_cpu_only_what_has_an_alternative() -> None:
    told = {"device": "cpu", "attention": "reference", "kernels": "reference", "overlap": False}
    assert engine_parts(told | {"kv_dtype": "float32", "quantization": "none"}) == ""
    assert engine_parts(told | {"kv_dtype": "fp8"}) == "fp8 KV"
