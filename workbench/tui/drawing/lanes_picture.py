"""The timeline on a canvas: a lane for each worker, host gaps, batch, tokens and KV below, one time
axis. Kinds are told by colour and by sign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workbench.analysis.quantities import count, milliseconds, number
from workbench.tui.drawing.axis import clock, time_ticks
from workbench.tui.drawing.canvas import Canvas, Ink
from workbench.tui.drawing.glyphs import Glyphs
from workbench.tui.drawing.lanes_layout import Band, Block, Layout, lanes_layout
from workbench.viewing.lanes import HALVES, STEP_KINDS, Floats, Lane, SeenStep

if TYPE_CHECKING:
    from workbench.viewing.timeline import Timeline

GUTTER = 12
"""Columns left of the plot."""

FILLS = dict(zip(STEP_KINDS, "█▒▓═▚", strict=True))
ASCII_FILLS = dict(zip(STEP_KINDS, "PdMTV", strict=True))
STACK = ("prefill", "mixed", "verify", "transfer", "decode")
"""From the top, where steps can't be told apart."""

_Cell = tuple[str, Ink]
_MUTED, _AXIS, _WARN = Ink("$muted"), Ink("$axis"), Ink("$warn")
_LEFT, _RIGHT = "▌", "▐"
_LEAST_GAP = 0.02


@dataclass(frozen=True, slots=True)
class Chosen:
    """The selected step."""

    step: int
    worker: int
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class LanesData:
    """What the timeline shows: a span, the selected step, the KV blocks of the pool if known."""

    timeline: Timeline
    chosen: Chosen | None = None
    usable_blocks: int | None = None


@dataclass(frozen=True, slots=True)
class _Paint:
    kind: str
    color: str
    shade: str


@dataclass(frozen=True, slots=True)
class _Brush:
    canvas: Canvas
    data: LanesData
    glyphs: Glyphs
    dim: Mapping[str, str]

    @property
    def columns(self) -> int:
        return self.canvas.width - GUTTER

    @property
    def ascii(self) -> bool:
        return self.glyphs.raster == "ascii"

    def label(self, row: int, text: str, ink: Ink = _MUTED) -> None:
        self.canvas.put(row, 0, text[: GUTTER - 1].rjust(GUTTER - 1), ink)


def draw_lanes(
    data: LanesData, width: int, height: int, glyphs: Glyphs, dim: Mapping[str, str]
) -> Canvas:
    """The picture. `dim` has, by a colour's name, its shade: of a kind, of a kind's shade ("decode
    below"), of a bar below its top."""
    canvas = Canvas(width, height)
    brush = _Brush(canvas, data, glyphs, dim)
    if brush.columns < 1 or height < 2:
        return canvas
    layout = lanes_layout(height, len(data.timeline.lanes))
    for lane, block in zip(data.timeline.lanes, layout.lanes, strict=False):
        _put_lane(brush, lane, block)
    if layout.left_out:
        brush.label(layout.left_out_row, "…")
        canvas.put(layout.left_out_row, GUTTER, f"{layout.left_out} more workers", _MUTED)
    _put_bands(brush, layout)
    _put_axis(brush, layout.axis_row)
    return canvas


