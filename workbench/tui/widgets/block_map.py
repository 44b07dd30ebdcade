"""The KV map: every block of a pool as a pixel, hottest first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workbench.tui.drawing.apportion import apportion
from workbench.tui.drawing.canvas import Canvas, Ink
from workbench.tui.drawing.glyphs import Glyphs, plain
from workbench.tui.widgets.canvas_widget import CanvasWidget
from workbench.tui.widgets.paint import opaque

_CLASSES = 11
_EMPTY = _CLASSES
_SIGNS = "####=-----. "
_MUTED = Ink("$muted")
_SHADES = (
    ("$kv-shared", 0.0),
    ("$kv-shared", 0.15),
    ("$kv-shared", 0.3),
    ("$kv-shared", 0.45),
    ("$kv-live", 0.0),
    ("$kv-cached", 0.0),
    ("$kv-cached", 0.15),
    ("$kv-cached", 0.3),
    ("$kv-cached", 0.45),
    ("$kv-cached", 0.6),
    ("$kv-free", 0.0),
)
"""The colour of each class, and how far it is on its way to that of free blocks."""

Pixels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BlockMapData:
    """The blocks of one pool by how they are used.

    Attributes:
        block_size: tokens of a block; usable: blocks, the null block left out.
        live: blocks by references: ≥ 16, 8–15, 4–7, 2–3, 1.
        cached: blocks that nobody holds, by reuse so far: ≥ 8, 4–7, 2–3, 1, 0.
        free: blocks without content.
        sampled_s: when the pool was looked at, seconds of the run; None where that is not said.
    """

    pool: str
    block_size: int
    usable: int
    live: tuple[int, int, int, int, int]
    cached: tuple[int, int, int, int, int]
    free: int
    sampled_s: float | None = None

    def counts(self) -> tuple[int, ...]:
        """Blocks by class, hottest first."""
        return (*self.live, *self.cached, self.free)

    def totals(self) -> dict[str, int]:
        """Blocks that several requests share, that one holds, that are cached, that are free."""
        return {
            "shared": sum(self.live[:-1]),
            "live": self.live[-1],
            "cached": sum(self.cached),
            "free": self.free,
        }


class BlockMap(CanvasWidget):
    """A legend line, and below it the pool's blocks in reading order, two pixels a cell.

    Where colours or half blocks are missing, a cell is one pixel and a sign tells its class.
    """

    DEFAULT_CSS = "BlockMap { height: 1fr; min-height: 2; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.data: BlockMapData | None = None

    def update(self, data: BlockMapData | None) -> None:
        """Shows other counts, None for an unknown pool; does nothing where they are the same."""
        if data != self.data:
            self.data = data
            self.redraw()

    def draw(self, width: int, height: int, glyphs: Glyphs) -> Canvas:
        """The map on a canvas."""
        colored = bool(glyphs.half) and not self.app.no_color
        inks = [Ink(self._shade(place)) for place in range(_CLASSES)] if colored else None
        return draw_block_map(self.data, width, height, glyphs, inks)

    def _shade(self, place: int) -> str:
        """A class's colour; themes of ANSI colours, which cannot be mixed, have one per kind."""
        name, share = _SHADES[place]
        color, free = opaque(self, name), opaque(self, "$kv-free")
        if not share or color.ansi is not None or free.ansi is not None:
            return name
        return color.blend(free, share).hex


