"""Which columns of a table stand where: what fits, what is hidden, who gets the leftover room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.tui.widgets.table_source import TableColumn

GAP = 1
"""Empty cells between two columns."""

EDGE = 1
"""Cells at the right edge for the sign that there are more columns."""


@dataclass(frozen=True, slots=True)
class PlacedColumn:
    """A column in sight: its place among the table's columns, its first cell and its width."""

    index: int
    x: int
    width: int


@dataclass(frozen=True, slots=True)
class TableLayout:
    """The columns in sight, and whether there are more to the left and to the right."""

    columns: tuple[PlacedColumn, ...]
    more_left: bool
    more_right: bool

    def column_at(self, x: int) -> int | None:
        """The index of the column at cell `x`; None where there is none."""
        for placed in self.columns:
            if placed.x <= x < placed.x + placed.width + GAP:
                return placed.index
        return None


def lay_out(columns: Sequence[TableColumn], width: int, offset: int, left: int = 0) -> TableLayout:
    """The columns that `width` cells show, beginning at cell `left`.

    At offset 0 these are the ones that matter most: the highest priorities are hidden until the
    rest fits. At offset n they are the first column and those after the n-th, in order, whatever
    their priority, so that every column can be reached.
    """
    room = width - left
    if _needed(columns, range(len(columns))) > room:
        room -= EDGE
    if offset == 0:
        indices = _essential(columns, room)
    else:
        indices = [0, *range(1 + offset, len(columns))]
    fitting = _fitting(columns, indices, room)
    more_right = bool(fitting) and (
        fitting[-1] < len(columns) - 1 if offset else len(fitting) < len(columns)
    )
    return TableLayout(tuple(_place(columns, fitting, room, left)), offset > 0, more_right)


def last_offset(columns: Sequence[TableColumn], width: int, left: int = 0) -> int:
    """The smallest offset at which the last column is in sight; 0 if all fit."""
    room = width - left
    if _needed(columns, range(len(columns))) <= room:
        return 0
    room -= EDGE
    for offset in range(1, len(columns) - 1):
        if _needed(columns, [0, *range(1 + offset, len(columns))]) <= room:
            return offset
    return max(0, len(columns) - 2)


def sort_key_beside(
    columns: Sequence[TableColumn], layout: TableLayout, current: str | None, step: int
) -> str | None:
    """The key of the sortable column in sight `step` places from the one that sorts, in a ring.

    None if no column in sight can sort.
    """
    in_sight = [columns[placed.index] for placed in layout.columns]
    keys = [column.key for column in in_sight if column.sortable]
    if not keys:
        return None
    if current in keys:
        return keys[(keys.index(current) + step) % len(keys)]
    return keys[0 if step > 0 else -1]


def _needed(columns: Sequence[TableColumn], indices: Sequence[int]) -> int:
    return sum(columns[index].width for index in indices) + GAP * max(0, len(indices) - 1)


def _essential(columns: Sequence[TableColumn], room: int) -> list[int]:
    indices = list(range(len(columns)))
    while _needed(columns, indices) > room:
        hidden = max(reversed(indices), key=lambda index: columns[index].priority)
        if columns[hidden].priority == 0:
            break
        indices.remove(hidden)
    return indices


def _fitting(columns: Sequence[TableColumn], indices: Sequence[int], room: int) -> list[int]:
    """As many as fit whole, but for the first, which is cut if it must be."""
    fitting = list(indices[:1])
    for index in indices[1:]:
        if _needed(columns, [*fitting, index]) > room:
            break
        fitting.append(index)
    return fitting


def _place(
    columns: Sequence[TableColumn], indices: Sequence[int], room: int, left: int
) -> list[PlacedColumn]:
    spare = max(0, room - _needed(columns, indices))
    shares = sum(columns[index].flex for index in indices)
    placed, x = [], left
    for index in indices:
        column = columns[index]
        extra = spare * column.flex // shares if shares else 0
        spare, shares = spare - extra, shares - column.flex
        width = max(1, min(column.width + extra, room))
        placed.append(PlacedColumn(index, x, width))
        x += width + GAP
    return placed
