"""A monolithic engine built by hand, and the tokens that it gives for a list of prompts."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from paged import paged_logits

from engines.attention.base import AttentionShape
from engines.attention.reference import ReferenceAttention
from engines.compute.worker import TorchWorker, allocate_kv
from engines.models.decoder import Decoder
from engines.monolithic import MonolithicEngine
from engines.scheduling.blocks import BlockPool
from engines.scheduling.config import SchedulerConfig
from engines.scheduling.plan import StepPlan
from engines.scheduling.scheduler import Scheduler
from engines.scheduling.sequence import SequenceTable
from profiles.ranges import Ranges
from workloads.request import Request, SamplingParams


class ListeningWorker(TorchWorker):
    """Keeps what it sampled, by request."""

    tokens: dict[int, list[int]]

    def execute(self, plan: StepPlan, table: SequenceTable) -> npt.NDArray[np.int32]:
        ids = table.request_ids[plan.rows[plan.samples]].tolist()
        sampled = super().execute(plan, table)
        for request_id, token in zip(ids, sampled.tolist(), strict=True):
            self.tokens.setdefault(request_id, []).append(token)
        return sampled


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
    a, c = arrangement, decoder.config
    device, dtype = decoder.embed.device, decoder.embed.dtype
    kv = allocate_kv(decoder, a.usable_blocks + 1, a.block_size)
    shape = AttentionShape(c.num_heads, c.num_kv_heads, c.head_dim, c.sliding_window)
    worker = ListeningWorker(
        decoder, kv, ReferenceAttention(shape, a.block_size, device, dtype), Ranges()
    )
    worker.tokens = {}
    config = SchedulerConfig(
        max_num_seqs=a.max_num_seqs,
        max_num_batched_tokens=a.max_num_batched_tokens,
        max_model_len=a.max_model_len,
        chunked_prefill=a.chunked_prefill,
        batching=a.batching,
        policy=a.policy,
    )
    pool = BlockPool(a.usable_blocks + 1, a.block_size, a.prefix_caching)
    clock = itertools.count()
    engine = MonolithicEngine(Scheduler(config, pool), worker, lambda: next(clock), Ranges())
    for request_id, prompt in enumerate(prompts):
        tokens = np.array(prompt, np.int32)
        own = sampling or SamplingParams()
        assert engine.submit(Request(request_id, 0, tokens, max_tokens, own)) is None
    outputs = Outputs([])
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
            outputs.preemptions += record.preemptions
            outputs.cached_tokens += record.cached_tokens
            outputs.chunked_prompts += chunks[record.request_id] > record.preemptions + 1
    engine.check_integrity()
    outputs.tokens = [worker.tokens[request_id] for request_id in range(len(prompts))]
    return outputs


def answer_logits(
    decoder: Decoder, prompts: list[list[int]], answers: list[list[int]]
) -> list[torch.Tensor]:
    """Logits at each answered position from one plain forward pass, `[tokens, vocab]` a prompt."""
    sequences = [prompt + answer[:-1] for prompt, answer in zip(prompts, answers, strict=True)]
    logits = paged_logits(decoder, sequences, "whole", block_size=16)
    return [of[len(prompt) - 1 :] for prompt, of in zip(prompts, logits, strict=True)]


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
