"""A polars frame as the rows of a big table, with a formatter for each column."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.tui.widgets.table_source import Cell

if TYPE_CHECKING:
    import polars as pl

UNDEFINED = Cell("–", "dim")
"""How null is shown."""


@dataclass(frozen=True, slots=True)
class FrameColumn:
    """A column of the frame, and how a value of it, never null, becomes a cell."""

    name: str
    format: Callable[[Any], Cell]


class FrameSource:
    """The rows of `frame`, in its order; `columns` in the order of the table's.

    `key` is the column that names a row, of integers or text; `mark_of_key` gives the sign in
    front of a row, if any.
    """

    def __init__(
        self,
        frame: pl.DataFrame,
        columns: Sequence[FrameColumn],
        key: str,
        mark_of_key: Callable[[Hashable], Cell | None] | None = None,
    ) -> None:
        self._frame = frame
        self._columns = tuple(columns)
        self._keys = frame[key]
        self._mark_of_key = mark_of_key

    @property
    def row_count(self) -> int:
        return self._frame.height

    def cells(self, start: int, stop: int) -> Sequence[Sequence[Cell]]:
        formatted = [
            [
                UNDEFINED if value is None else column.format(value)
                for value in self._frame[column.name][start:stop].to_list()
            ]
            for column in self._columns
        ]
        return list(zip(*formatted, strict=True))

    def key_of(self, row: int) -> Hashable:
        key: Hashable = self._keys[row]
        return key

    def row_of(self, key: Hashable) -> int | None:
        if not isinstance(key, (int, str)):
            return None
        return self._keys.index_of(key)

    def mark_of(self, row: int) -> Cell | None:
        return self._mark_of_key(self.key_of(row)) if self._mark_of_key else None
