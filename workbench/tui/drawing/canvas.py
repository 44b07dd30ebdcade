"""A grid of characters, each with its ink; what every picture of the app is drawn on."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint32]
Inks = npt.NDArray[np.int16]

_BLANK = ord(" ")


@dataclass(frozen=True, slots=True)
class Ink:
    """How a character is painted: colour names as `paint.color_of` takes them; None: as around."""

    color: str | None = None
    background: str | None = None
    bold: bool = False


PLAIN = Ink()


class Canvas:
    """`height` rows of `width` characters; what comes later lies on top, what is outside is cut."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._inks: dict[Ink, int] = {PLAIN: 0}
        self._codes: Codes = np.full((height, width), _BLANK, dtype=np.uint32)
        self._painted: Inks = np.zeros((height, width), dtype=np.int16)

    def put(self, row: int, column: int, text: str, ink: Ink = PLAIN) -> int:
        """Writes `text` from `column` on; returns the column after it."""
        after = column + len(text)
        if 0 <= row < self.height and column < self.width and after > 0:
            shown = text[max(-column, 0) : self.width - column]
            start = max(column, 0)
            span = slice(start, start + len(shown))
            self._codes[row, span] = _codes_of(shown)
            self._painted[row, span] = self.index_of(ink)
        return after

    def fill(self, rows: slice, columns: slice, sign: str, ink: Ink = PLAIN) -> None:
        """Writes one character into every blank cell of a rectangle (strides allowed)."""
        codes, painted = self._codes[rows, columns], self._painted[rows, columns]
        blank = codes == _BLANK
        codes[blank] = ord(sign)
        painted[blank] = self.index_of(ink)

    def lay(self, row: int, column: int, codes: Codes, painted: Inks) -> None:
        """Lays a grid of characters on top, its blanks transparent.

        Args:
            codes: code points; painted: indices into `inks`; both [rows, columns], and inside.
        """
        area = (slice(row, row + codes.shape[0]), slice(column, column + codes.shape[1]))
        drawn = codes != _BLANK
        np.copyto(self._codes[area], codes, where=drawn)
        np.copyto(self._painted[area], painted, where=drawn)

    def free_run(self, row: int, columns: range, length: int) -> int | None:
        """The first of `columns` from which `length` cells are blank; None without one."""
        blank = self._codes[row, columns.start : columns.stop] == _BLANK
        if length <= 0 or length > blank.size:
            return None
        runs = np.convolve(blank, np.ones(length, dtype=np.int64), "valid")
        found = np.flatnonzero(runs == length)
        return columns.start + int(found[0]) if found.size else None

    def index_of(self, ink: Ink) -> int:
        """The index of an ink, which is added where it is new."""
        return self._inks.setdefault(ink, len(self._inks))

    @property
    def inks(self) -> list[Ink]:
        """The inks by their index."""
        return list(self._inks)

    def rows(self) -> Iterator[list[tuple[str, Ink]]]:
        """Each row as runs of one ink, `width` characters in all; blanks join what is before."""
        inks = self.inks
        painted = self._visible_inks(inks)
        for codes, row in zip(self._codes, painted, strict=True):
            text = codes.tobytes().decode("utf-32-le")
            cuts = (np.flatnonzero(row[1:] != row[:-1]) + 1).tolist()
            starts, ends = [0, *cuts], [*cuts, self.width]
            yield [
                (text[start:end], inks[row[start]])
                for start, end in zip(starts, ends, strict=True)
                if end > start
            ]

    def text(self) -> str:
        """The rows without their inks, spaces at their ends removed."""
        rows = [codes.tobytes().decode("utf-32-le").rstrip() for codes in self._codes]
        return "\n".join(rows)

    def _visible_inks(self, inks: list[Ink]) -> Inks:
        """Inks by cell, where a blank without a background takes over the ink before it."""
        bare = np.array([ink.background is None for ink in inks])
        blank = (self._codes == _BLANK) & bare[self._painted]
        places = np.where(blank, 0, np.arange(self.width))
        source = np.maximum.accumulate(places, axis=1)
        taken = np.take_along_axis(self._painted, source, axis=1)
        visible: Inks = np.where(blank & bare[taken], taken, self._painted)
        return visible


def _codes_of(text: str) -> Codes:
    if not text.isascii():
        text = "".join(sign if _one_cell(sign) else "?" for sign in text)
    elif not text.isprintable():
        text = "".join(sign if sign.isprintable() else " " for sign in text)
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)


def _one_cell(sign: str) -> bool:
    wide = unicodedata.east_asian_width(sign) in "WF"
    return sign.isprintable() and not wide and not unicodedata.combining(sign)
