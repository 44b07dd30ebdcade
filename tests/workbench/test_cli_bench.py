"""The benchmarks take the engine's switches."""

from __future__ import annotations

import argparse

import pytest

from workbench.cli.bench import ENGINE_FLAGS, add_arguments
from workbench.cli.engine_flags import engine_options
from workbench.errors import SpecError

SWITCHES = ["--attention", "triton", "--no-graphs", "--overlap", "--quantization", "fp8",
            "--kernels", "fused", "--kv-cache-dtype", "fp8"]  # fmt: skip


def parsed(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize("kind", ["compute", "recorder", "prefix"])
def test_switches_reach_the_engine(kind: str) -> None:
    options = engine_options(parsed([kind, *SWITCHES, "--model", "random:tiny"]), ENGINE_FLAGS)
    assert (options.attention, options.kernels, options.kv_dtype) == ("triton", "fused", "fp8")
    assert options.cuda_graphs is False and options.overlap is True
    assert options.quantization == "fp8" and options.model == "random:tiny"
    plain = engine_options(parsed([kind]), ENGINE_FLAGS)
    assert plain.cuda_graphs is None and plain.attention == "auto"


def test_what_contradicts_is_refused() -> None:
    words = ["compute", "--device", "cpu", "--graphs"]
    with pytest.raises(SpecError, match="--graphs needs a CUDA device"):
        engine_options(parsed(words), ENGINE_FLAGS)
