"""What a big table shows: its columns, and a source that is asked for the rows in sight."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

Align = Literal["left", "right", "center"]

CELL_STYLES = ("dim", "strong", "good", "warn", "bad", "accent")
"""What a cell's style can be called beside "": component classes `big-table--NAME` of the table."""


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column: its width in cells, and what it takes of the room that is left over.

    `flex` is its share of that room, 0 none. Where the columns don't fit, those of the highest
    `priority` are hidden first; those of 0 never are, and can be scrolled to. `describe` says in a
    sentence what it holds.
    """

    key: str
    title: str
    width: int
    flex: int = 0
    align: Align = "left"
    priority: int = 0
    sortable: bool = True
    describe: str = ""


class Cell(NamedTuple):
    """A text, and the name of its style: "", one of `CELL_STYLES`, or of a subclass's own.

    A tuple, for it is made and compared by the thousand.
    """

    text: str
    style: str = ""


class TableSource(Protocol):
    """One version of a table's rows; it does not change: another version is another source."""

    @property
    def row_count(self) -> int:
        """How many rows there are."""

    def cells(self, start: int, stop: int) -> Sequence[Sequence[Cell]]:
        """Rows `start` to `stop` (excluded), a cell for each column of the table, in its order."""

    def key_of(self, row: int) -> Hashable:
        """What names the row in every version."""

    def row_of(self, key: Hashable) -> int | None:
        """The row of this name; None if this version has none."""

    def mark_of(self, row: int) -> Cell | None:
        """The sign in front of the row, where the table has marks; None without one."""


class EmptySource:
    """No rows."""

    row_count = 0

    def cells(self, start: int, stop: int) -> Sequence[Sequence[Cell]]:
        return ()

    def key_of(self, row: int) -> Hashable:
        raise IndexError(row)

    def row_of(self, key: Hashable) -> int | None:
        return None

    def mark_of(self, row: int) -> Cell | None:
        return None
