"""Whether a model fits, told from the memory that is free."""

from __future__ import annotations

import numpy as np
import pytest

from profiles.errors import ProfileError
from profiles.free_memory import FreeMemory
from workbench.analysis.quantities import size_text
from workbench.launch import fit
from workbench.launch.fit import estimate_fit
from workbench.launch.preview import Lengths
from workbench.spec import parse_spec

GIB = 1 << 30
CHAT = Lengths("chat", np.full(100, 1000), np.full(100, 200))


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A host with 16 GiB free, without a GPU."""

    def no_gpu():
        raise ProfileError("no GPU is visible")

    monkeypatch.setattr(fit, "host_memory", lambda: FreeMemory("cpu", 16 * GIB))
    monkeypatch.setattr(fit, "gpu_memory", no_gpu)
    monkeypatch.setattr(fit, "_torch_is_cpu_only", lambda: False)
    return monkeypatch


def estimated(lengths=CHAT, **data):
    return estimate_fit(parse_spec(data, "test"), lengths)


def test_what_fits_is_said_in_a_sentence():
    found = estimated(model={"name": "random:smollm2-135m"})
    assert found.fits
    assert found.why == (
        "needs 513 MiB for weights; 16 GiB free: fits; the KV pool holds 93,184 tokens, "
        "about 77 chat requests of p50 length"
    )
    assert found.model.weights_bytes == 4 * 134_515_008
    assert found.model.kv_bytes_per_token == 46_080
    assert found.pool.max_num_seqs == 16 and found.pool.max_model_len == 8192
    p50, p99 = found.needs
    assert (p50.tokens, p50.bytes, p50.at_once) == (1200, 1200 * 46_080, 77)
    assert p99 == fit.RequestNeed(99, 1200, 1200 * 46_080, 77)


def test_a_pool_that_is_the_limit_is_said():
    found = estimated(model={"name": "random:smollm2-135m"}, engine={"kv_memory": "256MiB"})
    assert found.why.endswith(
        "about 4 chat requests of p50 length, fewer than the 16 that may run at once"
    )


def test_requests_are_fitted_to_what_the_pool_holds():
    found = estimated(model={"name": "random:smollm2-135m"}, engine={"num_blocks": 11})
    assert found.pool.tokens == found.pool.max_model_len == 160
    assert found.needs[0].tokens == 160 and found.needs[0].at_once == 1
    assert "about 1 chat request of" in found.why


def test_weights_larger_than_the_memory_do_not_fit():
    found = estimated(model={"name": "random:llama-3.1-8b"})
    assert found.fits is False
    assert "29.92 GiB" in found.why and "16.00 GiB free" in found.why
    assert found.model.name == "llama-3.1-8b" and found.pool is None


def test_a_pool_larger_than_what_the_weights_leave_does_not_fit():
    found = estimated(model={"name": "random:tiny"}, engine={"kv_memory": "20GiB"})
    assert found.fits is False
    assert "kv_memory 20.00 GiB is more than" in found.why


def test_on_a_gpu_its_memory_counts_and_its_defaults_hold(machine):
    machine.setattr(fit, "gpu_memory", lambda: FreeMemory("NVIDIA H200", 139 * GIB))
    found = estimated(model={"name": "random:llama-3.1-8b"})
    assert found.fits
    assert found.model.device == "NVIDIA H200" and found.model.dtype == "bfloat16"
    assert found.pool.max_num_seqs == 256 and found.pool.max_num_batched_tokens == 8192
    on_cpu = estimated(model={"name": "random:tiny", "device": "cpu"})
    assert on_cpu.model.device == "cpu" and on_cpu.model.dtype == "float32"


@pytest.fixture
def hopper(machine):
    """A GPU with `free` GiB, beside which Triton is installed."""

    def with_free(gib):
        machine.setattr(fit, "gpu_memory", lambda: FreeMemory("NVIDIA H200", gib * GIB, (9, 0)))
        machine.setattr(fit, "installed", lambda: frozenset({"triton"}))

    return with_free


def test_on_a_gpu_the_parts_that_would_be_taken_are_told(hopper):
    hopper(139)
    found = estimated(model={"name": "random:llama-3.1-8b"})
    assert found.model.parts == ("triton attention, fused kernels, CUDA graphs, overlap")
    found = estimated(
        model={"name": "random:llama-3.1-8b", "quantization": "fp8"},
        engine={"kv_dtype": "fp8", "cuda_graphs": False},
    )
    assert found.model.parts == (
        "triton attention, fused kernels, no CUDA graphs, overlap, fp8 weights, fp8 KV"
    )
    assert found.model.kv_bytes_per_token == 32 * 2 * 8 * 132
    assert found.model.weights_bytes < 11 * GIB
    assert estimated(model={"name": "random:tiny", "device": "cpu"}).model.parts == ""


def test_what_fits_in_fp8_alone_is_told(hopper):
    hopper(12)
    found = estimated(model={"name": "random:llama-3.1-8b"})
    assert found.fits is False and "--quantization fp8 (10.04 GiB)" in found.why
    hopper(16)
    found = estimated(model={"name": "random:llama-3.1-8b", "quantization": "fp8"})
    assert found.fits


def test_a_part_that_the_gpu_lacks_is_told_before_anything_is_loaded(machine):
    machine.setattr(fit, "gpu_memory", lambda: FreeMemory("NVIDIA A100", 79 * GIB, (8, 0)))
    found = estimated(model={"name": "random:llama-3.1-8b", "quantization": "fp8"})
    assert found.fits is False and "NVIDIA A100 is 8.0" in found.why
    found = estimated(model={"name": "random:tiny"}, engine={"attention": "flashinfer"})
    assert found.fits is False and "flashinfer is not installed" in found.why


def test_cuda_that_is_not_there_is_said(machine):
    assert "no GPU is visible; or take --device cpu" in estimated(model={"device": "cuda"}).why
    machine.setattr(fit, "_torch_is_cpu_only", lambda: True)
    assert "torch is built without CUDA" in estimated(model={"device": "cuda"}).why


def test_an_unknown_model_is_said():
    found = estimated(model={"name": "random:lama"})
    assert found.fits is False and found.model is None
    assert "no model shape is called 'lama'" in found.why


def test_limits_that_contradict_are_said():
    found = estimated(
        model={"name": "random:tiny"}, engine={"max_num_seqs": 64, "max_num_batched_tokens": 8}
    )
    assert found.fits is False and "max_num_batched_tokens = 8 is less" in found.why


def test_of_a_server_nothing_is_known():
    found = estimated(target={"url": "http://127.0.0.1:8000/v1"}, traffic={"rate": 1})
    assert found.fits is None and found.why == "a server's memory isn't known"


def test_without_lengths_the_pool_is_told_all_the_same():
    found = estimated(None, model={"name": "random:tiny"})
    assert found.fits and found.needs == ()
    assert found.why.endswith("the KV pool holds 65,536 tokens")


def test_the_embedded_model_is_told_of_before_it_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    found = estimated()
    assert found.fits and not found.model.ready
    assert found.model.parameters == 134_515_008
    assert found.why.endswith("the model is not here yet: its first use fetches it")
    assert list(tmp_path.iterdir()) == []


def test_the_engine_takes_what_was_told():
    from engines.registry import build
    from profiles.ranges import open_ranges

    spec = parse_spec({"model": {"name": "random:tiny", "device": "cpu"}}, "test")
    told = estimate_fit(spec, CHAT).pool
    built = build(spec.engine_options(), lambda: 0, open_ranges("off")).engine
    described = built.describe()
    assert described["num_blocks"] == told.blocks
    assert described["kv_bytes"] == told.bytes
    assert built.max_model_len == told.max_model_len
    for name in ("block_size", "max_num_seqs", "max_num_batched_tokens"):
        assert described[name] == getattr(told, name)


@pytest.mark.parametrize(
    ("number", "text"),
    [(5, "5 bytes"), (427_264, "417 KiB"), (538_060_032, "513 MiB"), (16 * GIB, "16 GiB")],
)
def test_sizes_are_short(number, text):
    assert size_text(number) == text
