"""What the time to the first token was spent on, in phrases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workbench.analysis.baseline import Baseline
from workbench.analysis.quantities import counted, milliseconds, number
from workbench.analysis.queue_causes import QueueCause
from workbench.analysis.spans import Span
from workbench.analysis.story import Story

SLOW_PREFILL = 1.3
"""Prefill that takes this many times the run's median per token is said to."""


@dataclass(frozen=True, slots=True)
class TtftCause:
    """A part of TTFT: `own` is its own computing, everything else held it up."""

    duration_ns: int
    phrase: str
    own: bool = False


def ttft_causes(story: Story, baseline: Baseline) -> tuple[TtftCause, ...]:
    """Everything before the first token, the longest first; the parts sum to it."""
    until_ns = story.life.first_token_ns
    spans = [span for span in story.spans if until_ns is None or span.end_ns <= until_ns]
    causes = [_queued(part) for part in story.queue_causes]
    causes += [
        TtftCause(span.duration_ns, _phrase(span, story))
        for span in spans
        if span.kind in ("wait", "server", "transfer", "first_decode")
        or (span.kind == "queue" and not story.queue_causes)
    ]
    pauses = [span for span in spans if span.kind == "prefill_gap"]
    if pauses:
        paused_ns = sum(span.duration_ns for span in pauses)
        why = max(pauses, key=lambda span: span.duration_ns).why
        causes.append(TtftCause(paused_ns, f"its prefill paused for {_ms(paused_ns)} ({why})"))
    prefills = [span for span in spans if span.kind == "prefill"]
    if prefills:
        causes.append(_prefilled(prefills, story, baseline))
    lost = [span for span in spans if span.kind in ("preempted", "recompute")]
    if lost:
        lost_ns = sum(span.duration_ns for span in lost)
        causes.append(TtftCause(lost_ns, _preempted_in_words(lost, story)))
    return tuple(sorted(causes, key=lambda cause: -cause.duration_ns))


def held_up_ns(causes: tuple[TtftCause, ...]) -> int:
    """The part that was not its own computing."""
    return sum(cause.duration_ns for cause in causes if not cause.own)


def _ms(duration_ns: int) -> str:
    return milliseconds(duration_ns / 1e6)


def _phrase(span: Span, story: Story) -> str:
    took = _ms(span.duration_ns)
    if span.kind == "wait":
        return f"waited {took} for the step under way" if story.told else f"was sent after {took}"
    if span.kind == "server":
        return f"the server took {took} to its first token and doesn't tell why"
    if span.kind == "transfer":
        return f"its KV was transferred in {took}"
    if span.kind == "queue":
        return f"queued for {took}"
    return f"waited {took} for its first decode step"


def _queued(part: QueueCause) -> TtftCause:
    took = _ms(part.duration_ns)
    who = None if part.running is None else round(part.running)
    held = "" if not who else f" ({counted(who, 'request')} held them)"
    taken = "" if not who else f" ({counted(who, 'request')} ran)"
    phrase = {
        "blocks": f"waited {took} for KV blocks{held}",
        "seqs": f"queued {took} for a place in the batch{taken}",
        "tokens": f"queued {took} for room in the token budget{taken}",
        "batch": f"queued {took} for the static batch to end{taken}",
        "preempted": f"queued {took} while others were preempted",
        "step": f"queued {took} for the step under way",
    }.get(part.cause, f"queued {took}{taken}")
    return TtftCause(part.duration_ns, phrase)


def _prefilled(prefills: list[Span], story: Story, baseline: Baseline) -> TtftCause:
    took_ns = sum(span.duration_ns for span in prefills)
    chunks = [span for span in prefills if span.step is not None]
    named = {span.step for span in chunks}
    beside = [turn.decode_tokens for turn in story.turns if turn.step in named]
    phrase = f"prefill took {_ms(took_ns)}"
    if len(chunks) > 1:
        phrase += f" in {len(chunks):,} chunks"
    decoding = round(float(np.mean(beside))) if beside else 0
    if decoding:
        phrase += f" beside {counted(decoding, 'decoding request')}"
    tokens = sum(span.tokens for span in chunks)
    usual_ms = baseline.prefill_ms_per_token
    if tokens and usual_ms and took_ns / 1e6 > SLOW_PREFILL * usual_ms * tokens:
        times = number(took_ns / 1e6 / tokens / usual_ms)
        phrase += f", {times} × the run's usual per token"
    return TtftCause(took_ns, phrase, own=True)


def _preempted_in_words(lost: list[Span], story: Story) -> str:
    """ "preempted once, 310 tokens recomputed (220 ms)", of these spans."""
    start_ns, end_ns = lost[0].start_ns, lost[-1].end_ns
    times = sum(start_ns <= loss.time_ns < end_ns for loss in story.losses)
    often = {1: "once", 2: "twice"}.get(times, f"{times:,} times")
    took = _ms(sum(span.duration_ns for span in lost))
    tokens = sum(span.tokens for span in lost if span.kind == "recompute")
    if not tokens:
        return f"preempted {often} ({took} without its KV blocks)"
    return f"preempted {often}, {counted(tokens, 'token')} recomputed ({took})"
