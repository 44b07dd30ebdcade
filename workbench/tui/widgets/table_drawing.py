"""A row or the header of a big table as one line of styled text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from workbench.tui.drawing.clip import clipped
from workbench.tui.widgets.table_layout import GAP, TableLayout
from workbench.tui.widgets.table_rows import Row
from workbench.tui.widgets.table_source import Align, TableColumn

MARK_WIDTH = 2
"""Cells that the sign in front of a row takes, the gap after it included."""

ASCENDING, DESCENDING = "▲", "▼"


def draw_row(
    row: Row,
    columns: Sequence[TableColumn],
    layout: TableLayout,
    width: int,
    base: Style,
    style_of: Callable[[str], Style],
) -> Strip:
    """The row in `width` cells; `base` fills it, `style_of` says what a style's name means."""
    segments: list[Segment] = []
    pieces: list[str] = []
    style = base
    x = 0
    if row.mark is not None:
        pieces, style = [fit(row.mark.text, MARK_WIDTH - 1, "left")], style_of(row.mark.style)
        x = MARK_WIDTH - 1
    for placed in layout.columns:
        cell = row.cells[placed.index]
        own = style_of(cell.style)
        if own is not style:
            # One segment for a run of cells of the same style: each costs when it is written out.
            segments.append(Segment("".join(pieces), style))
            pieces, style = [], own
        pieces.append(" " * (placed.x - x))
        pieces.append(fit(cell.text, placed.width, columns[placed.index].align))
        x = placed.x + placed.width
    segments.append(Segment("".join(pieces), style))
    return Strip(segments, x).adjust_cell_length(width, base)


def draw_header(
    columns: Sequence[TableColumn],
    layout: TableLayout,
    width: int,
    sort: tuple[str, bool] | None,
    base: Style,
    sorted_style: Style,
) -> Strip:
    """The titles; `sort` is the key of the column that sorts, and whether downwards.

    A sign at an edge tells that there are more columns that way.
    """
    segments = []
    x = 0
    for placed in layout.columns:
        column = columns[placed.index]
        sorts = sort is not None and sort[0] == column.key
        title = column.title
        if sort is not None and sorts:
            title = fit(title, min(placed.width - 1, cell_len(title)), "left")
            title += DESCENDING if sort[1] else ASCENDING
        segments.append(Segment(" " * (placed.x - x), base))
        style = sorted_style if sorts else base
        segments.append(Segment(fit(title, placed.width, column.align), style))
        x = placed.x + placed.width
        if layout.more_left and placed is layout.columns[0]:
            segments.append(Segment("◀", base))
            x += GAP
    line = Strip(segments, x).adjust_cell_length(width, base)
    if layout.more_right:
        line = Strip([*line.crop(0, width - 1), Segment("▶", base)], width)
    return line


def fit(text: str, width: int, align: Align) -> str:
    """`text` in exactly `width` cells, cut or padded; control codes become blanks."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    length = len(text) if text.isascii() else cell_len(text)
    if length > width:
        text = clipped(text, width)
        length = cell_len(text)
    spare = width - length
    before = {"left": 0, "right": spare, "center": spare // 2}[align]
    return " " * before + text + " " * (spare - before)
