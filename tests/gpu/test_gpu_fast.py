"""The fast path on CUDA: Triton attention, fused kernels, graphs, overlap and FP8 caches give the
logits and tokens of the plain one."""

from __future__ import annotations

import dataclasses
from functools import cache

import pytest
import torch
from greedy import Arrangement, Outputs, answer_logits, divergences, generate, regrets
from paged import SCHEDULES, paged_logits
from random_decoder import LLAMA, random_decoder

from engines.kernels.base import LayerKernels
from engines.kernels.reference import ReferenceKernels
from engines.kv_cache import FP8
from engines.models.decoder import Decoder
from workloads.request import SamplingParams

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]

NO_WORSE = 1.3
"""The fast path's distance from the CPU's float32 logits, against plain torch's in its dtype."""

ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 5e-3}
"""And this much, as a share of the largest logit, on top."""

NEAR_TIE = 6e-2
"""Of two bfloat16 logits, as a share of the largest: nearer ones may change places."""

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
CONFIGS = {
    "llama": LLAMA,
    "smollm2": dataclasses.replace(
        LLAMA, name="random smollm2", hidden_size=576, num_heads=9, num_kv_heads=3, head_dim=64
    ),
    "qwen2": dataclasses.replace(
        LLAMA, name="random qwen2", qkv_bias=True, tie_embeddings=False, head_dim=64,
        num_heads=14, num_kv_heads=2,
    ),
    "qwen3": dataclasses.replace(LLAMA, name="random qwen3", qk_norm=True, head_dim=128),
    "mistral": dataclasses.replace(
        LLAMA, name="random mistral", sliding_window=16, num_heads=8, head_dim=48
    ),
}  # fmt: skip


@cache
def decoder(kind: str, device: torch.device, dtype: torch.dtype) -> Decoder:
    return random_decoder(CONFIGS[kind], 512, device, dtype)


def kernels(name: str) -> LayerKernels:
    if name == "reference":
        return ReferenceKernels()
    from engines.kernels.fused import FusedKernels

    return FusedKernels(CUDA)


def prompts(count: int = 32, longest: int = 80) -> list[list[int]]:
    """Prompts of 1 to 40 + `longest` tokens; every second begins with one stem."""
    generator = torch.Generator().manual_seed(0)

    def draw(length: int) -> list[int]:
        drawn: list[int] = torch.randint(0, 512, (length,), generator=generator).tolist()
        return drawn

    stem = draw(40)
    lengths = torch.randint(1, longest + 1, (count,), generator=generator).tolist()
    return [(stem if at % 2 else []) + draw(length) for at, length in enumerate(lengths)]


@cache
def expected_logits(kind: str) -> torch.Tensor:
    model = decoder(kind, CPU, torch.float32)
    return torch.cat(paged_logits(model, prompts(8), "whole", block_size=16))


def distance(
    model: Decoder, kind: str, schedule: str, backend: str, kv_dtype: torch.dtype | None = None
) -> float:
    """The largest difference from the CPU's float32 logits, as a share of the largest of them."""
    expected = expected_logits(kind)
    ours = torch.cat(paged_logits(model, prompts(8), schedule, 16, backend, kv_dtype))
    return (ours - expected).abs().max().item() / expected.abs().max().item()


PARTS = [
    ("attention", torch.bfloat16), ("both", torch.bfloat16),
    ("kernels", torch.bfloat16), ("kernels", torch.float32),
]  # fmt: skip


@pytest.mark.parametrize(("parts", "dtype"), PARTS, ids=str)
@pytest.mark.parametrize("kind", CONFIGS)
def test_logits_are_as_near_as_plain_torch(kind: str, dtype: torch.dtype, parts: str) -> None:
    model = decoder(kind, CUDA, dtype)
    for schedule in SCHEDULES:
        model.kernels = kernels("reference")
        plain = distance(model, kind, schedule, "reference")
        model.kernels = kernels("reference" if parts == "attention" else "fused")
        off = distance(model, kind, schedule, "reference" if parts == "kernels" else "triton")
        print(f"{kind}, {dtype}, {parts}, {schedule}: off by {off:.1e}, plain torch {plain:.1e}")
        assert off <= NO_WORSE * plain + ROUNDING[dtype], schedule


def test_flashinfer_s_logits_are_as_near_as_plain_torch_s() -> None:
    pytest.importorskip("flashinfer", reason="the extra 'cuda' isn't installed")
    model = decoder("qwen3", CUDA, torch.bfloat16)
    for schedule in SCHEDULES:
        model.kernels = kernels("reference")
        plain = distance(model, "qwen3", schedule, "reference")
        model.kernels = kernels("fused")
        off = distance(model, "qwen3", schedule, "flashinfer")
        print(f"flashinfer, {schedule}: off by {off:.1e}, plain torch {plain:.1e}")
        assert off <= NO_WORSE * plain + ROUNDING[torch.bfloat16], schedule


