"""What an engine takes of memory, and what is said where it doesn't fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engines import memory
from engines.capabilities import DeviceFacts, Resolved, resolve
from engines.errors import EngineConfigError, ModelError
from engines.kv_cache import FP8, KVCache
from engines.models.config import ModelConfig
from engines.models.shapes import named_shape
from engines.options import EngineOptions
from engines.scratch import RESERVE_BYTES, scratch_bytes
from engines.sizing import (
    check_weights_fit,
    choose_num_blocks,
    kv_bytes_per_token,
    scheduler_config,
    weights_bytes,
)

GIB = 1 << 30
H200 = DeviceFacts("cuda", "NVIDIA H200", (9, 0), frozenset({"triton", "flashinfer"}))
LLAMA, QWEN, TINY = (named_shape(name) for name in ("llama-3.1-8b", "qwen3-0.6b", "tiny"))


def blocks(
    config: ModelConfig, free_bytes: int, device: str = "cuda", scratch: int = 0, **asked: Any
) -> int:
    options = EngineOptions(**asked)
    scheduling = scheduler_config(options, config, device)
    kv_dtype = "fp8" if options.kv_dtype == "fp8" else "bfloat16"
    return choose_num_blocks(options, config, scheduling, kv_dtype, device, free_bytes, scratch)


def scratch(config: ModelConfig, **asked: Any) -> int:
    options = EngineOptions(**asked)
    scheduling = scheduler_config(options, config, "cuda")
    return scratch_bytes(config, scheduling, resolve(options, config, H200))


@pytest.mark.parametrize(("kv_dtype", "dtype"), [("fp8", FP8), ("bfloat16", torch.bfloat16)])
def test_a_tokens_keys_and_values_take_what_the_cache_allocates(
    kv_dtype: str, dtype: torch.dtype
) -> None:
    c = TINY
    cache = KVCache.allocate(
        c.num_layers, 3, 16, c.num_kv_heads, c.head_dim, dtype, torch.device("cpu")
    )
    assert cache.num_bytes == 3 * 16 * kv_bytes_per_token(c, kv_dtype)


def test_fp8_keys_and_values_take_a_byte_and_a_scale_for_each_head() -> None:
    # 32 layers, K and V, 8 heads of 128 bytes and a float32.
    assert kv_bytes_per_token(LLAMA, "fp8") == 32 * 2 * 8 * (128 + 4)
    assert kv_bytes_per_token(LLAMA, "bfloat16") == 32 * 2 * 8 * 256


def test_quantised_are_the_mlps_between_the_first_and_the_last_layer() -> None:
    matrices = 30 * (28_672 * 4096 + 4096 * 14_336)
    rows = 30 * (28_672 + 4096)
    rest = 2 * (LLAMA.num_parameters - matrices)
    assert rest > 2 * 2 * 128_256 * 4096  # embeddings and head
    assert weights_bytes(LLAMA, "bfloat16", "fp8") == matrices + 4 * rows + rest
    assert weights_bytes(LLAMA, "bfloat16", "fp8-tensorwise") == matrices + 4 * 2 * 30 + rest
    assert weights_bytes(LLAMA, "bfloat16") == 2 * LLAMA.num_parameters


def test_weights_that_do_not_fit_are_told_with_what_would() -> None:
    check_weights_fit(LLAMA, "bfloat16", "cuda", 16 * GIB)
    with pytest.raises(ModelError) as error:
        check_weights_fit(LLAMA, "bfloat16", "cuda", 12 * GIB, can_quantise=True)
    said = str(error.value)
    assert "llama-3.1-8b in bfloat16 needs 14.96 GiB for its weights" in said
    assert "cuda has 12.00 GiB free, of which 11.40 GiB may go to weights" in said
    assert "a model of up to 6.1 B parameters, --quantization fp8 (10.04 GiB)" in said
    check_weights_fit(LLAMA, "bfloat16", "cuda", 12 * GIB, "fp8", can_quantise=True)


def test_nothing_is_named_that_the_device_or_the_memory_cannot_do() -> None:
    for free, can in ((12 * GIB, False), (6 * GIB, True)):
        with pytest.raises(ModelError) as error:
            check_weights_fit(LLAMA, "bfloat16", "cuda", free, can_quantise=can)
        assert "--quantization" not in str(error.value)
    with pytest.raises(ModelError, match=r"llama-3.1-8b in fp8 needs 10.04 GiB") as error:
        check_weights_fit(LLAMA, "bfloat16", "cuda", 6 * GIB, "fp8", can_quantise=True)
    assert "--quantization" not in str(error.value)


def test_a_smaller_dtype_is_named_where_it_fits() -> None:
    with pytest.raises(ModelError, match=r"--dtype bfloat16 \(14.96 GiB\)"):
        check_weights_fit(LLAMA, "float32", "cpu", 20 * GIB)


def test_a_pool_in_fp8_holds_nearly_twice_as_many_blocks() -> None:
    plain, fp8 = (blocks(LLAMA, 40 * GIB, kv_dtype=kind) for kind in ("auto", "fp8"))
    assert fp8 / plain == pytest.approx(256 / 132, rel=1e-3)


def test_what_a_step_takes_is_kept_out_of_the_pool() -> None:
    block = 16 * kv_bytes_per_token(LLAMA, "bfloat16")
    assert blocks(LLAMA, 40 * GIB) == int(36 * GIB) // block
    assert blocks(LLAMA, 40 * GIB, scratch=4 * GIB) == (int(36 * GIB) - 4 * GIB) // block


def test_more_blocks_than_there_is_room_for_are_told_with_what_would_fit() -> None:
    with pytest.raises(EngineConfigError) as error:
        blocks(LLAMA, 8 * GIB, scratch=3 * GIB, num_blocks=4000)
    assert str(error.value) == (
        "num_blocks = 4,000 of llama-3.1-8b need 7.81 GiB: cuda has 8.00 GiB free beside the "
        "weights, and a step takes up to 3.00 GiB; 2,560 would fit"
    )
    assert blocks(LLAMA, 8 * GIB, scratch=3 * GIB, num_blocks=2560) == 2560


def test_a_pool_larger_than_the_room_is_told_with_what_would_fit() -> None:
    with pytest.raises(EngineConfigError, match=r"takes up to 3.00 GiB; 5.00 GiB would fit"):
        blocks(LLAMA, 8 * GIB, scratch=3 * GIB, kv_memory_bytes=6 * GIB)


def test_no_room_for_a_pool_says_what_makes_some() -> None:
    with pytest.raises(EngineConfigError) as error:
        blocks(LLAMA, 3 * GIB, scratch=3 * GIB)
    said = str(error.value)
    assert "cuda has 3.00 GiB free beside the weights, and a step takes up to 3.00 GiB" in said
    assert "lower --max-num-batched-tokens (now 8,192) or --max-num-seqs (now 256)" in said
    with pytest.raises(EngineConfigError, match="ask for more --kv-memory"):
        blocks(LLAMA, 3 * GIB, kv_memory_bytes=1000)


def test_scratch_follows_the_shape_and_the_limits() -> None:
    assert scratch(QWEN) < scratch(LLAMA) < 5 * GIB
    half = scratch(LLAMA, max_num_batched_tokens=4096)
    # 4,096 tokens less: residuals, q, k, v and attention's, gate, up and their product.
    per_token = 2 * (4 * 4096 + 6144 + 2 * 4096 + 3 * 14_336)
    assert scratch(LLAMA) - half == 2 * 4096 * per_token, "with graphs and without"
    plain = [scratch(LLAMA, max_num_batched_tokens=n, cuda_graphs=False) for n in (4096, 8192)]
    assert plain[1] - plain[0] == 4096 * per_token
    assert scratch(LLAMA, max_num_seqs=64) < scratch(LLAMA)
    assert scratch(LLAMA, cuda_graphs=False) < scratch(LLAMA)
    assert scratch(LLAMA, quantization="fp8") > scratch(LLAMA)
    assert scratch(LLAMA, attention="reference") > scratch(LLAMA)
    small = scratch(TINY, max_num_seqs=1, max_num_batched_tokens=1, cuda_graphs=False)
    assert RESERVE_BYTES < small < RESERVE_BYTES + (1 << 20)


def test_the_cpu_keeps_no_scratch(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(memory, "free_bytes", lambda _: GIB)
    options = EngineOptions(model="random:tiny", device="cpu")
    resolved: Resolved = resolve(options, TINY, memory.device_facts(cpu))
    scheduling = scheduler_config(options, TINY, "cpu")
    told = memory.choose_num_blocks(options, TINY, scheduling, resolved, cpu)
    assert told == choose_num_blocks(options, TINY, scheduling, "float32", "cpu", GIB)
