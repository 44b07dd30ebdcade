"""A few rows that are all known, as the source of a big table."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from workbench.tui.widgets.table_source import Cell


@dataclass(frozen=True, slots=True)
class ListRow:
    """A row: what names it, its cells, and the sign in front of it."""

    key: Hashable
    cells: tuple[Cell, ...]
    mark: Cell | None = None


class RowList:
    """A table's source of these rows, in their order."""

    def __init__(self, rows: Sequence[ListRow]) -> None:
        self._rows = tuple(rows)
        self._places = {row.key: place for place, row in enumerate(self._rows)}

    @property
    def row_count(self) -> int:
        return len(self._rows)

    def cells(self, start: int, stop: int) -> Sequence[Sequence[Cell]]:
        return [row.cells for row in self._rows[start:stop]]

    def key_of(self, row: int) -> Hashable:
        return self._rows[row].key

    def row_of(self, key: Hashable) -> int | None:
        return self._places.get(key)

    def mark_of(self, row: int) -> Cell | None:
        return self._rows[row].mark
