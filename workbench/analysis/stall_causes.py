"""Why a gap between two tokens was long: what the steps in it did."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from workbench.analysis.quantities import counted, milliseconds
from workbench.analysis.stalls import stall_above_ns, usual_gap_ns
from workbench.analysis.turns import Loss, StepTable, Turn

CAUSES = {
    "prefill": "others' prompts were computed in its step",
    "skipped": "steps went by without it",
    "host": "the host was busy between steps",
    "batch": "its step held more sequences than usual",
    "slow_step": "its step was slow for its batch",
    "preempted": "it lost its KV blocks",
    "server": "a server doesn't tell",
    "open": "no token has come yet",
}
"""What can have made a gap long; in `DecodeGap.cause` and `Span.cause`."""

_LARGER_BATCH = 1.5

Chunks = dict[int, list[tuple[int, int]]]
"""By step, the prompt chunks that others had in it: (request, tokens)."""


@dataclass(frozen=True, slots=True)
class DecodeGap:
    """The time between two consecutive emissions of a request.

    Attributes:
        tokens: of the later emission; step: the one that brought it, None if that isn't told.
        stalled: longer than `stalls.stall_above_ns` of this request's gaps.
        cause: of `CAUSES`: "preempted" wherever it lost its blocks in it; "prefill" wherever its
            step held others' prompts; else what made a stall long, and "" of a usual gap.
        why: the cause of a stall in words.
        prompts: of a stall by "prefill", whose prompts these were.
        open: no token ended it: the request did, or the moment of the story came first.
        share_skipped_ns, share_host_ns, share_step_ns: inside it, in steps that it had no part
            in, between steps, and in its own step.
    """

    start_ns: int
    end_ns: int
    tokens: int
    step: int | None
    stalled: bool = False
    cause: str = ""
    why: str = ""
    prompts: tuple[int, ...] = ()
    open: bool = False
    share_skipped_ns: int = 0
    share_host_ns: int = 0
    share_step_ns: int = 0

    @property
    def duration_ns(self) -> int:
        return self.end_ns - self.start_ns


def decode_gaps(
    emitted: list[tuple[int, int, int | None]],
    end_ns: int,
    turns: tuple[Turn, ...],
    losses: tuple[Loss, ...],
    steps: StepTable,
    chunks: Chunks,
) -> tuple[DecodeGap, ...]:
    """The gaps between emissions (time_ns, tokens, step), with the causes of the long ones.

    A gap from the last emission to `end_ns` is added as `open`, if that is later.
    """
    if not emitted:
        return ()
    by_step = {turn.step: turn for turn in turns}
    gaps = [
        _parts(DecodeGap(before[0], after[0], after[1], after[2]), by_step, steps)
        for before, after in itertools.pairwise(emitted)
    ]
    lost_ns = [loss.time_ns for loss in losses]
    gaps = [
        replace(gap, cause="preempted")
        if any(gap.start_ns <= at < gap.end_ns for at in lost_ns)
        else gap
        for gap in gaps
    ]
    usual = _Usual.of([gap for gap in gaps if gap.cause != "preempted"], by_step)
    told = [_explained(gap, usual, by_step, chunks) for gap in gaps]
    last_ns = emitted[-1][0]
    if end_ns > last_ns:
        tail = DecodeGap(last_ns, end_ns, 0, None, open=True)
        if any(last_ns <= at for at in lost_ns):
            tail = replace(tail, cause="preempted")
        elif usual.is_stall(tail):
            tail = replace(tail, stalled=True, cause="open", why=CAUSES["open"])
        told.append(tail)
    return tuple(told)


def _parts(gap: DecodeGap, by_step: dict[int, Turn], steps: StepTable) -> DecodeGap:
    """The gap with its time shared out to its own step, to others', and to none."""
    turn = by_step.get(gap.step) if gap.step is not None else None
    if turn is None:
        return gap
    own_ns = gap.end_ns - max(gap.start_ns, turn.start_ns)
    passed = steps.between(gap.start_ns, turn.start_ns)
    begun: npt.NDArray[np.int64] = np.maximum(steps.start_ns[passed], gap.start_ns)
    ended: npt.NDArray[np.int64] = np.minimum(steps.end_ns[passed], turn.start_ns)
    skipped_ns = int((ended - begun).clip(0).sum())
    between_ns = gap.end_ns - gap.start_ns - own_ns - skipped_ns
    return replace(gap, share_skipped_ns=skipped_ns, share_host_ns=between_ns, share_step_ns=own_ns)


