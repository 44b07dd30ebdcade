"""The rows of a waterfall: a request's spans, grouped so that a reader sees what mattered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from workbench.analysis.quantities import counted, milliseconds

if TYPE_CHECKING:
    from workbench.analysis.queue_causes import QueueCause
    from workbench.analysis.spans import Span
    from workbench.analysis.story import Story

MAX_CHUNKS = 12
"""More chunks of one prompt than this share a row."""

MAX_STALLS = 40
"""Of more stalls than this, the longest have a row."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a row's bar; `kind` is a span's."""

    kind: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class WaterfallRow:
    """A row: its name, its bar, how long that lasted, and a remark."""

    label: str
    segments: tuple[Segment, ...]
    duration_ns: int
    remark: str = ""

    @property
    def start_ns(self) -> int:
        return self.segments[0].start_ns

    @property
    def end_ns(self) -> int:
        return self.segments[-1].end_ns


_TITLES = {
    "wait": "wait",
    "queue": "queue",
    "server": "server",
    "prefill_gap": "paused",
    "preempted": "preempted",
    "transfer": "transfer",
    "first_decode": "first decode",
}


def waterfall_rows(story: Story) -> tuple[WaterfallRow, ...]:
    """The rows in order of time: a row a span; many chunks share one; a decode is followed by its
    stalls, those in a row that have one cause being one."""
    rows: list[WaterfallRow] = []
    chunks = sum(span.kind == "prefill" for span in story.spans)
    number = 0
    for group, spans in groupby(story.spans, lambda span: _group(span.kind, chunks)):
        members = list(spans)
        if group == "decode":
            rows += _decode(members, story)
        elif group == "recompute":
            rows.append(_shared("recompute", members))
        elif group == "prefill" and chunks > MAX_CHUNKS:
            rows.append(_shared("prefill", members))
        elif group == "prefill":
            for span in members:
                if span.kind == "prefill":
                    number += 1
                    rows.append(_chunk(span, number, chunks))
                else:
                    rows.append(_single(span, story))
        else:
            rows += [_single(span, story) for span in members]
    return tuple(rows)


def _group(kind: str, chunks: int) -> str:
    if kind in ("decode", "stall"):
        return "decode"
    return "prefill" if kind == "prefill_gap" and chunks else kind


def _segments(spans: Sequence[Span]) -> tuple[Segment, ...]:
    return tuple(Segment(span.kind, span.start_ns, span.end_ns) for span in spans)


def _single(span: Span, story: Story) -> WaterfallRow:
    remark = span.why
    if span.kind == "queue":
        remark = _queue_remark(story.queue_causes)
    elif span.kind == "wait":
        remark = "a step was under way" if story.told else "until it was sent"
    return WaterfallRow(_TITLES[span.kind], _segments([span]), span.duration_ns, remark)


def _queue_remark(causes: Sequence[QueueCause]) -> str:
    names = {
        "seqs": "batch full",
        "tokens": "token budget",
        "blocks": "no KV blocks",
        "batch": "static batch",
        "preempted": "others preempted",
        "step": "step under way",
    }
    told = [
        f"{names[part.cause]} {milliseconds(part.duration_ns / 1e6)}"
        for part in causes
        if part.cause in names and part.duration_ns >= 1_000_000
    ]
    return ", ".join(told)


def _chunk(span: Span, number: int, chunks: int) -> WaterfallRow:
    label = "prefill" if chunks == 1 else f"prefill {number}/{chunks}"
    if span.step is None:
        return WaterfallRow(label, _segments([span]), span.duration_ns, "under way")
    remark = f"{counted(span.tokens, 'token')} in step {span.step}"
    if span.others:
        remark += f", {counted(span.others, 'other')} in it"
    return WaterfallRow(label, _segments([span]), span.duration_ns, remark)


def _shared(title: str, spans: Sequence[Span]) -> WaterfallRow:
    """One row for all chunks of a prompt, or of what is computed again."""
    chunks = [span for span in spans if span.kind == title]
    tokens = sum(span.tokens for span in chunks)
    remark = f"{counted(tokens, 'token')} in {counted(len(chunks), 'chunk')}"
    pauses = len(spans) - len(chunks)
    if pauses:
        remark += f", paused {counted(pauses, 'time')}"
    took_ns = spans[-1].end_ns - spans[0].start_ns
    return WaterfallRow(title, _segments(spans), took_ns, remark)


def _decode(spans: Sequence[Span], story: Story) -> list[WaterfallRow]:
    """The whole decode, then its stalls."""
    tokens = sum(span.tokens for span in spans)
    stalls = [span for span in spans if span.kind == "stall"]
    remark = counted(tokens, "token")
    if stalls:
        remark += f", {counted(len(stalls), 'stall')} (‖)"
    took_ns = spans[-1].end_ns - spans[0].start_ns
    row = WaterfallRow("decode", _segments(spans), took_ns, remark)
    grouped = _stall_rows(spans, story)
    if len(grouped) <= MAX_STALLS:
        return [row, *grouped]
    longest = set(sorted(range(len(grouped)), key=lambda n: -grouped[n].duration_ns)[:MAX_STALLS])
    return [row, *(stall for place, stall in enumerate(grouped) if place in longest)]


def _stall_rows(spans: Sequence[Span], story: Story) -> list[WaterfallRow]:
    """A row for each run of stalls with one cause that nothing interrupts."""
    prompts = {gap.end_ns: gap.prompts for gap in story.stalls}
    rows = []
    for key, run in groupby(
        spans, lambda span: (span.kind, span.cause, prompts.get(span.end_ns, ())[-1:])
    ):
        if key[0] != "stall":
            continue
        members = list(run)
        took_ns = sum(span.duration_ns for span in members)
        if len(members) == 1:
            rows.append(WaterfallRow("  stall", _segments(members), took_ns, members[0].why))
            continue
        longest = max(members, key=lambda span: span.duration_ns)
        why = f"longest {milliseconds(longest.duration_ns / 1e6)}: {longest.why}"
        rows.append(WaterfallRow(f"  stall ×{len(members)}", _segments(members), took_ns, why))
    return rows
