"""From what was seen of a request to its record and its emissions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engines.base import RequestRecord
from engines.remote.chunks import count_of
from engines.remote.counting import tokens_by_chunk
from engines.remote.exchange import Exchange
from engines.remote.openai import TokenText
from engines.scheduling.sequence import NOT_REACHED, Status


@dataclass(frozen=True, slots=True)
class Story:
    """A request that has ended.

    Attributes:
        emissions: (stamp, ns; tokens) of what was not given out while it ran.
        tokens_per_chunk: over the whole answer; 0 where that can't be told.
    """

    record: RequestRecord
    emissions: list[tuple[int, int]]
    tokens_per_chunk: float


def story_of(exchange: Exchange, text: TokenText, keep_answer: bool) -> Story:
    """What an ended exchange comes to. Tokenises where the server did not count."""
    request, usage = exchange.request, exchange.usage

    def split(texts: list[str], total: int | None) -> list[int]:
        return tokens_by_chunk(texts, total, lambda part: len(text.encode(part)))

    stamps, counts = exchange.tokens_by_chunk(split)
    held = counts.copy()
    for index, emitted in enumerate(exchange.emitted[: len(held)]):
        held[index] -= emitted
    emissions = [(stamp, tokens) for stamp, tokens in zip(stamps, held, strict=True) if tokens > 0]
    output_tokens = sum(counts)
    reason = exchange.reason
    if exchange.status is not Status.OK and stamps:
        reason += f", after {output_tokens} token{'' if output_tokens == 1 else 's'}"
    first_ns = stamps[0] if stamps else NOT_REACHED
    cached = count_of(usage, "prompt_tokens_details", "cached_tokens")
    if cached is None:
        cached = count_of(exchange.timing, "cache_n")
    prompt_tokens = count_of(usage, "prompt_tokens")
    answer = None
    if keep_answer:
        answer = np.array(text.encode("".join(exchange.texts)), np.int32)
    record = RequestRecord(
        request_id=request.request_id,
        status=str(exchange.status),
        reason=reason,
        scheduled_ns=request.scheduled_ns,
        admitted_ns=exchange.admitted_ns,
        started_ns=_started_ns(exchange.timing, exchange.admitted_ns, first_ns),
        prefilled_ns=NOT_REACHED,
        transferred_ns=NOT_REACHED,
        first_token_ns=first_ns,
        last_token_ns=stamps[-1] if stamps else NOT_REACHED,
        finished_ns=exchange.finished_ns,
        prompt_tokens=request.prompt_tokens if prompt_tokens is None else prompt_tokens,
        max_tokens=request.max_tokens,
        output_tokens=output_tokens,
        first_tokens=_first_tokens(stamps, counts),
        cached_tokens=cached or 0,
        preemptions=0,
        recomputed_tokens=0,
        recompute_ns=0,
        ttft_recompute_ns=0,
        priority=request.priority,
        fitted=request.fitted,
        session_id=request.session_id,
        turn=request.turn,
        output_token_ids=answer,
    )
    told = exchange.status is Status.OK and bool(stamps) and usage is not None
    return Story(record, emissions, output_tokens / len(stamps) if told else 0.0)


def _first_tokens(stamps: list[int], counts: list[int]) -> int:
    """Tokens of the first emission: of all chunks whose bytes came together."""
    together = zip(stamps, counts, strict=True)
    return sum(tokens for stamp, tokens in together if stamp == stamps[0])


def _started_ns(timing: dict[str, Any] | None, admitted_ns: int, first_ns: int) -> int:
    """When the server began to compute, as far as it tells, ns since the run's start.

    vLLM's metrics tell the time in the queue, in seconds, or two stamps of its own clock whose
    difference it is; llama.cpp's timings tell how long the prompt took, in ms.
    """
    if timing is None or NOT_REACHED in (admitted_ns, first_ns):
        return NOT_REACHED

    def number(*names: str) -> float | None:
        for name in names:
            value = timing.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return float(value)
        return None

    queued_s = number("time_in_queue", "queue_time", "queued_time")
    arrived_s, scheduled_s = number("arrival_time"), number("first_scheduled_time")
    prompt_ms = number("prompt_ms")
    if queued_s is None and arrived_s is not None and scheduled_s is not None:
        queued_s = scheduled_s - arrived_s
    if queued_s is not None:
        started_ns = admitted_ns + int(max(0.0, queued_s) * 1e9)
    elif prompt_ms is not None:
        started_ns = first_ns - int(max(0.0, prompt_ms) * 1e6)
    else:
        return NOT_REACHED
    return min(max(started_ns, admitted_ns), first_ns)