@pytest.mark.parametrize("kind", ["llama", "qwen3", "mistral"])
def test_an_fp8_cache_costs_no_more_than_plain_torch_s(kind: str) -> None:
    model = decoder(kind, CUDA, torch.bfloat16)
    for schedule in SCHEDULES:
        model.kernels = kernels("reference")
        plain = distance(model, kind, schedule, "reference", FP8)
        model.kernels = kernels("fused")
        off = distance(model, kind, schedule, "triton", FP8)
        print(f"{kind}, fp8 cache, {schedule}: off by {off:.1e}, plain torch {plain:.1e}")
        assert off <= NO_WORSE * plain + ROUNDING[torch.bfloat16], schedule


BASE = Arrangement(max_num_seqs=32, usable_blocks=4096, max_model_len=512)
FAST = dataclasses.replace(
    BASE, attention="triton", kernels="fused", cuda_graphs=True, overlap=True
)
ARRANGEMENTS = {
    "all": FAST,
    "no graphs": dataclasses.replace(FAST, cuda_graphs=False),
    "no overlap": dataclasses.replace(FAST, overlap=False),
    "neither": dataclasses.replace(FAST, cuda_graphs=False, overlap=False),
    "plain kernels": dataclasses.replace(FAST, kernels="reference"),
    "no prefix cache": dataclasses.replace(FAST, prefix_caching=False),
    "small chunks": dataclasses.replace(FAST, max_num_batched_tokens=48),
    "whole prompts": dataclasses.replace(FAST, chunked_prefill=False),
    "static batches": dataclasses.replace(FAST, batching="static"),
    "preempted": dataclasses.replace(FAST, usable_blocks=100),
    "plain attention": dataclasses.replace(BASE, kernels="fused"),
    "all plain": BASE,
}


COUNT, LENGTH = 256, 24


@cache
def base_outputs() -> Outputs:
    return generate(decoder("llama", CUDA, torch.bfloat16), prompts(COUNT), LENGTH, FAST)


@cache
def base_logits() -> list[torch.Tensor]:
    reference = decoder("llama", CPU, torch.float32)
    return answer_logits(reference, prompts(COUNT), base_outputs().tokens)


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_greedy_tokens_are_the_same_in_every_arrangement(name: str) -> None:
    """256 requests; an answer may turn only at a near-tie."""
    model = decoder("llama", CUDA, torch.bfloat16)
    outputs = generate(model, prompts(COUNT), LENGTH, ARRANGEMENTS[name])
    assert (outputs.preemptions > 0) == (name == "preempted")
    reference = decoder("llama", CPU, torch.float32)
    regret = regrets(answer_logits(reference, prompts(COUNT), outputs.tokens), outputs.tokens)
    gaps = divergences(base_logits(), base_outputs().tokens, outputs.tokens)
    worst = max(gaps, default=0.0)
    print(
        f"{name}: {len(gaps)} of {COUNT} answers turn, at gaps up to {worst:.1e}; regret up to "
        f"{max(regret):.1e}, {sum(each > NEAR_TIE for each in regret)} beyond a near-tie, of "
        f"prompts {[len(p) for p, r in zip(prompts(COUNT), regret, strict=True) if r > NEAR_TIE]}"
    )
    assert max(regret) <= NEAR_TIE
    assert worst <= NEAR_TIE
    assert len(gaps) <= COUNT * 0.5


@pytest.mark.parametrize("name", ["all", "no graphs"])
def test_sampled_tokens_don_t_depend_on_the_arrangement(name: str) -> None:
    """Temperature, and top-k and top-p beside it.

    A draw follows the last digits of the logits, and of flat ones like these nearly every time:
    the arrangements compared are those whose steps hold the same sequences.
    """
    model = decoder("llama", CUDA, torch.bfloat16)
    for sampling in (
        SamplingParams(temperature=0.7, seed=5),
        SamplingParams(temperature=0.7, top_k=20, top_p=0.9, seed=6),
    ):
        base = generate(model, prompts(64), LENGTH, FAST, sampling)
        other = generate(model, prompts(64), LENGTH, ARRANGEMENTS[name], sampling)
        turned = sum(ours != theirs for ours, theirs in zip(base.tokens, other.tokens, strict=True))
        print(f"{name}: {turned} of 64 sampled answers turn")
        assert turned <= (0 if name == "all" else 24)
