"""The signs that pictures are made of: one set for Unicode terminals, one for 7-bit ASCII."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RasterKind = Literal["braille", "block", "ascii"]


@dataclass(frozen=True, slots=True)
class Glyphs:
    """One set of signs; each is one cell wide.

    Attributes:
        raster: what curves are made of: 2×4 dots a cell, 2×2 quadrants a cell, or one mark.
        marks: what the curves of an ASCII raster are made of, and the legend's sign of each curve,
            by its place among the curves.
        point: a single sample; levels: bars from low to high, each an equal step.
        fills: full cells of the first and the second part of a stacked bar.
        half: a cell whose upper half is painted, empty where cells cannot be halved.
        met, missed, no_limit: how a figure stands to its limit.
    """

    raster: RasterKind
    marks: str
    point: str
    levels: str
    fills: str
    half: str
    vertical: str
    horizontal: str
    corner: str
    tick: str
    value_tick: str
    limit: str
    mark: str
    shade: str
    playhead: str
    edge: str
    swatch: str
    above: str
    at_most: str
    ellipsis: str
    minus: str
    met: str
    missed: str
    no_limit: str


UNICODE = Glyphs(
    raster="braille",
    marks="─┄┈",
    point="•",
    levels="▁▂▃▄▅▆▇█",
    fills="█▒",
    half="▀",
    vertical="│",
    horizontal="─",
    corner="└",
    tick="┬",
    value_tick="┤",
    limit="╌",
    mark="┊",
    shade="·",
    playhead="▲",
    edge="▎",
    swatch="■",
    above="↑",
    at_most="≤",
    ellipsis="…",
    minus="–",
    met="✓",
    missed="✗",
    no_limit="·",
)
ASCII = Glyphs(
    raster="ascii",
    marks="*+x%@&",
    point="o",
    levels="_.-=*#",
    fills="#=",
    half="",
    vertical="|",
    horizontal="-",
    corner="+",
    tick="|",
    value_tick="|",
    limit="-",
    mark=":",
    shade=".",
    playhead="^",
    edge="|",
    swatch="",
    above="^",
    at_most="<=",
    ellipsis="~",
    minus="-",
    met="ok",
    missed="OVER",
    no_limit="",
)


def plain(text: str, glyphs: Glyphs) -> str:
    """`text` in the signs of `glyphs`: with ASCII, figures' dashes and degrees become 7-bit."""
    if glyphs.raster != "ascii" or text.isascii():
        return text
    known = text.translate({ord("–"): "-", ord("…"): "~", ord("·"): "-", ord("×"): "x"})
    return known.encode("ascii", "replace").decode("ascii")
