"""A monolithic engine built by hand, and the tokens that it gives for a list of prompts."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
import torch
from paged import paged_logits

from engines.capabilities import Resolved
from engines.compute.worker import allocate_kv
from engines.dtypes import name_of
from engines.models.decoder import Decoder
from engines.monolithic import MonolithicEngine
from engines.registry import kv_dtype, make_worker
from engines.scheduling.blocks import BlockPool
from engines.scheduling.config import SchedulerConfig
from engines.scheduling.scheduler import Scheduler
from profiles.ranges import Ranges
from workloads.request import Request, SamplingParams


@dataclass(frozen=True)
class Arrangement:
    """What may differ between two engines that have to give the same tokens."""

    max_num_seqs: int = 16
    max_num_batched_tokens: int = 512
    chunked_prefill: bool = True
    batching: str = "continuous"
    policy: str = "fcfs"
    prefix_caching: bool = True
    block_size: int = 16
    usable_blocks: int = 1024
    max_model_len: int = 256
    attention: str = "reference"
    kernels: str = "reference"
    cuda_graphs: bool = False
    overlap: bool = False
    kv_dtype: str = "auto"


@dataclass
class Outputs:
    tokens: list[list[int]]
    kinds: set[str] = field(default_factory=set)
    preemptions: int = 0
    cached_tokens: int = 0
    chunked_prompts: int = 0


def generate(
    decoder: Decoder,
    prompts: list[list[int]],
    max_tokens: int,
    arrangement: Arrangement,
    sampling: SamplingParams | None = None,
) -> Outputs:
    """Submits all prompts at once and steps until all have ended."""
    a = arrangement
    dtype = name_of(decoder.embed.dtype)
    resolved = Resolved(
        dtype=dtype,
        kv_dtype=dtype if a.kv_dtype == "auto" else a.kv_dtype,
        attention=a.attention,
        kernels=a.kernels,
        cuda_graphs=a.cuda_graphs,
        overlap=a.overlap,
        quantization="none",
    )
    kv = allocate_kv(decoder, a.usable_blocks + 1, a.block_size, kv_dtype(resolved))
    config = SchedulerConfig(
        max_num_seqs=a.max_num_seqs,
        max_num_batched_tokens=a.max_num_batched_tokens,
        max_model_len=a.max_model_len,
        chunked_prefill=a.chunked_prefill,
        batching=a.batching,
        policy=a.policy,
    )
    clock = itertools.count()
    kernels = decoder.kernels
    worker = make_worker(resolved, decoder, kv, config, Ranges(), lambda: next(clock))
    pool = BlockPool(a.usable_blocks + 1, a.block_size, a.prefix_caching)
    scheduler = Scheduler(config, pool)
    engine = MonolithicEngine(scheduler, worker, lambda: next(clock), Ranges(), overlap=a.overlap)
    for request_id, prompt in enumerate(prompts):
        tokens = np.array(prompt, np.int32)
        own = sampling or SamplingParams()
        assert engine.submit(Request(request_id, 0, tokens, max_tokens, own)) is None
    outputs = Outputs([[] for _ in prompts])
    chunks: dict[int, int] = {}
    while engine.has_work:
        result = engine.step()
        assert result is not None
        outputs.kinds.add(result.kind)
        for event in result.events:
            if event.kind == "prefill":
                chunks[event.request_id] = chunks.get(event.request_id, 0) + 1
        for record in result.records:
            assert record.status == "ok" and record.output_tokens == max_tokens
            assert record.output_token_ids is not None
            outputs.tokens[record.request_id] = record.output_token_ids.tolist()
            outputs.preemptions += record.preemptions
            outputs.cached_tokens += record.cached_tokens
            outputs.chunked_prompts += chunks[record.request_id] > record.preemptions + 1
    engine.check_integrity()
    decoder.kernels = kernels
    return outputs


def answer_logits(
    decoder: Decoder, prompts: list[list[int]], answers: list[list[int]]
) -> list[torch.Tensor]:
    """Logits at each answered position from one plain forward pass, `[tokens, vocab]` a prompt."""
    sequences = [prompt + answer[:-1] for prompt, answer in zip(prompts, answers, strict=True)]
    logits = paged_logits(decoder, sequences, "whole", block_size=16)
    return [of[len(prompt) - 1 :] for prompt, of in zip(prompts, logits, strict=True)]


def regrets(logits: list[torch.Tensor], answers: list[list[int]]) -> list[float]:
    """For each answer: how far its worst token's logit is below the largest, as a share of the
    largest of all. A greedy answer has next to none."""
    scale = max(of.abs().max().item() for of in logits)
    return [
        (of.amax(dim=1) - of.gather(1, torch.tensor(answer).unsqueeze(1)).squeeze(1)).max().item()
        / scale
        for of, answer in zip(logits, answers, strict=True)
    ]


def divergences(
    logits: list[torch.Tensor], expected: list[list[int]], got: list[list[int]]
) -> list[float]:
    """For each answer that differs: how far apart the two tokens' logits are where it begins to.

    As a share of the largest logit. What comes after the first difference is another text.
    """
    scale = max(of.abs().max().item() for of in logits)
    gaps = []
    for of, ours, theirs in zip(logits, expected, got, strict=True):
        at = next(
            (i for i, pair in enumerate(zip(ours, theirs, strict=True)) if len({*pair}) > 1), None
        )
        if at is not None:
            gaps.append(abs(of[at, ours[at]] - of[at, theirs[at]]).item() / scale)
    return gaps
