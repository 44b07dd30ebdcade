"""Batch make-up of the last steps: prefill stacked on decode, one column a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workbench.analysis.quantities import counted, milliseconds
from workbench.tui.drawing.canvas import Canvas, Ink
from workbench.tui.drawing.glyphs import Glyphs
from workbench.tui.widgets.canvas_widget import CanvasWidget

Ints = npt.NDArray[np.int64]

_MUTED = Ink("$muted")
_PREFILL, _DECODE = "$prefill", "$decode"
_MIN_HEIGHT_WITH_HEAD = 4


@dataclass(frozen=True, slots=True)
class StepBar:
    """One step: its kind, how many sequences and tokens it computed, how long it took."""

    kind: str
    sequences: int
    prefill_tokens: int
    decode_tokens: int
    duration_ms: float


@dataclass(frozen=True, slots=True)
class StepBarsData:
    """The last steps, oldest first; `budget_tokens`: the most that a step may have, if known."""

    steps: Sequence[StepBar] = ()
    budget_tokens: int | None = None


class StepBars(CanvasWidget):
    """Columns of tokens, the newest step rightmost, as high as the largest that is shown; the last
    step in words below."""

    DEFAULT_CSS = "StepBars { height: 1fr; min-height: 2; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.data = StepBarsData()

    def update(self, data: StepBarsData) -> None:
        """Shows other steps; does nothing where they are the same."""
        if data != self.data:
            self.data = data
            self.redraw()

    def draw(self, width: int, height: int, glyphs: Glyphs) -> Canvas:
        """The columns on a canvas."""
        return draw_step_bars(self.data, width, height, glyphs)


def draw_step_bars(data: StepBarsData, width: int, height: int, glyphs: Glyphs) -> Canvas:
    """Legend (from four rows up), columns, caption (from two rows up)."""
    canvas = Canvas(width, height)
    if not data.steps or width < 1:
        canvas.put(height // 2, 0, "no step yet".center(width), _MUTED)
        return canvas
    shown = data.steps[-width:]
    top = max(step.prefill_tokens + step.decode_tokens for step in shown)
    first = 1 if height >= _MIN_HEIGHT_WITH_HEAD else 0
    rows = height - first - (1 if height > 1 else 0)
    if first:
        _put_head(canvas, data.budget_tokens, top, glyphs)
    if rows > 0 and top > 0:
        _put_columns(canvas, shown, first, rows, top, glyphs)
    if height > 1:
        canvas.put(height - 1, 0, _fitting(_captions(data.steps[-1]), width))
    return canvas


def _put_head(canvas: Canvas, budget: int | None, top: int, glyphs: Glyphs) -> None:
    """What the signs are, and how much the highest column is."""
    column = canvas.put(0, 0, glyphs.fills[0], Ink(_PREFILL))
    column = canvas.put(0, column, " prefill  ")
    column = canvas.put(0, column, glyphs.fills[1], Ink(_DECODE))
    column = canvas.put(0, column, " decode")
    tokens = counted(top, "token")
    share = f"highest = {top:,} of {counted(budget, 'token')}" if budget else f"highest = {tokens}"
    text = _fitting((share, tokens, f"{top:,}", ""), canvas.width - column - 2)
    canvas.put(0, canvas.width - len(text), text, _MUTED)


def _put_columns(
    canvas: Canvas, steps: Sequence[StepBar], first: int, rows: int, top: int, glyphs: Glyphs
) -> None:
    """Fills `rows` rows from row `first`, the newest step in the last column."""
    levels = len(glyphs.levels) if glyphs.half else 1
    least = levels if rows > 1 else 1
    decode = _heights([step.decode_tokens for step in steps], top, rows * levels, least)
    prefill = _heights([step.prefill_tokens for step in steps], top, rows * levels, least)
    total = np.minimum(decode + prefill, rows * levels)
    decode = np.minimum(decode, total - least * (prefill > 0))
    floors = np.arange(rows - 1, -1, -1)[:, None] * levels
    low, high = np.clip(decode - floors, 0, levels), np.clip(total - floors, 0, levels)
    codes, painted = _cells(canvas, low, high, levels, glyphs)
    canvas.lay(first, canvas.width - len(steps), codes, painted)


def _heights(tokens: list[int], top: int, full: int, least: int) -> Ints:
    """Heights in parts of a row; of a step with such tokens it is at least `least`."""
    counts = np.array(tokens, np.int64)
    heights = np.maximum(np.rint(counts * full / top), least)
    return np.where(counts > 0, heights, 0).astype(np.int64)


def _cells(
    canvas: Canvas, low: Ints, high: Ints, levels: int, glyphs: Glyphs
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int16]]:
    """Signs and inks of cells with decode up to `low` and prefill on it up to `high`.

    A cell that both end in shows the larger of them.
    """
    bars = np.array([ord(" "), *(ord(level) for level in glyphs.levels[:levels])], np.uint32)
    prefill_fill, decode_fill = (np.uint32(ord(sign)) for sign in glyphs.fills)
    bars[levels] = prefill_fill
    prefill, decode = canvas.index_of(Ink(_PREFILL)), canvas.index_of(Ink(_DECODE))
    both = canvas.index_of(Ink(_DECODE, background=_PREFILL))
    decode_only = (low == high) | ((high < levels) & (low > high - low))
    on_top = (high == levels) & (low > 0) & ~decode_only
    codes = np.where(on_top, bars[low], bars[high])
    codes = np.where(decode_only & (high == levels), decode_fill, codes)
    inks = np.where(on_top, both, np.where(decode_only & (high > 0), decode, prefill))
    return codes, inks.astype(np.int16)


def _captions(step: StepBar) -> tuple[str, ...]:
    parts = ((step.prefill_tokens, "prefill"), (step.decode_tokens, "decode"))
    tokens = " + ".join(f"{count:,} {name}" for count, name in parts if count) or "0"
    unit = "token" if step.prefill_tokens + step.decode_tokens == 1 else "tokens"
    sequences, took = counted(step.sequences, "sequence"), milliseconds(step.duration_ms)
    return (
        f"{step.kind}: {sequences}, {tokens} {unit}, {took}",
        f"{step.kind}: {sequences}, {tokens}, {took}",
        f"{step.kind}: {tokens}, {took}",
        f"{step.kind}, {took}",
        step.kind,
    )


def _fitting(forms: Sequence[str], width: int) -> str:
    return next((form for form in forms if len(form) <= width), forms[-1])
