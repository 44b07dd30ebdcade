"""A request's life as spans: what it was in at every nanosecond from its arrival to its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workbench.analysis.quantities import counted
from workbench.analysis.stall_causes import DecodeGap
from workbench.analysis.turns import Loss, StepTable, Turn

SpanKind = Literal[
    "wait",
    "queue",
    "server",
    "prefill",
    "prefill_gap",
    "preempted",
    "recompute",
    "transfer",
    "first_decode",
    "decode",
    "stall",
]

STAGE_OF: dict[str, str] = {
    "prefill_gap": "prefill",
    "preempted": "recompute",
    "stall": "decode",
}
"""The stage that a kind of span counts to, where it isn't its own name."""

HOST_GAP_NS = 5_000_000
"""Between two chunks in consecutive steps, a shorter pause is part of the later chunk's span."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a request's life.

    Attributes:
        kind: "wait" until the engine took it in; "queue" until its first step; "prefill" a chunk
            of its prompt; "prefill_gap" between two chunks; "preempted" waiting after it lost its
            blocks; "recompute" a chunk that computes again what was lost; "transfer" of its KV;
            "first_decode" until its first token; "decode"; "stall" a long gap between tokens;
            "server" whatever a remote server did until the first token.
        step: the chunk's; of a stall the step that ended it. None for others.
        tokens: of the chunk, or output tokens that it brought.
        others: other sequences in the chunk's step.
        cause: a word for the why of a stall, gap or preemption (see `stall_causes.CAUSES`).
        why: in words, "" where there is nothing to say.
        open: it goes on at the moment of the story.
    """

    kind: SpanKind
    start_ns: int
    end_ns: int
    step: int | None = None
    tokens: int = 0
    others: int | None = None
    cause: str = ""
    why: str = ""
    open: bool = False

    @property
    def duration_ns(self) -> int:
        return self.end_ns - self.start_ns


@dataclass(frozen=True, slots=True)
class Life:
    """A request's stamps as they are known at the moment of the story, ns; None: not reached.

    `end_ns` is its last token if it ended ok, else when it ended, or that moment.
    """

    scheduled_ns: int
    admitted_ns: int | None
    started_ns: int | None
    prefilled_ns: int | None
    transferred_ns: int | None
    first_token_ns: int | None
    end_ns: int
    in_flight: bool


class _Ribbon:
    """Spans one after the other: each begins where the last ended, so nothing is left out."""

    def __init__(self, start_ns: int, end_ns: int) -> None:
        self.at_ns = start_ns
        self._end_ns = end_ns
        self.spans: list[Span] = []

    def to(
        self,
        kind: SpanKind,
        until_ns: int,
        step: int | None = None,
        tokens: int = 0,
        others: int | None = None,
        cause: str = "",
        why: str = "",
        open: bool = False,
    ) -> None:
        """Goes on to `until_ns` with `kind`; nothing is added where that is no later."""
        until_ns = min(until_ns, self._end_ns)
        if until_ns <= self.at_ns:
            return
        last = self.spans[-1] if self.spans else None
        if kind == "decode" and last is not None and last.kind == "decode":
            self.spans[-1] = Span("decode", last.start_ns, until_ns, None, last.tokens + tokens)
        else:
            span = Span(kind, self.at_ns, until_ns, step, tokens, others, cause, why, open)
            self.spans.append(span)
        self.at_ns = until_ns


def partition(
    life: Life,
    turns: tuple[Turn, ...],
    losses: tuple[Loss, ...],
    recovering: frozenset[int],
    gaps: tuple[DecodeGap, ...],
    steps: StepTable,
    told: bool,
) -> tuple[Span, ...]:
    """The spans of a life, in order, without gap or overlap, from `scheduled_ns` to `end_ns`.

    Args:
        recovering: as `turns.recovering_steps` gives them.
        gaps: between its tokens, with the causes of those that are stalls.
        told: whether the engine tells of its steps; a remote server doesn't.
    """
    ribbon = _Ribbon(life.scheduled_ns, life.end_ns)
    ribbon.to("wait", life.end_ns if life.admitted_ns is None else life.admitted_ns)
    if life.started_ns is not None:
        ribbon.to("queue", life.started_ns)
    elif life.first_token_ns is None and told:
        ribbon.to("queue", life.end_ns, open=life.in_flight)
    if not told:
        ribbon.to("server", life.end_ns if life.first_token_ns is None else life.first_token_ns)
    _until_first_token(ribbon, life, turns, losses, recovering, steps)
    if life.first_token_ns is not None:
        _after_first_token(ribbon, life, turns, losses, recovering, gaps)
        ribbon.to("decode", life.end_ns)
    return tuple(ribbon.spans)


def _until_first_token(
    ribbon: _Ribbon,
    life: Life,
    turns: tuple[Turn, ...],
    losses: tuple[Loss, ...],
    recovering: frozenset[int],
    steps: StepTable,
) -> None:
    """Its chunks, the pauses between them, what preemptions cost, and the way to its token."""
    first_ns = life.first_token_ns
    until_ns = life.end_ns if first_ns is None else first_ns
    chunks = [turn for turn in turns if turn.part == "prefill" and turn.end_ns <= until_ns]
    lost = _Lost([loss for loss in losses if loss.time_ns < until_ns], recovering)
    for chunk in chunks:
        if lost.before(chunk):
            lost.compute_again(ribbon, chunk, "prefill")
            continue
        _pause(ribbon, chunk, steps)
        ribbon.to("prefill", chunk.end_ns, chunk.step, chunk.tokens, chunk.batch - 1)
    if lost.before(None):
        lost.wait_on(ribbon, until_ns, "prefill", life.in_flight)
    if life.prefilled_ns is not None:
        ribbon.to("prefill", life.prefilled_ns)
        if life.transferred_ns is not None:
            ribbon.to("transfer", life.transferred_ns)
        ribbon.to("first_decode", until_ns, open=first_ns is None and life.in_flight)
    else:
        ribbon.to("prefill", until_ns, open=first_ns is None and life.in_flight)


