"""The GPU's worker, its kernels in Triton's interpreter and its streams and events played: the same
tokens as the plain worker's. What is captured in graphs runs on a GPU alone (tests/gpu)."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from typing import Any

import pytest
import torch
from greedy import Arrangement, Outputs, generate

from engines.models.config import ModelConfig
from engines.models.decoder import Decoder
from workloads.request import SamplingParams

CPU = torch.device("cpu")
TINY = ModelConfig(
    name="tiny", vocab_size=96, hidden_size=64, intermediate_size=64, num_layers=1,
    num_heads=4, num_kv_heads=2, head_dim=32, max_position=128, tie_embeddings=True,
)  # fmt: skip
PLAIN = Arrangement(
    max_num_seqs=4, max_num_batched_tokens=64, usable_blocks=40, max_model_len=64, block_size=8
)
FAST = dataclasses.replace(PLAIN, attention="triton", kernels="fused", overlap=True)


class Event:
    """A CUDA event that happens at once, a millisecond after the one before."""

    ticks = itertools.count()

    def record(self, stream: object = None) -> None:
        self.at_ms = float(next(self.ticks))

    def synchronize(self) -> None:
        return None

    def elapsed_time(self, later: Event) -> float:
        return later.at_ms - self.at_ms


class Stream:
    def wait_event(self, event: Event) -> None:
        return None


@pytest.fixture(autouse=True)
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    from engines.compute import cuda_worker, gpu_clock

    for module in (cuda_worker, gpu_clock):
        monkeypatch.setattr(module, "timed_event", Event)
    monkeypatch.setattr(cuda_worker, "EAGER_MULTIPLE", 8)  # little padding: it is computed too
    monkeypatch.setattr(cuda_worker, "EAGER_SIZES", (8,))
    monkeypatch.setattr(cuda_worker, "SAMPLED_SIZES", (1,))
    monkeypatch.setattr(cuda_worker, "stream_on", lambda device: Stream())
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: None)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    model = Decoder(TINY, 64, CPU, torch.float32)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if name.endswith("norm"):
                weights.uniform_(0.5, 1.5, generator=generator)
            else:
                weights.normal_(0.0, 0.2, generator=generator)
    return model


def prompts() -> list[list[int]]:
    """Five, two of which begin with the same two blocks."""
    generator = torch.Generator().manual_seed(1)

    def draw(length: int) -> list[int]:
        drawn: list[int] = torch.randint(0, 96, (length,), generator=generator).tolist()
        return drawn

    stem = draw(16)
    return [draw(5), stem + draw(3), draw(13), draw(1), stem + draw(6)]


def both(decoder: Decoder, sampling: SamplingParams, **changes: Any) -> list[Outputs]:
    """What the plain arrangement and the fast one give."""
    arrangements = [dataclasses.replace(each, **changes) for each in (PLAIN, FAST)]
    return [generate(decoder, prompts(), 6, each, sampling) for each in arrangements]


@pytest.mark.parametrize(
    "changes",
    [{}, {"overlap": False, "max_num_batched_tokens": 12}, {"usable_blocks": 7}],
    ids=["overlap", "chunks", "preempted"],
)
def test_greedy_tokens_are_the_plain_worker_s(decoder: Decoder, changes: dict[str, Any]) -> None:
    expected, got = both(decoder, SamplingParams(), **changes)
    assert got.tokens == expected.tokens
    assert (got.preemptions > 0) == ("usable_blocks" in changes)
    assert {"prefill", "mixed", "decode"} & got.kinds == got.kinds


@pytest.mark.parametrize("cut", [{}, {"top_k": 5, "top_p": 0.8}], ids=["all", "cut"])
def test_sampled_tokens_are_the_plain_worker_s(decoder: Decoder, cut: dict[str, Any]) -> None:
    sampling = SamplingParams(temperature=0.8, seed=7, **cut)
    expected, got = both(decoder, sampling)
    assert got.tokens == expected.tokens
