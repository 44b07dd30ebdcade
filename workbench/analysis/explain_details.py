"""What else is known of a slow request: a sentence for each thing."""

from __future__ import annotations

from workbench.analysis.baseline import Baseline
from workbench.analysis.metrics import STAGES
from workbench.analysis.quantities import counted, milliseconds, seconds
from workbench.analysis.queue_causes import QUEUE_CAUSES
from workbench.analysis.story import Story

_STALLS = 5
_LOSSES = 5


def details_of(story: Story, baseline: Baseline) -> tuple[str, ...]:
    """The stages beside the run's medians, the queue, the prompt, preemptions, stalls, company."""
    return (
        *_stages(story, baseline),
        *_queue(story),
        *_prompt(story),
        *_losses(story),
        *_stalls(story),
        *_company(story, baseline),
    )


def _stages(story: Story, baseline: Baseline) -> list[str]:
    parts = []
    for stage in STAGES:
        spent_ns, usual_ms = story.stages_ns[stage], baseline.stages_ms.get(stage)
        if not spent_ns:
            continue
        beside = "" if usual_ms is None else f" (median {milliseconds(usual_ms)})"
        parts.append(f"{stage.replace('_', ' ')} {milliseconds(spent_ns / 1e6)}{beside}")
    if not story.told and story.life.admitted_ns is not None:
        parts.append("of a server only what its client saw is known")
    return [f"Stages: {'; '.join(parts)}."] if parts else []


def _queue(story: Story) -> list[str]:
    parts = [
        f"{milliseconds(part.duration_ns / 1e6)} {QUEUE_CAUSES[part.cause]}"
        for part in story.queue_causes
        if part.duration_ns >= 1_000_000
    ]
    return [f"In the queue: {'; '.join(parts)}."] if parts else []


def _prompt(story: Story) -> list[str]:
    if not story.cached_tokens:
        return []
    return [
        f"{story.cached_tokens:,} of {story.prompt_tokens:,} prompt tokens came from the prefix "
        "cache."
    ]


def _losses(story: Story) -> list[str]:
    told = [
        f"Preempted at {seconds(loss.time_ns / 1e9)}: "
        f"{loss.reason or 'no reason was given'}; {counted(loss.tokens, 'token')} lost."
        for loss in story.losses[:_LOSSES]
    ]
    more = len(story.losses) - _LOSSES
    if more > 0:
        told.append(f"Preempted {counted(more, 'more time')}.")
    return told


def _stalls(story: Story) -> list[str]:
    longest = sorted(story.stalls, key=lambda gap: -gap.duration_ns)[:_STALLS]
    told = [
        f"Stall of {milliseconds(gap.duration_ns / 1e6)} at {seconds(gap.start_ns / 1e9)}: "
        f"{gap.why}."
        for gap in longest
    ]
    more = len(story.stalls) - len(longest)
    if more > 0:
        told.append(f"{counted(more, 'more, shorter stall')}.")
    return told


def _company(story: Story, baseline: Baseline) -> list[str]:
    if not story.turns:
        return []
    steps = counted(len(story.turns), "step")
    if not story.companions:
        return [f"It was alone in its {steps}."]
    most = story.companions[0]
    others = len(story.companions)
    told = f"Shared {most.steps:,} of its {steps} with request {most.request_id}"
    if others > 1:
        told = (
            f"Shared its {steps} with {others:,} requests, most with request "
            f"{most.request_id} ({most.steps:,})"
        )
    if story.decode_batch is not None:
        told += f"; it decoded in batches of {story.decode_batch:.1f}"
        if baseline.decode_batch is not None:
            told += f" (the run's median {baseline.decode_batch:.0f})"
    return [told + "."]
