"""What an engine's steps computed: the context of every sequence in every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from engines.base import StepResult
from profiles.roofline import StepWork


@dataclass(slots=True)
class _Progress:
    """A request on its way: its tokens, those sampled included, and its open prefill's chunks."""

    tokens: int
    chunks: list[tuple[int, int]] = field(default_factory=list)  # step, new tokens


def works_of(results: Sequence[StepResult], prompt_tokens: Mapping[int, int]) -> list[StepWork]:
    """One `StepWork` for each result, with contexts as they were.

    A prefill ends with the step that samples, and there all tokens of its request are in the
    context; the chunks before it follow backwards. So tokens from the prefix cache, and what is
    computed again after a preemption, need no record of their own. A prefill that was broken off
    is taken to have begun at the first token.

    Args:
        prompt_tokens: of every request, by its id.
    """
    progress = {request_id: _Progress(tokens) for request_id, tokens in prompt_tokens.items()}
    seqs: list[list[tuple[int, int]]] = [[] for _ in results]  # new tokens, context
    for index, result in enumerate(results):
        chunked = set()
        for event in result.events:
            if event.kind == "preempt":
                _close(progress[event.request_id], seqs, from_first_token=True)
            elif event.kind == "prefill":
                chunked.add(event.request_id)
                progress[event.request_id].chunks.append((index, event.tokens))
        for request_id in result.emitted_ids.tolist():
            own = progress[request_id]
            if request_id in chunked:
                _close(own, seqs, from_first_token=False)
            else:
                seqs[index].append((1, own.tokens))
            own.tokens += 1
    for own in progress.values():
        _close(own, seqs, from_first_token=True)
    return [_work(own, result) for own, result in zip(seqs, results, strict=True)]


def _close(own: _Progress, seqs: list[list[tuple[int, int]]], from_first_token: bool) -> None:
    """Gives the open prefill's chunks to their steps."""
    new = sum(tokens for _, tokens in own.chunks)
    context = 0 if from_first_token else own.tokens - new
    for index, tokens in own.chunks:
        context += tokens
        seqs[index].append((tokens, context))
    own.chunks.clear()


def _work(seqs: list[tuple[int, int]], result: StepResult) -> StepWork:
    pairs = np.array(seqs, np.int64).reshape(-1, 2)
    return StepWork(pairs[:, 0], pairs[:, 1], len(result.emitted_ids))