def _pause(ribbon: _Ribbon, chunk: Turn, steps: StepTable) -> None:
    """From the last chunk to the start of this one, if it had to sit out steps or the host."""
    if not ribbon.spans or ribbon.spans[-1].kind not in ("prefill", "recompute"):
        return
    passed = steps.between(ribbon.at_ns, chunk.start_ns)
    skipped = passed.stop - passed.start
    pause_ns = chunk.start_ns - ribbon.at_ns
    if skipped > 0:
        why = f"{counted(skipped, 'step')} went by without it: the token budget went to others"
        ribbon.to("prefill_gap", chunk.start_ns, cause="skipped", why=why)
    elif pause_ns >= HOST_GAP_NS:
        why = f"the host was busy between steps for {pause_ns / 1e6:,.0f} ms"
        ribbon.to("prefill_gap", chunk.start_ns, cause="host", why=why)


class _Lost:
    """Preemptions that are still to be told, and the one whose tokens are being computed again."""

    def __init__(self, losses: list[Loss], recovering: frozenset[int]) -> None:
        self._losses = losses
        self._recovering = recovering
        self._open: Loss | None = None
        self._computing = False

    def before(self, chunk: Turn | None) -> bool:
        """Whether `chunk` (None: the end) comes while tokens are lost."""
        return self._open is not None or self._next_is_before(chunk)

    def _next_is_before(self, chunk: Turn | None) -> bool:
        return bool(self._losses) and (chunk is None or self._losses[0].time_ns < chunk.start_ns)

    def _take(self, ribbon: _Ribbon, chunk: Turn | None, meanwhile: SpanKind) -> None:
        """Begins the preemptions that lie before `chunk`: until then it was in `meanwhile`."""
        while self._next_is_before(chunk):
            loss = self._losses.pop(0)
            if self._open is None:
                ribbon.to(meanwhile, loss.time_ns)
            elif self._computing:
                ribbon.to("recompute", loss.time_ns)
            else:
                ribbon.to("preempted", loss.time_ns, cause="preempted", why=_why_lost(self._open))
            self._open = loss
            self._computing = False

    def compute_again(self, ribbon: _Ribbon, chunk: Turn, meanwhile: SpanKind) -> None:
        self._take(ribbon, chunk, meanwhile)
        assert self._open is not None
        if not self._computing:
            why = _why_lost(self._open)
            ribbon.to("preempted", chunk.start_ns, cause="preempted", why=why)
        self._computing = True
        ribbon.to("recompute", chunk.end_ns, chunk.step, chunk.tokens, chunk.batch - 1)
        if chunk.step in self._recovering:
            self._open = None
            self._computing = False

    def wait_on(self, ribbon: _Ribbon, until_ns: int, meanwhile: SpanKind, in_flight: bool) -> None:
        """It ended, or is, without having got its tokens back."""
        self._take(ribbon, None, meanwhile)
        assert self._open is not None
        if self._computing:
            ribbon.to("recompute", until_ns, open=in_flight)
        else:
            why = _why_lost(self._open)
            ribbon.to("preempted", until_ns, cause="preempted", why=why, open=in_flight)


def _why_lost(loss: Loss) -> str:
    return (
        f"{loss.reason}; lost {counted(loss.tokens, 'token')}"
        if loss.reason
        else "lost its KV blocks"
    )


def _after_first_token(
    ribbon: _Ribbon,
    life: Life,
    turns: tuple[Turn, ...],
    losses: tuple[Loss, ...],
    recovering: frozenset[int],
    gaps: tuple[DecodeGap, ...],
) -> None:
    """Tokens, the stalls between them, and what preemptions cost."""
    chunks = [turn for turn in turns if turn.part == "prefill"]
    for gap in gaps:
        if gap.cause == "preempted":
            inside = [loss for loss in losses if gap.start_ns <= loss.time_ns < gap.end_ns]
            lost = _Lost(inside, recovering)
            for chunk in chunks:
                if gap.start_ns <= chunk.start_ns < gap.end_ns and lost.before(chunk):
                    lost.compute_again(ribbon, chunk, "decode")
            if lost.before(None):
                lost.wait_on(ribbon, gap.end_ns, "decode", gap.open and life.in_flight)
            ribbon.to("decode", gap.end_ns, tokens=gap.tokens)
        elif gap.stalled:
            ribbon.to(
                "stall", gap.end_ns, gap.step, gap.tokens, None, gap.cause, gap.why,
                gap.open and life.in_flight,
            )  # fmt: skip
        else:
            ribbon.to("decode", gap.end_ns, tokens=gap.tokens)


def sum_by_stage(spans: tuple[Span, ...], until_ns: int | None) -> dict[str, int]:
    """Nanoseconds by stage, of the spans that lie before `until_ns` (None: of all)."""
    sums: dict[str, int] = {}
    for span in spans:
        if until_ns is None or span.end_ns <= until_ns:
            stage = STAGE_OF.get(span.kind, span.kind)
            sums[stage] = sums.get(stage, 0) + span.duration_ns
    return sums
