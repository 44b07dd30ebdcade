"""The Triton attention backend against a plain float32 computation, in the interpreter."""

from __future__ import annotations

import pytest
import torch
from attention_cases import Case, make_case

from engines.attention.base import AttentionShape
from engines.attention.triton.configs import DecodeConfig, PrefillConfig
from engines.errors import EngineConfigError

DECODE = DecodeConfig(tile=16, num_warps=4, num_stages=2, programs_per_sm=2, smallest_chunk=32)
PREFILL = PrefillConfig(block_m=32, block_n=16, num_warps=4, num_stages=2)
GQA = AttentionShape(num_heads=4, num_kv_heads=2, head_dim=32, sliding_window=None)

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="for the interpreter")


def attend(shape: AttentionShape, case: Case, block_size: int = 16) -> torch.Tensor:
    from engines.attention.paged import TritonAttention

    backend = TritonAttention(
        shape, block_size, torch.device("cpu"), torch.float32, 32, 512,
        decode=DECODE, prefill=PREFILL,
    )  # fmt: skip
    step = backend.begin_step(case.step)
    first = backend.attend(case.query, case.kv, step)
    again = backend.attend(case.query, case.kv, step)
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    return first


def check(shape: AttentionShape, case: Case, block_size: int = 16) -> None:
    torch.testing.assert_close(attend(shape, case, block_size), case.expected, rtol=1e-4, atol=1e-5)


def windowed(window: int | None) -> AttentionShape:
    return AttentionShape(4, 2, 32, window)


@pytest.mark.parametrize("contexts", [[1], [300], [1, 17, 300], [16, 32, 33], [5, 290, 1, 64, 31]])
def test_decodes(contexts: list[int]) -> None:
    check(GQA, make_case(GQA, contexts, [1] * len(contexts)))


@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim"),
    [(3, 1, 64), (7, 1, 32), (2, 2, 48), (20, 1, 32), (4, 2, 80), (2, 1, 128)],
)
def test_groups_and_head_sizes(heads: int, kv_heads: int, head_dim: int) -> None:
    shape = AttentionShape(heads, kv_heads, head_dim, None)
    check(shape, make_case(shape, [3, 150, 40], [1, 1, 35]))


@pytest.mark.parametrize(
    ("contexts", "queries"),
    [
        ([40], [40]),
        ([100, 33], [100, 33]),
        ([90, 70], [20, 37]),
        ([200, 1, 77], [1, 1, 50]),
        ([9, 130, 64, 65], [1, 2, 64, 1]),
    ],
)
def test_chunks_with_and_without_prefixes(contexts: list[int], queries: list[int]) -> None:
    check(GQA, make_case(GQA, contexts, queries))


@pytest.mark.parametrize("window", [1, 7, 16, 40, 1000])
def test_sliding_windows(window: int) -> None:
    shape = windowed(window)
    check(shape, make_case(shape, [200, 5, 120, 90], [1, 1, 120, 40]))


@pytest.mark.parametrize("block_size", [8, 32])
def test_block_sizes(block_size: int) -> None:
    case = make_case(GQA, [70, 100, 60], [1, 100, 25], block_size=block_size)
    check(GQA, case, block_size)


@pytest.mark.parametrize("window", [None, 50])
def test_fp8_cache(window: int | None) -> None:
    """Its products are in float16."""
    shape = windowed(window)
    case = make_case(shape, [130, 6, 70], [1, 1, 40], fp8=True)
    torch.testing.assert_close(attend(shape, case), case.expected, rtol=2e-3, atol=1e-3)


def test_padding_tokens_are_zeros() -> None:
    """In a bucket of decodes and in one with chunks; the cache's unused slots are NaN."""
    check(GQA, make_case(GQA, [90, 2], [1, 1], num_seqs=8, num_tokens=8))
    check(GQA, make_case(GQA, [90, 2, 50], [1, 1, 50], num_seqs=8, num_tokens=96))


def test_chunks_of_one_token_after_longer_ones() -> None:
    check(GQA, make_case(GQA, [50, 20, 1], [30, 1, 1]))


def test_a_query_with_strides() -> None:
    """As a slice of a wider tensor, whose heads lie together."""
    case = make_case(GQA, [40, 30], [1, 20])
    wide = torch.randn(21, 4 * 32 + 64)
    wide[:, :128] = case.query.view(21, 128)
    sliced = wide[:, :128].unflatten(1, (4, 32))
    check(GQA, Case(sliced, case.kv, case.step, case.expected))


@pytest.mark.parametrize(
    ("head_dim", "block_size", "words"),
    [(40, 16, "head size 40"), (512, 16, "head size 512"), (64, 24, "block size 24")],
)
def test_what_it_lacks_names_the_backend_that_can(
    head_dim: int, block_size: int, words: str
) -> None:
    from engines.attention.paged import require_triton_attention

    with pytest.raises(EngineConfigError, match=f"{words}.*--attention reference"):
        require_triton_attention(
            AttentionShape(2, 1, head_dim, None), block_size, torch.device("cpu"), torch.float32
        )
