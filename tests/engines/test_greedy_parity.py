"""The main correctness test: one model, many arrangements, the same tokens."""

from __future__ import annotations

import dataclasses
import pydoc_data.topics
from functools import cache

import numpy as np
import pytest
import torch
from greedy import Arrangement, Outputs, answer_logits, generate

from engines.errors import ModelError
from engines.models.decoder import Decoder
from engines.models.shapes import named_shape
from workloads.request import SamplingParams

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
BASE = Arrangement()
ARRANGEMENTS = {
    "one at a time": dataclasses.replace(BASE, max_num_seqs=1, prefix_caching=False),
    "no prefix cache": dataclasses.replace(BASE, prefix_caching=False),
    "small chunks": dataclasses.replace(BASE, max_num_batched_tokens=24),
    "whole prompts": dataclasses.replace(BASE, chunked_prefill=False),
    "all at once": dataclasses.replace(
        BASE, max_num_seqs=64, max_num_batched_tokens=8192, prefix_caching=False
    ),
    "static batches": dataclasses.replace(BASE, batching="static"),
    "static batches, small chunks, no prefix cache": dataclasses.replace(
        BASE, batching="static", max_num_batched_tokens=24, prefix_caching=False
    ),
    "preempted": dataclasses.replace(BASE, usable_blocks=24),
    "preempted, small chunks, no prefix cache": dataclasses.replace(
        BASE, usable_blocks=24, max_num_batched_tokens=24, prefix_caching=False
    ),
    "preempted, blocks of 1": dataclasses.replace(BASE, usable_blocks=340, block_size=1),
    "preempted, static batches": dataclasses.replace(BASE, usable_blocks=24, batching="static"),
}


@cache
def tiny_decoder() -> Decoder:
    """The `tiny` shape with weights large enough that its tokens vary."""
    decoder = Decoder(named_shape("tiny"), 256, CPU, torch.float32)
    decoder.randomise(seed=0)
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            if not name.endswith("norm"):
                parameter.mul_(8.0)
    return decoder


def tiny_prompts() -> list[list[int]]:
    """64 prompts of 1 to 120 tokens; half begin with one of three stems, two are the same."""
    draw = np.random.default_rng(0)
    stems = [draw.integers(0, 512, length).tolist() for length in (16, 40, 64)]
    prompts = []
    for number in range(63):
        own = draw.integers(0, 512, int(draw.integers(1, 57))).tolist()
        prompts.append((stems[number % 3] if number % 2 else []) + own)
    return [*prompts, prompts[1]]


@cache
def tiny_outputs(name: str) -> Outputs:
    arrangement = BASE if name == "base" else ARRANGEMENTS[name]
    return generate(tiny_decoder(), tiny_prompts(), 24, arrangement)


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_greedy_tokens_are_the_same_in_every_arrangement(name: str) -> None:
    arrangement, outputs = ARRANGEMENTS[name], tiny_outputs(name)
    assert outputs.tokens == tiny_outputs("base").tokens
    # The comparison means something only where the thing under test has happened.
    assert (outputs.preemptions > 0) == name.startswith("preempted")
    assert (outputs.cached_tokens > 0) == arrangement.prefix_caching
    assert ("mixed" in outputs.kinds) == (
        arrangement.batching == "continuous" and arrangement.max_num_seqs in range(2, 64)
    )
    if not arrangement.chunked_prefill:
        assert not outputs.chunked_prompts
    if arrangement.max_num_batched_tokens == 24:
        assert outputs.chunked_prompts > 20


def test_the_tokens_are_worth_comparing() -> None:
    """They vary, and no best logit is so near the second that rounding could swap them."""
    outputs = tiny_outputs("base")
    assert len({tuple(tokens) for tokens in outputs.tokens}) == 63, "two prompts are the same"
    assert len({token for tokens in outputs.tokens for token in tokens}) > 100
    for logits in answer_logits(tiny_decoder(), tiny_prompts(), outputs.tokens):
        best, second = logits.topk(2).values.unbind(1)
        assert (best - second).min() > 3e-5


def test_greedy_tokens_are_the_argmax_of_plain_logits() -> None:
    """Not only the same everywhere but right: one forward pass over prompt and answer agrees."""
    answers = tiny_outputs("base").tokens
    for logits, answer in zip(
        answer_logits(tiny_decoder(), tiny_prompts(), answers), answers, strict=True
    ):
        assert logits.argmax(-1).tolist() == answer


@pytest.mark.parametrize("name", ["one at a time", "small chunks", "preempted", "static batches"])
def test_seeded_sampling_is_the_same_in_every_arrangement(name: str) -> None:
    sampling = SamplingParams(temperature=1.0, top_k=50, top_p=0.95, seed=11)
    prompts = tiny_prompts()[:24]
    tokens = generate(tiny_decoder(), prompts, 12, ARRANGEMENTS[name], sampling).tokens
    assert tokens == generate(tiny_decoder(), prompts, 12, BASE, sampling).tokens
    assert tokens != [answer[:12] for answer in tiny_outputs("base").tokens[:24]]


# -- the real model -----------------------------------------------------------------------------

REAL = Arrangement(max_num_seqs=16, max_num_batched_tokens=512, max_model_len=128)
REAL_ARRANGEMENTS = {
    "one at a time, no prefix cache": dataclasses.replace(
        REAL, max_num_seqs=1, prefix_caching=False
    ),
    "small chunks": dataclasses.replace(REAL, max_num_batched_tokens=48),
    "whole prompts, static batches": dataclasses.replace(
        REAL, chunked_prefill=False, batching="static", prefix_caching=False
    ),
    "preempted": dataclasses.replace(REAL, usable_blocks=90, block_size=4),
}


def real_prompts(ids: list[int]) -> list[list[int]]:
    """64 pieces of 4 to 32 tokens of a text; every second begins with one instruction."""
    instruction, prompts, start = ids[:20], [], 20
    for number in range(64):
        length = 4 + (number * 7) % (13 if number % 2 else 29)
        piece = ids[start : start + length]
        prompts.append(instruction + piece if number % 2 else piece)
        start += length
    return prompts


@pytest.mark.slow
def test_greedy_tokens_of_the_embedded_model_are_the_same_in_every_arrangement() -> None:
    from engines.models.source import resolve_model

    try:
        source = resolve_model("smollm2")
        tokenizer = source.tokenizer()
    except ModelError as error:
        pytest.skip(f"the embedded model is not to be had here: {error}")
    assert tokenizer is not None
    text = " ".join(pydoc_data.topics.topics[name] for name in ("if", "while", "try", "with"))
    prompts = real_prompts(tokenizer.encode(text, add_special_tokens=False).ids)
    assert min(map(len, prompts)) >= 4
    decoder = Decoder(source.config, REAL.max_model_len, CPU, torch.float32)
    decoder.load(source.tensors())
    expected = generate(decoder, prompts, 8, REAL)
    assert expected.cached_tokens > 0
    for name, arrangement in REAL_ARRANGEMENTS.items():
        outputs = generate(decoder, prompts, 8, arrangement)
        assert outputs.tokens == expected.tokens, name
        assert (outputs.preemptions > 0) == (name == "preempted"), name
