"""The engine core on CUDA: the CPU's logits and tokens, within the stated tolerances."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch
from greedy import Arrangement, Outputs, answer_logits, divergences, generate
from paged import SCHEDULES, paged_logits
from random_decoder import LLAMA, random_decoder

from engines.compute.sampling import SamplingBatch, sample
from engines.models.decoder import Decoder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]

TOLERANCES = {torch.float32: 2e-5, torch.bfloat16: 3e-2}
"""Largest difference from the CPU's float32 logits, as a share of the largest logit."""

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
CONFIGS = {
    "llama": LLAMA,
    "qwen2": dataclasses.replace(LLAMA, name="random qwen2", qkv_bias=True, tie_embeddings=False),
    "qwen3": dataclasses.replace(LLAMA, name="random qwen3", qk_norm=True, head_dim=64),
    "mistral": dataclasses.replace(
        LLAMA, name="random mistral", sliding_window=16, num_heads=8, head_dim=24
    ),
}


@cache
def decoder(kind: str, device: torch.device, dtype: torch.dtype) -> Decoder:
    return random_decoder(CONFIGS[kind], 256, device, dtype)


def prompts() -> list[list[int]]:
    """32 prompts of 1 to 120 tokens; every second begins with one stem."""
    draw = np.random.default_rng(0)
    stem = draw.integers(0, 512, 40).tolist()
    return [
        (stem if number % 2 else []) + draw.integers(0, 512, int(draw.integers(1, 81))).tolist()
        for number in range(32)
    ]


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("kind", CONFIGS)
def test_logits_agree_with_the_cpu(kind: str, dtype: torch.dtype) -> None:
    sequences = prompts()[:8]
    expected = torch.cat(paged_logits(decoder(kind, CPU, torch.float32), sequences, "whole"))
    scale = expected.abs().max().item()
    for schedule in SCHEDULES:
        ours = torch.cat(paged_logits(decoder(kind, CUDA, dtype), sequences, schedule))
        off = (ours - expected).abs().max().item() / scale
        print(f"{kind}, {dtype}, {schedule}: off by {off:.1e} of the largest logit")
        assert off <= TOLERANCES[dtype], schedule


BASE = Arrangement()
ARRANGEMENTS = {
    "one at a time": dataclasses.replace(BASE, max_num_seqs=1, prefix_caching=False),
    "no prefix cache": dataclasses.replace(BASE, prefix_caching=False),
    "small chunks": dataclasses.replace(BASE, max_num_batched_tokens=24),
    "whole prompts": dataclasses.replace(BASE, chunked_prefill=False),
    "static batches": dataclasses.replace(BASE, batching="static"),
    "preempted": dataclasses.replace(BASE, usable_blocks=24),
}


@cache
def base_outputs(dtype: torch.dtype, device: torch.device) -> Outputs:
    return generate(decoder("llama", device, dtype), prompts(), 16, BASE)


def assert_same_but_for_near_ties(got: Outputs, expected: Outputs, dtype: torch.dtype) -> None:
    """An answer may turn only where two logits are nearer than twice the logits' tolerance."""
    reference = decoder("llama", CPU, torch.float32)
    logits = answer_logits(reference, prompts(), expected.tokens)
    gaps = divergences(logits, expected.tokens, got.tokens)
    print(
        f"{len(gaps)} of {len(got.tokens)} answers turn, at gaps up to {max(gaps, default=0):.1e}"
    )
    assert max(gaps, default=0.0) <= 2 * TOLERANCES[dtype]
    assert len(gaps) <= len(got.tokens) * (0.1 if dtype is torch.float32 else 0.75)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_greedy_tokens_are_the_same_in_every_arrangement(name: str, dtype: torch.dtype) -> None:
    outputs = generate(decoder("llama", CUDA, dtype), prompts(), 16, ARRANGEMENTS[name])
    assert (outputs.preemptions > 0) == (name == "preempted")
    assert_same_but_for_near_ties(outputs, base_outputs(dtype, CUDA), dtype)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_greedy_tokens_are_those_of_the_cpu(dtype: torch.dtype) -> None:
    expected = base_outputs(torch.float32, CPU)
    assert_same_but_for_near_ties(base_outputs(dtype, CUDA), expected, dtype)


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (50, 1.0), (0, 0.9), (50, 0.9)])
def test_sampling_draws_what_the_cpu_draws(top_k: int, top_p: float) -> None:
    rows = 2048
    logits = torch.randn(rows, 1000, generator=torch.Generator().manual_seed(0)) * 3
    batch = SamplingBatch(
        np.full(rows, 0.8, np.float32),
        np.full(rows, top_k, np.int32),
        np.full(rows, top_p, np.float32),
        np.arange(rows, dtype=np.uint64),
        np.arange(rows),
    )
    here, there = sample(logits, batch), sample(logits.cuda(), batch).cpu()
    assert (here != there).sum() <= 2, "but where a number falls on the border of two tokens"
