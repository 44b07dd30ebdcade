"""The rows in sight and near it, fetched from a source in blocks; never more than a few hundred."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from textual.cache import LRUCache

from workbench.tui.widgets.table_source import Cell, TableSource

BLOCK_ROWS = 64
_BLOCKS_KEPT = 8


class Row(NamedTuple):
    """What a row shows."""

    cells: Sequence[Cell]
    mark: Cell | None


class RowCache:
    """The rows of one version of a source."""

    def __init__(self, source: TableSource, marks: bool) -> None:
        self.source = source
        self._marks = marks
        self._blocks: LRUCache[int, list[Row]] = LRUCache(_BLOCKS_KEPT)

    def row(self, index: int) -> Row:
        """A row that there is, fetched with its neighbours if need be."""
        block, place = divmod(index, BLOCK_ROWS)
        rows = self._blocks.get(block)
        if rows is None:
            rows = self._blocks[block] = self._fetch(block * BLOCK_ROWS)
        return rows[place]

    def held(self, index: int) -> Row | None:
        """The row if it was fetched before; None otherwise."""
        block, place = divmod(index, BLOCK_ROWS)
        rows = self._blocks.get(block)
        return rows[place] if rows is not None and place < len(rows) else None

    def _fetch(self, start: int) -> list[Row]:
        stop = min(start + BLOCK_ROWS, self.source.row_count)
        cells = self.source.cells(start, stop)
        if not self._marks:
            return [Row(row, None) for row in cells]
        return [
            Row(row, self.source.mark_of(index))
            for index, row in zip(range(start, stop), cells, strict=True)
        ]