def draw_block_map(
    data: BlockMapData | None, width: int, height: int, glyphs: Glyphs, inks: list[Ink] | None
) -> Canvas:
    """The map, its legend in the first row.

    Args:
        inks: of each class, hottest first, for two painted pixels a cell; None: one sign a cell.
    """
    canvas = Canvas(width, height)
    if data is None:
        canvas.put(0, 0, "no KV blocks reported", _MUTED)
        return canvas
    halves = 2 if inks is not None else 1
    pixels = width * (height - 1) * halves
    total = sum(data.counts())
    if pixels > 0 and total > 0:
        each = max(1, pixels // total)
        classes = np.repeat(_classes(data, min(pixels, total)), each)
        rows = height - 1
        grid = np.full(pixels, _EMPTY)
        grid[: classes.size] = classes
        if inks is not None:
            _paint_halves(canvas, grid.reshape(rows, 2, width), glyphs.half, inks)
        else:
            _put_signs(canvas, grid.reshape(rows, width))
    size = _size(total, pixels, "pixel" if inks is not None else "sign")
    _put_legend(canvas, data, glyphs, size, colored=inks is not None)
    return canvas


def _classes(data: BlockMapData, pixels: int) -> Pixels:
    """The class of each pixel."""
    return np.repeat(np.arange(_CLASSES), apportion(data.counts(), pixels))


def _paint_halves(canvas: Canvas, grid: Pixels, half: str, inks: list[Ink]) -> None:
    """Cells whose upper and lower half are pixels, [rows, 2, columns]."""
    upper, lower = grid[:, 0], grid[:, 1]
    pairs = upper * (_CLASSES + 1) + lower
    painted = np.zeros((_CLASSES + 1) ** 2, np.int16)
    for pair in np.unique(pairs).tolist():
        top, bottom = divmod(pair, _CLASSES + 1)
        if top != _EMPTY:
            ground = None if bottom == _EMPTY else inks[bottom].color
            painted[pair] = canvas.index_of(Ink(inks[top].color, background=ground))
    codes = np.where(upper == _EMPTY, ord(" "), ord(half)).astype(np.uint32)
    canvas.lay(1, 0, codes, painted[pairs])


def _put_signs(canvas: Canvas, grid: Pixels) -> None:
    codes = np.array([ord(sign) for sign in _SIGNS], np.uint32)
    inks = [canvas.index_of(_sign_ink(name)) for name, _ in _SHADES]
    canvas.lay(1, 0, codes[grid], np.array([*inks, 0], np.int16)[grid])


def _sign_ink(name: str) -> Ink:
    """The ink of a class's sign: the colour of free blocks is too near the ground for a sign."""
    return _MUTED if name == "$kv-free" else Ink(name)


def _put_legend(
    canvas: Canvas, data: BlockMapData, glyphs: Glyphs, size: str, colored: bool
) -> None:
    """Pool and time, counts by class, size of a pixel; the fullest form that has room."""
    signs = _legend_signs(glyphs, colored)
    of = f" of {data.usable:,}"
    pool = plain(data.pool, glyphs)
    when = "" if data.sampled_s is None else f"at {data.sampled_s:.1f} s"
    title = f"{pool} {when}".rstrip()
    short = f"{when}  " if when else ""
    for head, named, tail in (
        (f"{title}, {data.block_size} tokens a block  ", True, f"{of}; {size}"),
        (f"{title}  ", True, f"{of}; {size}"),
        (f"{title}  ", True, of),
        (f"{title}  ", True, ""),
        (short, True, ""),
        ("", True, ""),
        (short, False, of),
        (short, False, ""),
    ):
        words = _legend_words(data, signs, head, named, tail)
        if sum(len(text) for text, _ in words) <= canvas.width:
            break
    column = 0
    for text, ink in words:
        column = canvas.put(0, column, text, ink)


def _legend_signs(glyphs: Glyphs, colored: bool) -> list[tuple[str, Ink]]:
    names = ("$kv-shared", "$kv-live", "$kv-cached", "$kv-free")
    if colored:
        return [(glyphs.swatch, Ink(name)) for name in names]
    return [(sign, _sign_ink(name)) for sign, name in zip("#=-.", names, strict=True)]


def _legend_words(
    data: BlockMapData, signs: list[tuple[str, Ink]], head: str, named: bool, tail: str
) -> list[tuple[str, Ink]]:
    words = [(head, Ink(bold=True))]
    for (sign, ink), (name, count) in zip(signs, data.totals().items(), strict=True):
        words.append((sign if len(words) == 1 else f"  {sign}", ink))
        words.append((f" {name} {count:,}" if named else f"{count:,}", Ink()))
    return [*words, (tail, _MUTED)]


def _size(blocks: int, pixels: int, what: str) -> str:
    """How many blocks a pixel stands for, or how many pixels a block has."""
    if pixels <= 0 or not blocks:
        return ""
    if blocks <= pixels:
        each = pixels // blocks
        return f"1 block = {each} {what}" + ("s" if each > 1 else "")
    per_pixel = blocks / pixels
    said = f"{per_pixel:.0f}" if per_pixel >= 9.95 else f"{per_pixel:.2g}"
    return f"1 {what} = {said} blocks"
