"""The flashinfer backend, on a stand-in for the library, against the reference backend."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import fake_flashinfer
import numpy as np
import pytest
import torch
from paged import PagedLayout, Part

from engines.attention.base import AttentionShape, DeviceStep, StepLayout
from engines.attention.flashinfer import (
    FlashInferAttention,
    PageList,
    flashinfer_refusal,
    import_flashinfer,
    open_flashinfer,
)
from engines.attention.reference import ReferenceAttention
from engines.errors import EngineConfigError
from engines.kv_cache import FP8, LayerKV

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
HEAD_DIM = 16
HOPPER = (9, 0)
TOLERANCE = 2e-6
"""Largest absolute difference in float32, of outputs around 1."""


def shape_of(group: int = 2, window: int | None = None, head_dim: int = HEAD_DIM) -> AttentionShape:
    return AttentionShape(2 * group, 2, head_dim, window)


def attention(
    shape: AttentionShape, block_size: int = 4, library: Any = fake_flashinfer
) -> FlashInferAttention:
    return FlashInferAttention(shape, block_size, CPU, torch.float32, library, "fa3")


def assert_like_the_reference(
    shape: AttentionShape, block_size: int, steps: list[tuple[list[Part], int]], lengths: list[int]
) -> None:
    """Both backends over the same steps and the same cache, where blocks lie at random."""
    layout = PagedLayout(lengths, block_size)
    draw = torch.Generator().manual_seed(0)
    cache = (2, layout.num_blocks, block_size, shape.num_kv_heads, HEAD_DIM)
    kv = LayerKV(torch.randn(cache, generator=draw), None)
    ours = attention(shape, block_size)
    reference = ReferenceAttention(shape, block_size, CPU, torch.float32)
    for parts, num_decodes in steps:
        step = layout.step(parts, num_decodes)
        tokens = int(step.query_lens.sum())
        query = torch.randn(tokens, shape.num_heads, HEAD_DIM, generator=draw)
        output = ours.attend(query, kv, ours.begin_step(step))
        expected = reference.attend(query, kv, reference.begin_step(step))
        assert output.shape == (tokens, shape.num_heads * HEAD_DIM)
        difference = (output - expected).abs().max().item()
        assert difference <= TOLERANCE, f"off by {difference:.2e}"


@pytest.mark.parametrize("block_size", [1, 4, 16])
@pytest.mark.parametrize("group", [1, 3, 4])
@pytest.mark.parametrize("window", [None, 1, 7])
def test_decodes_chunks_and_prompts_equal_the_reference(
    block_size: int, group: int, window: int | None
) -> None:
    lengths = [23, 1, 40, 33, 18, 9, 16]
    decodes: list[Part] = [(0, 22, 23), (1, 0, 1), (6, 15, 16)]
    chunks: list[Part] = [(2, 39, 40), (3, 12, 33), (4, 0, 18), (5, 8, 9)]
    # Mixed, prompts alone, decodes alone, then mixed anew: no plan outlives its step.
    steps = [(decodes + chunks, 3), (chunks, 0), (decodes, 3), (decodes[:1] + chunks[1:2], 1)]
    assert_like_the_reference(shape_of(group, window), block_size, steps, lengths)


def test_a_page_list_has_only_the_pages_that_are_seen() -> None:
    tables = np.array([[7, 8, 9, 0], [3, 0, 0, 0], [5, 6, 0, 0]], np.int32)
    pages = PageList.of(np.array([9, 1, 8], np.int64), tables, 4)
    assert pages.indptr.tolist() == [0, 3, 4, 6]
    assert pages.indices.tolist() == [7, 8, 9, 3, 5, 6]
    assert pages.last_page_len.tolist() == [1, 1, 4]


def test_a_step_plans_only_what_it_has() -> None:
    ours = attention(shape_of())
    tables = np.array([[1], [2]], np.int32)
    lens = np.array([1, 1], np.int64)
    ours.begin_step(StepLayout(lens, np.array([3, 4], np.int64), tables, num_decodes=2))
    decode, prefill = ours._decode, ours._prefill
    assert (len(decode.plans), len(prefill.plans)) == (1, 0)
    ours.begin_step(StepLayout(lens, np.array([1, 1], np.int64), tables, num_decodes=0))
    assert (len(decode.plans), len(prefill.plans)) == (1, 1)


def on_the_device(num_tokens: int, host: StepLayout | None) -> DeviceStep:
    none = torch.zeros(0, dtype=torch.int32)
    return DeviceStep(num_tokens, 4, 4, 4, none, none, none, none, none, host)


def test_padding_behind_a_step_is_left_out_and_gives_zeros() -> None:
    shape = shape_of()
    layout = PagedLayout([9, 6], 4)
    kv = LayerKV(torch.randn(2, layout.num_blocks, 4, 2, HEAD_DIM), None)
    host = layout.step([(0, 8, 9), (1, 0, 6)], 1)
    query = torch.randn(16, shape.num_heads, HEAD_DIM)
    ours = attention(shape)
    output = ours.attend(query, kv, ours.begin_step(on_the_device(16, host)))
    own = ours.attend(query[:7], kv, ours.begin_step(host))
    assert torch.equal(output[:7], own) and not output[7:].any()


def test_a_step_of_padding_alone_plans_nothing() -> None:
    ours = attention(shape_of())
    kv = LayerKV(torch.randn(2, 3, 4, 2, HEAD_DIM), None)
    step = ours.begin_step(on_the_device(8, None))
    assert not ours.attend(torch.randn(8, 4, HEAD_DIM), kv, step).any()
    assert not ours._decode.plans and not ours._prefill.plans


def test_wide_groups_decode_on_the_tensor_cores() -> None:
    assert not attention(shape_of(group=2))._decode.use_tensor_cores
    assert attention(shape_of(group=4))._decode.use_tensor_cores
    assert attention(shape_of(group=5))._decode.use_tensor_cores


def test_loading_says_what_is_compiled_and_how_long_it_takes() -> None:
    said: list[str] = []
    attention(shape_of(group=2)).load(said.append)
    attention(shape_of(group=4)).load(said.append)
    assert [message.split(":")[0] for message in said] == [
        "flashinfer's decode kernels (decode)",
        "flashinfer's prefill kernels (fa3)",
        "flashinfer's decode kernels (fa2)",
        "flashinfer's prefill kernels (fa3)",
    ]
    assert "about 49 s on 16 cores" in said[1]


def test_kernels_that_cannot_be_compiled_are_an_error_that_says_what_is_needed() -> None:
    class NoCompiler(fake_flashinfer.BatchPrefillWithPagedKVCacheWrapper):
        def plan(self, *args: Any, **options: Any) -> None:
            raise RuntimeError("Could not find nvcc\nand a long log")

    library = SimpleNamespace(
        BatchDecodeWithPagedKVCacheWrapper=fake_flashinfer.BatchDecodeWithPagedKVCacheWrapper,
        BatchPrefillWithPagedKVCacheWrapper=NoCompiler,
    )
    with pytest.raises(EngineConfigError) as caught:
        attention(shape_of(), library=library).load(lambda message: None)
    message = str(caught.value)
    assert "prefill kernels (fa3) cannot be loaded: Could not find nvcc;" in message
    assert "ninja" in message and "--attention triton" in message and "long log" not in message


def test_what_it_can_compute_is_not_refused() -> None:
    for head_dim in (64, 128, 256):
        for window in (None, 512):
            shape = shape_of(window=window, head_dim=head_dim)
            for dtype in (torch.bfloat16, torch.float16):
                assert flashinfer_refusal(shape, dtype, dtype, HOPPER) is None


@pytest.mark.parametrize(
    ("head_dim", "dtype", "kv_dtype", "capability", "words", "instead"),
    [
        (128, torch.bfloat16, torch.bfloat16, None, "CUDA devices only", "reference"),
        (128, torch.bfloat16, torch.bfloat16, (7, 5), "8.0, this device has 7.5", "reference"),
        (128, torch.float32, torch.float32, HOPPER, "no kernels for float32", "reference"),
        (128, torch.bfloat16, FP8, HOPPER, "KV cache of float8_e4m3fn", "triton"),
        (80, torch.bfloat16, torch.bfloat16, HOPPER, "heads of 80, only 64, 128, 256", "triton"),
    ],
)
def test_what_it_lacks_is_refused_with_the_backend_that_has_it(
    head_dim: int,
    dtype: torch.dtype,
    kv_dtype: torch.dtype,
    capability: tuple[int, int] | None,
    words: str,
    instead: str,
) -> None:
    refusal = flashinfer_refusal(shape_of(head_dim=head_dim), dtype, kv_dtype, capability)
    assert refusal is not None
    assert words in refusal and refusal.endswith(f"take --attention {instead}")


def test_a_cpu_is_refused_before_anything_is_imported() -> None:
    with pytest.raises(EngineConfigError, match="--attention flashinfer: its kernels run on CUDA"):
        open_flashinfer(shape_of(), 16, CPU, torch.float32, torch.float32, lambda message: None)


@pytest.mark.parametrize(
    ("missing", "words"),
    [("flashinfer", "flashinfer is not installed;"), ("tvm_ffi", "flashinfer cannot be used: no")],
)
def test_a_missing_library_names_the_extra(
    missing: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> None:
        raise ModuleNotFoundError(f"no module {missing}", name=missing)

    monkeypatch.setattr(importlib, "import_module", fail)
    monkeypatch.setenv("FLASHINFER_LOGGING_LEVEL", "warning")
    with pytest.raises(EngineConfigError) as caught:
        import_flashinfer()
    assert words in str(caught.value) and "pip install 'workbench[cuda]'" in str(caught.value)