def _put_lane(brush: _Brush, lane: Lane, block: Block) -> None:
    brush.label(block.rows.start, f"worker {lane.worker}", Ink(bold=True))
    rows = _apart(brush, lane, block) if lane.steps else _stacked(brush, lane, block)
    bound = np.flatnonzero(lane.host_bound).tolist()
    for row, cells in zip(block.rows, rows, strict=True):
        for column in bound:
            if cells[column][0] == " ":
                cells[column] = (brush.glyphs.shade, _WARN)
        codes = np.array([[ord(sign) for sign, _ in cells]], np.uint32)
        inks = np.array([[brush.canvas.index_of(ink) for _, ink in cells]], np.int16)
        brush.canvas.lay(row, GUTTER, codes, inks)
    for seen in lane.steps:
        _put_words(brush, seen, block.rows[(len(block.rows) - 1) // 2])
    if block.busy_row is not None:
        brush.label(block.busy_row, "busy")
        _put_levels(brush, block.busy_row, lane.busy, _MUTED)
    if block.gap_row is not None:
        brush.label(block.gap_row, "host gap")
        _put_levels(brush, block.gap_row, lane.gap, _WARN)


def _apart(brush: _Brush, lane: Lane, block: Block) -> list[list[_Cell]]:
    """Each row's cells, all alike: steps beside each other, in turn dimmed."""
    halves: list[_Paint | None] = [None] * (HALVES * brush.columns)
    for seen in lane.steps:
        paint = _paint(brush, seen)
        halves[seen.begin : seen.end] = [paint] * (seen.end - seen.begin)
    pairs = list(zip(halves[::HALVES], halves[1::HALVES], strict=True))
    signs = {pair: _sign(brush, *pair) for pair in set(pairs)}
    return [[signs[pair] for pair in pairs] for _ in block.rows]


def _stacked(brush: _Brush, lane: Lane, block: Block) -> list[list[_Cell]]:
    """Each row's cells: the kinds above each other by their share of the time in steps."""
    paints = [_Paint(kind, f"${kind}", brush.dim[kind]) for kind in STACK]
    signs = [_sign(brush, paint, paint) for paint in paints]
    spent = lane.by_kind[[STEP_KINDS.index(kind) for kind in STACK]]
    down_to = spent.cumsum(axis=0)
    rows, places = [], np.arange(len(block.rows)) + 0.5
    for middle in places / len(block.rows):
        kinds = (down_to <= middle * down_to[-1]).sum(axis=0).tolist()
        rows.append([signs[kind] if kind < len(signs) else (" ", Ink()) for kind in kinds])
    return rows


def _paint(brush: _Brush, seen: SeenStep) -> _Paint:
    chosen, kind = brush.data.chosen, seen.kind
    if chosen is not None and chosen.step == seen.step:
        return _Paint(kind, "$foreground", brush.dim["foreground"])
    if seen.step % 2:
        return _Paint(kind, brush.dim[kind], brush.dim[f"{kind} below"])
    return _Paint(kind, f"${kind}", brush.dim[kind])


def _sign(brush: _Brush, left: _Paint | None, right: _Paint | None) -> _Cell:
    """What a cell with these two halves shows."""
    one = left or right
    if one is None:
        return " ", Ink()
    if brush.ascii:
        return ASCII_FILLS[one.kind], Ink(one.color)
    if left == right:
        return FILLS[one.kind], Ink(one.color, background=one.shade)
    if left is None:
        return _RIGHT, Ink(one.color)
    return _LEFT, Ink(left.color, background=None if right is None else right.color)


def _put_words(brush: _Brush, seen: SeenStep, row: int) -> None:
    """A step's number, kind and duration, inside it, as far as there is room."""
    start, end = -(-seen.begin // HALVES), seen.end // HALVES
    took = milliseconds(seen.duration_ms)
    for words in (f"{seen.step} {seen.kind} {took}", f"{seen.step} {took}", took, f"{seen.step}"):
        if len(words) + 3 <= end - start:
            ink = Ink("$background", background=_paint(brush, seen).color, bold=True)
            brush.canvas.put(row, GUTTER + start + 1, f" {words} ", ink)
            return


def _put_levels(brush: _Brush, row: int, shares: Floats, ink: Ink) -> None:
    levels = brush.glyphs.levels
    index = np.rint(shares * (len(levels) - 1)).astype(int)
    signs = np.where(shares >= _LEAST_GAP, np.array(list(levels))[index], " ")
    brush.canvas.put(row, GUTTER, "".join(signs.tolist()), ink)


def _put_bands(brush: _Brush, layout: Layout) -> None:
    timeline, usable = brush.data.timeline, brush.data.usable_blocks
    for band in layout.bands:
        if band.name == "KV":
            scaled = 100 / usable if usable else 1.0
            _put_band(brush, band, timeline.live_blocks * scaled, "$kv-live", "%" if usable else "")
        elif band.name == "batch":
            _put_band(brush, band, timeline.batch, "$series-1")
        else:
            _put_band(brush, band, timeline.tokens, "$series-2")


def _put_band(brush: _Brush, band: Band, values: Floats, color: str, unit: str = "") -> None:
    """Bars from 0 to the largest value of the span, which the label names; tops are brighter."""
    known = np.isfinite(values)
    top = float(values[known].max()) if known.any() else 0.0
    said = f"{number(top)}{unit}" if unit else count(top)
    if len(band.name) + len(said) + 2 > GUTTER:
        said = f"{top / 1000:.1f}k"
    brush.label(band.rows.start, f"{band.name} {said}" if known.any() else band.name)
    if top <= 0:
        return
    signs = [" ", *brush.glyphs.levels]
    levels = len(signs) - 1
    full = len(band.rows) * levels
    heights = np.where(known, np.ceil(np.nan_to_num(values) / top * full - 1e-9), 0).astype(int)
    for place, row in enumerate(band.rows):
        floor = (len(band.rows) - 1 - place) * levels
        cells = np.clip(heights - floor, 0, levels)
        below = brush.canvas.index_of(Ink(brush.dim.get(color.removeprefix("$"), color)))
        inks = np.where(heights - floor > levels, below, brush.canvas.index_of(Ink(color)))
        codes = np.array([ord(sign) for sign in signs], np.uint32)[cells]
        brush.canvas.lay(row, GUTTER, codes[None, :], inks[None, :].astype(np.int16))


def _put_axis(brush: _Brush, row: int) -> None:
    canvas, glyphs, timeline = brush.canvas, brush.glyphs, brush.data.timeline
    canvas.put(row, GUTTER - 1, glyphs.corner, _AXIS)
    canvas.put(row, GUTTER, glyphs.horizontal * brush.columns, _AXIS)
    taken = _put_chosen(brush, row)
    for tick in time_ticks(timeline.start_ns / 1e9, timeline.end_ns / 1e9, brush.columns):
        end = tick.column + 1 + len(tick.label)
        if end < taken.start or tick.column >= taken.stop:
            canvas.put(row, GUTTER + tick.column, glyphs.tick, _AXIS)
            canvas.put(row, GUTTER + tick.column + 1, tick.label, _MUTED)


def _put_chosen(brush: _Brush, row: int) -> range:
    """The selected step's number and start on the axis; the columns that this takes."""
    chosen, timeline = brush.data.chosen, brush.data.timeline
    if chosen is None or not timeline.start_ns <= chosen.start_ns < timeline.end_ns:
        return range(0)
    share = (chosen.start_ns - timeline.start_ns) / (timeline.end_ns - timeline.start_ns)
    at = int(share * brush.columns)
    label = f"step {chosen.step} at {clock(chosen.start_ns / 1e9, 0.001)}"
    text = f"{brush.glyphs.playhead}{label} "
    if at + len(text) > brush.columns:
        text, at = f" {label}{brush.glyphs.playhead}", max(0, at - len(label) - 1)
    brush.canvas.put(row, GUTTER + at, text, Ink("$accent", bold=True))
    return range(at, at + len(text))