@dataclass(frozen=True, slots=True)
class _Usual:
    """What this request's gaps were like: medians over those in which it kept its blocks, ns."""

    gap_ns: float | None
    stall_above_ns: float | None
    host_ns: float
    step_ns: float
    batch: float

    @classmethod
    def of(cls, gaps: list[DecodeGap], by_step: dict[int, Turn]) -> _Usual:
        lengths = np.array([gap.duration_ns for gap in gaps], np.int64)
        batches = [by_step[gap.step].batch for gap in gaps if gap.step in by_step]
        return cls(
            usual_gap_ns(lengths),
            stall_above_ns(lengths),
            _median([gap.share_host_ns for gap in gaps]),
            _median([gap.share_step_ns for gap in gaps]),
            _median(batches),
        )

    def is_stall(self, gap: DecodeGap) -> bool:
        return self.stall_above_ns is not None and gap.duration_ns > self.stall_above_ns


def _median(values: list[int]) -> float:
    return float(np.median(values)) if values else 0.0


def _explained(
    gap: DecodeGap, usual: _Usual, by_step: dict[int, Turn], chunks: Chunks
) -> DecodeGap:
    """The gap with its cause; a stall's is the largest part of its excess over the usual."""
    if gap.cause == "preempted":
        return gap
    turn = by_step.get(gap.step) if gap.step is not None else None
    if turn is None:
        if not usual.is_stall(gap):
            return gap
        why = f"no token for {milliseconds(gap.duration_ns / 1e6)}; the server doesn't tell why"
        return replace(gap, stalled=True, cause="server", why=why)
    in_step = _cause_in_step(turn, usual)
    if not usual.is_stall(gap):
        return replace(gap, cause="prefill" if in_step == "prefill" else "")
    excess = {
        in_step: gap.share_step_ns - usual.step_ns,
        "skipped": float(gap.share_skipped_ns),
        "host": gap.share_host_ns - usual.host_ns,
    }
    cause = max(excess, key=lambda name: excess[name])
    held = chunks.get(turn.step, []) if cause == "prefill" else []
    return replace(
        gap,
        stalled=True,
        cause=cause,
        why=_why(cause, gap, turn, usual, chunks),
        prompts=tuple(request_id for request_id, _ in held),
    )


def _cause_in_step(turn: Turn, usual: _Usual) -> str:
    if turn.prefill_tokens:
        return "prefill"
    return "batch" if turn.batch > _LARGER_BATCH * usual.batch else "slow_step"


def _why(cause: str, gap: DecodeGap, turn: Turn, usual: _Usual, chunks: Chunks) -> str:
    if cause == "skipped":
        took = milliseconds(gap.share_skipped_ns / 1e6)
        return f"steps went by without it for {took}"
    if cause == "host":
        took = milliseconds(gap.share_host_ns / 1e6)
        return f"the host was busy between steps for {took}"
    took = milliseconds((turn.end_ns - turn.start_ns) / 1e6)
    if cause == "prefill":
        held = prompts_in_words(chunks.get(turn.step, []), turn.prefill_tokens)
        return f"step {turn.step} held {held} ({turn.kind} step, {took})"
    if cause == "batch":
        return (
            f"step {turn.step} decoded {counted(turn.batch, 'sequence')}, usually "
            f"{usual.batch:.0f} ({took})"
        )
    times = (turn.end_ns - turn.start_ns) / usual.step_ns if usual.step_ns else 0.0
    return f"step {turn.step} took {took}, {times:.1f} × the usual, with no larger batch"


def prompts_in_words(chunks: list[tuple[int, int]], tokens: int) -> str:
    """ "a 240-token prefill chunk of request 17", or of several."""
    if len(chunks) == 1:
        return f"a {chunks[0][1]:,}-token prefill chunk of request {chunks[0][0]}"
    if not chunks:
        return f"{tokens:,} prompt tokens of others"
    named = [str(request_id) for request_id, _ in chunks[:3]]
    more = len(chunks) - len(named)
    names = (
        f"{', '.join(named)} and {more} more"
        if more
        else " and ".join([", ".join(named[:-1]), named[-1]])
    )
    return f"{sum(tokens for _, tokens in chunks):,} prompt tokens of requests {names}"
