"""What made a request's tokens come more slowly than is usual in its run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from workbench.analysis.baseline import Baseline
from workbench.analysis.quantities import counted, milliseconds
from workbench.analysis.stall_causes import DecodeGap
from workbench.analysis.story import Story


@dataclass(frozen=True, slots=True)
class Excess:
    """A cause's part of the time above the usual, 0 to 1 of all such time.

    `cause` is "preempted", "stall", "prefill", "batch" or "slow_step".
    """

    cause: str
    share: float
    phrase: str


def decode_excess(story: Story, usual_ms: float, baseline: Baseline) -> tuple[Excess, ...]:
    """The causes of gaps longer than `usual_ms` per token, the largest first.

    Only what is above the usual counts; gaps below it make up for nothing. Each gap counts to one
    cause: a preemption in it, else its being a stall, else others' prompts in its step, else its
    batch (as far as steps of that batch take longer in this run), and the rest to slow steps.
    """
    by_step = {turn.step: turn for turn in story.turns}
    excess = {"preempted": 0.0, "stall": 0.0, "prefill": 0.0, "batch": 0.0, "slow_step": 0.0}
    counts = dict.fromkeys(excess, 0)
    for gap in story.gaps:
        above_ms = gap.duration_ns / 1e6 - usual_ms * gap.tokens
        if gap.open or above_ms <= 0:
            continue
        turn = by_step.get(gap.step) if gap.step is not None else None
        expected_ms = None if turn is None else baseline.expected_step_ms(turn.batch)
        cause = "stall" if gap.stalled else gap.cause or "slow_step"
        if cause == "slow_step" and expected_ms is not None:
            batch_ms = min(above_ms, max(0.0, expected_ms - usual_ms * gap.tokens))
            excess["batch"] += batch_ms
            counts["batch"] += batch_ms > 0
            above_ms -= batch_ms
        excess[cause] += above_ms
        counts[cause] += above_ms > 0
    total_ms = sum(excess.values())
    parts = [
        Excess(cause, ms / total_ms, _phrase(cause, counts[cause], story, baseline))
        for cause, ms in excess.items()
        if ms > 0
    ]
    return tuple(sorted(parts, key=lambda part: -part.share))


def _phrase(cause: str, gaps: int, story: Story, baseline: Baseline) -> str:
    if cause == "preempted":
        return _preemptions_in_words(story)
    if cause == "stall":
        return stalls_in_words([gap for gap in story.stalls if not gap.open])
    steps = counted(gaps, "step")
    if cause == "prefill":
        return f"others' prompts in {steps}"
    if cause == "batch":
        usual = baseline.decode_batch
        beside = "" if usual is None else f", the run's median {usual:.0f}"
        return f"larger batches in {steps} (mean {story.decode_batch or 0:.1f}{beside})"
    if story.told:
        slow = "was slow for its batch" if gaps == 1 else "were slow for their batch"
        return f"{steps} that {slow}"
    return counted(gaps, "slower token")


def _preemptions_in_words(story: Story) -> str:
    """ "a preemption that cost 220 ms (310 tokens recomputed)", of those after the first token."""
    first_ns = story.life.first_token_ns or 0
    lost = [
        span
        for span in story.spans
        if span.kind in ("preempted", "recompute") and span.start_ns >= first_ns
    ]
    times = sum(loss.time_ns >= first_ns for loss in story.losses)
    tokens = sum(span.tokens for span in lost if span.kind == "recompute")
    what = "a preemption" if times == 1 else f"{times:,} preemptions"
    took = milliseconds(sum(span.duration_ns for span in lost) / 1e6)
    return f"{what} that cost {took} ({counted(tokens, 'token')} recomputed)"


def stalls_in_words(stalls: list[DecodeGap]) -> str:
    """ "3 stalls, the longest 412 ms when request 17's prompt was prefilled"."""
    longest = max(stalls, key=lambda gap: gap.duration_ns)
    took = milliseconds(longest.duration_ns / 1e6)
    when = _when(longest)
    if len(stalls) == 1:
        return f"a stall of {took}{when}"
    return f"{len(stalls):,} stalls, the longest {took}{when}"


def _when(gap: DecodeGap) -> str:
    if gap.cause == "prefill":
        return f" when {whose_prompts(gap.prompts)} prefilled"
    return {
        "skipped": " when steps went by without it",
        "host": " when the host was busy between steps",
        "batch": " in a step with more sequences",
        "slow_step": " in a slow step",
    }.get(gap.cause, "")


def whose_prompts(prompts: Iterable[int]) -> str:
    """ "request 17's prompt was", or of several."""
    ids = list(prompts)
    if len(ids) == 1:
        return f"request {ids[0]}'s prompt was"
    return f"prompts of {len(ids):,} requests were" if ids else "others' prompts were"
