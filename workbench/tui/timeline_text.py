"""The timeline in words: the span that is shown, what its colours mean, and its figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.analysis.quantities import milliseconds, number, percent
from workbench.tui.drawing.axis import clock
from workbench.tui.drawing.lanes_picture import ASCII_FILLS, FILLS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.viewing.timeline import GpuFigures, SpanFigures, Timeline

_NO_STEPS_TOLD = "A server's steps can't be seen from outside: there is no timeline of them."


def legend(kinds: Sequence[str], ascii_only: bool) -> str:
    """The signs of these kinds of steps and of a host gap, in markup; "" where there is no step."""
    if not kinds:
        return ""
    fills = ASCII_FILLS if ascii_only else FILLS
    signs = [f"[${kind}]{fills[kind]}[/] {kind}" for kind in kinds]
    return "   ".join([*signs, f"[$warn]{'.' if ascii_only else '·'}[/] host gap"])


def span_line(timeline: Timeline, length_ns: int, chosen: int | None) -> str:
    """From when to when, how long that is, how far it is zoomed in, and the selected step."""
    start_s, end_s = timeline.start_ns / 1e9, timeline.end_ns / 1e9
    zoom = length_ns / max(1, timeline.end_ns - timeline.start_ns)
    fine = max(0.001, (end_s - start_s) / 1000)
    parts = [
        f"{clock(start_s, fine)} to {clock(end_s, fine)}",
        milliseconds((end_s - start_s) * 1e3),
        "whole run" if zoom <= 1.001 else f"zoom {number(zoom)}×",
    ]
    if chosen is not None:
        parts.append(f"step {chosen} selected")
    return "  │  ".join(parts)


def figures_lines(figures: SpanFigures, run_steps: int, remote: bool) -> str:
    """The span's figures in at most six lines."""
    if not run_steps:
        return _NO_STEPS_TOLD if remote else "No step has been computed yet."
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in figures.by_kind.items()) or "none"
    lines = [
        f"Steps    {kinds}",
        f"Time     {_shares(figures)}",
        f"Step     p50 {milliseconds(figures.p50_ms)}, p99 {milliseconds(figures.p99_ms)}; "
        f"batch {number(figures.mean_batch)}",
        f"Tokens   {figures.prefill_tokens:,} prefill, {figures.decode_tokens:,} decode",
    ]
    if figures.gpu is not None:
        lines.append(f"GPU      {_on_the_gpu(figures.gpu)}")
    gaps = [f"{gap.after_step}: {milliseconds(gap.duration_ms)}" for gap in figures.gaps[:3]]
    lines.append(f"Gaps     {'after ' + ', '.join(gaps) if gaps else 'no host gap'}")
    return "\n".join(lines)


def _on_the_gpu(gpu: GpuFigures) -> str:
    said = f"busy {percent(gpu.busy_percent)}"
    if gpu.idle_percent is None:
        return said
    p50, p99 = milliseconds(gpu.idle_p50_ms), milliseconds(gpu.idle_p99_ms)
    return f"{said}; idle p50 {p50}, p99 {p99}, {percent(gpu.idle_percent)}"


def _shares(figures: SpanFigures) -> str:
    busy, gap, idle = figures.busy_percent, figures.gap_percent, figures.idle_percent
    return f"{percent(busy)} steps, {percent(gap)} host gaps, {percent(idle)} idle"
