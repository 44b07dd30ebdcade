"""Dots to characters: braille (2×4 dots a cell), quadrant blocks (2×2) or ASCII marks (1×1)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from workbench.tui.drawing.canvas import Codes, Inks
from workbench.tui.drawing.glyphs import RasterKind

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Bits = npt.NDArray[np.uint8]

DOTS: dict[RasterKind, tuple[int, int]] = {"braille": (2, 4), "block": (2, 2), "ascii": (1, 1)}
"""Dots of a cell, by kind: (across, down)."""

_WEIGHTS: dict[RasterKind, tuple[tuple[int, ...], ...]] = {
    "braille": ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80)),
    "block": ((1, 2), (4, 8)),
    "ascii": ((1,),),
}
_BLOCKS = np.array([ord(sign) for sign in " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"], np.uint32)
_BLANK = np.uint32(ord(" "))
_BRAILLE = np.uint32(0x2800)


class Raster:
    """Dots of several curves over `columns` × `rows` cells; a cell shows the last one's colour.

    Attributes:
        width, height: in dots.
    """

    def __init__(self, columns: int, rows: int, kind: RasterKind) -> None:
        self.kind = kind
        self.columns, self.rows = columns, rows
        self.across, self.down = DOTS[kind]
        self.width, self.height = columns * self.across, rows * self.down
        self._bits: Bits = np.zeros((rows, columns), dtype=np.uint8)
        self._curve: Inks = np.full((rows, columns), -1, dtype=np.int16)

    def spans(self, top: Ints, bottom: Ints, drawn: Mask, curve: int) -> None:
        """Draws one vertical run of dots per dot column, where `drawn`.

        Args:
            top, bottom: first and last dot row, 0 at the top, by dot column.
            curve: the curve's index, 0 or more.
        """
        rows = np.arange(self.height)[:, None]
        self._add((rows >= top) & (rows <= bottom) & drawn, curve)

    def points(self, column: Ints, row: Ints, curve: int) -> None:
        """Draws single dots, given in dots from the left and from the top."""
        dots = np.zeros((self.height, self.width), dtype=np.bool_)
        dots[row, column] = True
        self._add(dots, curve)

    def curves(self) -> Inks:
        """The index of the curve that a cell shows, [rows, columns]; -1 where it is blank."""
        return self._curve

    def codes(self, marks: str) -> Codes:
        """Code points, [rows, columns]; an ASCII raster's from `marks`, by curve."""
        if self.kind == "braille":
            drawn: Codes = np.where(self._bits == 0, _BLANK, self._bits + _BRAILLE)
        elif self.kind == "block":
            drawn = _BLOCKS[self._bits]
        else:
            signs = np.array([ord(mark) for mark in marks] + [ord(" ")], np.uint32)
            drawn = signs[self._curve]
        return drawn

    def _add(self, dots: Mask, curve: int) -> None:
        flags = dots.view(np.uint8)
        bits: Bits = np.zeros_like(self._bits)
        for y, weights in enumerate(_WEIGHTS[self.kind]):
            for x, weight in enumerate(weights):
                bits |= flags[y :: self.down, x :: self.across] * np.uint8(weight)
        self._bits |= bits
        self._curve[bits != 0] = curve
