"""A table of any number of rows: it holds and draws only those in sight."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.cache import LRUCache
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from workbench.tui.widgets.table_drawing import MARK_WIDTH, draw_header, draw_row, fit
from workbench.tui.widgets.table_layout import TableLayout, last_offset, lay_out, sort_key_beside
from workbench.tui.widgets.table_rows import RowCache
from workbench.tui.widgets.table_source import CELL_STYLES, EmptySource, TableColumn, TableSource

_STRIPS_KEPT = 512


class BigTable(ScrollView, can_focus=True, inherit_bindings=False):
    """A table with a header, a cursor row and a column that sorts.

    Sorting is the owner's: the table shows the sign, posts `SortChanged`, and is given the sorted
    source by `show`. The cursor stays on the row of the same key from one source to the next.
    """

    DEFAULT_CSS = """
    BigTable { overflow-x: hidden; overflow-y: auto; background: $surface; color: $foreground; }
    BigTable > .big-table--header { background: $panel; color: $foreground; text-style: bold; }
    BigTable > .big-table--sorted {
        background: $panel; color: $text-accent; text-style: bold;
    }
    BigTable > .big-table--cursor {
        background: $block-cursor-blurred-background; color: $foreground;
    }
    BigTable:focus > .big-table--cursor {
        background: $block-cursor-background; color: $block-cursor-foreground; text-style: bold;
    }
    BigTable > .big-table--dim { color: $foreground 55%; }
    BigTable > .big-table--strong { text-style: bold; }
    BigTable > .big-table--good { color: $text-success; }
    BigTable > .big-table--warn { color: $text-warning; }
    BigTable > .big-table--bad { color: $text-error; }
    BigTable > .big-table--accent { color: $text-accent; }
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"big-table--{part}" for part in ("header", "sorted", "cursor", *CELL_STYLES)
    }

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Row up", show=False),
        Binding("down", "move(1)", "Row down", show=False),
        Binding("pageup", "move_page(-1)", "Page up", show=False),
        Binding("pagedown", "move_page(1)", "Page down", show=False),
        Binding("home,g", "first", "First row", show=False),
        Binding("end,G", "last", "Last row", show=False),
        Binding("left", "columns(-1)", "Columns to the left", show=False),
        Binding("right", "columns(1)", "Columns to the right", show=False),
        Binding("less_than_sign", "sort_by(-1)", "Sort by the column before", show=False),
        Binding("greater_than_sign", "sort_by(1)", "Sort by the column after", show=False),
        Binding("r", "reverse", "Reverse the order", show=False),
        Binding("enter", "select", "Open", show=False),
    ]

    class TableMessage(Message):
        """From a table."""

        def __init__(self, table: BigTable) -> None:
            super().__init__()
            self.table = table

        @property
        def control(self) -> BigTable:
            """The table."""
            return self.table

    class RowMessage(TableMessage):
        """About a row: `key` names it in every version, `row` is its place in this one."""

        def __init__(self, table: BigTable, key: Hashable, row: int) -> None:
            super().__init__(table)
            self.key = key
            self.row = row

    class Selected(RowMessage):
        """Enter or a double click on a row."""

    class Highlighted(RowMessage):
        """The cursor is on another row, or its row is at another place."""

    class SortChanged(TableMessage):
        """The rows are wanted by `column`, a column's key, downwards if `descending`."""

        def __init__(self, table: BigTable, column: str, descending: bool) -> None:
            super().__init__(table)
            self.column = column
            self.descending = descending

    def __init__(
        self,
        columns: Sequence[TableColumn],
        *,
        sort: str | None = None,
        descending: bool = False,
        marks: bool = False,
        follow: bool = False,
        empty_text: str = "No rows",
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        """`sort` and `descending` say how the first source is sorted; `marks` leaves room for its
        signs; with `follow` a cursor on the last row stays on the last."""
        super().__init__(id=id, classes=classes)
        self._columns = tuple(columns)
        self._sort = sort
        self._descending = descending
        self._marks = marks
        self._follow = follow
        self._empty_text = empty_text
        self._rows = RowCache(EmptySource(), marks)
        self._cursor = 0
        self._offset = 0
        self._strips: LRUCache[int, Strip] = LRUCache(_STRIPS_KEPT)
        self._styles: dict[str, Style] = {}
        self._layout: TableLayout | None = None
        self._laid_out_width = 0

    @property
    def source(self) -> TableSource:
        """What it shows."""
        return self._rows.source

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return self.source.row_count

    @property
    def cursor_row(self) -> int | None:
        """Where the cursor is; None if there are no rows."""
        return self._cursor if self.row_count else None

    @property
    def cursor_key(self) -> Hashable | None:
        """The key of the cursor's row; None if there are no rows."""
        return self.source.key_of(self._cursor) if self.row_count else None

    @property
    def sort(self) -> tuple[str, bool] | None:
        """The key of the column that sorts, and whether downwards."""
        return (self._sort, self._descending) if self._sort is not None else None

    @property
    def empty_text(self) -> str:
        """What it says while it has no rows."""
        return self._empty_text

    @empty_text.setter
    def empty_text(self, text: str) -> None:
        self._empty_text = text
        if not self.row_count:
            self.refresh()

    def show(self, source: TableSource) -> None:
        """Shows another version. The cursor keeps its key and, in sight, its line of the screen.

        If the key is gone, the cursor stays at its place. Lines that show what they showed are
        not drawn again.
        """
        old, old_cursor, old_top = self._rows, self._cursor, self._top
        old_key = self.cursor_key
        in_sight = old_top <= old_cursor < old_top + self._page
        self._rows = RowCache(source, self._marks)
        self._cursor = self._place_of(old_key, old, old_cursor)
        self.virtual_size = Size(self._width, source.row_count + 1)
        if in_sight:
            self._scroll_rows(old_top + self._cursor - old_cursor)
        self._redraw_changed(old, old_top, old_cursor)
        if source.row_count and (self.cursor_key, self._cursor) != (old_key, old_cursor):
            self._post_highlighted()

    def go_to_row(self, row: int) -> None:
        """Puts the cursor on `row`, or on the nearest there is, and brings it into sight."""
        row = max(0, min(row, self.row_count - 1))
        if not self.row_count or row == self._cursor:
            self._bring_into_sight()
            return
        before, self._cursor = self._cursor, row
        self._refresh_row(before)
        self._refresh_row(row)
        self._bring_into_sight()
        self._post_highlighted()

    def go_to_key(self, key: Hashable) -> bool:
        """Puts the cursor on the row of `key`; False if there is none."""
        row = self.source.row_of(key)
        if row is None:
            return False
        self.go_to_row(row)
        return True

    def sort_by(self, column: str, descending: bool) -> None:
        """Asks for the rows by another column, as a key would."""
        self._sort_by(column, descending)

    def action_move(self, rows: int) -> None:
        self.go_to_row(self._cursor + rows)

    def action_move_page(self, pages: int) -> None:
        self._scroll_rows(self._top + pages * self._page)
        self.go_to_row(self._cursor + pages * self._page)

    def action_first(self) -> None:
        self.go_to_row(0)

    def action_last(self) -> None:
        self.go_to_row(self.row_count - 1)

    def action_columns(self, step: int) -> None:
        furthest = last_offset(self._columns, self._width, self._left)
        offset = max(0, min(self._offset + step, furthest))
        if offset != self._offset:
            self._offset = offset
            self._draw_anew()

    def action_sort_by(self, step: int) -> None:
        key = sort_key_beside(self._columns, self._table_layout(), self._sort, step)
        if key is not None:
            self._sort_by(key, self._descending)

    def action_reverse(self) -> None:
        if self._sort is not None:
            self._sort_by(self._sort, not self._descending)

    def action_select(self) -> None:
        if self.row_count:
            self.post_message(self.Selected(self, self.source.key_of(self._cursor), self._cursor))

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if offset.y == 0:
            self._sort_by_click(offset.x)
            return
        row = self._top + offset.y - 1
        if row < self.row_count:
            self.go_to_row(row)
            if event.chain == 2:
                self.action_select()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        column = self._table_layout().column_at(event.x) if event.y == 0 else None
        self.tooltip = self._columns[column].describe or None if column is not None else None

    def on_resize(self) -> None:
        self.virtual_size = Size(self._width, self.row_count + 1)
        self._offset = min(self._offset, last_offset(self._columns, self._width, self._left))
        self._draw_anew()
        self._bring_into_sight()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles.clear()
        self._strips.clear()

    def render_line(self, y: int) -> Strip:
        """One line of the screen: the header, a row, or what it says when it is empty."""
        width = self._width
        if y == 0:
            return self._header(width)
        row = self._top + y - 1
        if row < self.row_count:
            return self._row(row, width)
        if not self.row_count:
            return self._empty_line(y, width)
        return Strip.blank(width, self._style_of(""))

    @property
    def _top(self) -> int:
        return self.scroll_offset.y

    @property
    def _width(self) -> int:
        return self.size.width - self.scrollbar_size_vertical

    @property
    def _page(self) -> int:
        return max(1, self.size.height - 1)

    @property
    def _left(self) -> int:
        return MARK_WIDTH if self._marks else 0

    def _table_layout(self) -> TableLayout:
        # A scrollbar that appears narrows the table without a resize event.
        if self._layout is None or self._laid_out_width != self._width:
            self._strips.clear()
            self._laid_out_width = self._width
            self._layout = lay_out(self._columns, self._width, self._offset, self._left)
        return self._layout

    def _header(self, width: int) -> Strip:
        styles = self._style_of("header"), self._style_of("sorted")
        return draw_header(self._columns, self._table_layout(), width, self.sort, *styles)

    def _row(self, index: int, width: int) -> Strip:
        layout = self._table_layout()
        if index == self._cursor:
            cursor = self.get_component_rich_style("big-table--cursor")
            return draw_row(
                self._rows.row(index), self._columns, layout, width, cursor, lambda _: cursor
            )
        strip = self._strips.get(index)
        if strip is None:
            base = self._style_of("")
            strip = self._strips[index] = draw_row(
                self._rows.row(index), self._columns, layout, width, base, self._style_of
            )
        return strip

    def _empty_line(self, y: int, width: int) -> Strip:
        lines = self._empty_text.splitlines()
        place = y - max(1, (self.size.height - len(lines)) // 2)
        text = lines[place] if 0 <= place < len(lines) else ""
        style = self._style_of("dim")
        return Strip([Segment(fit(text, width, "center"), style)], width)

    def _style_of(self, name: str) -> Style:
        if name not in self._styles:
            self._styles[name] = (
                self.get_component_rich_style(f"big-table--{name}") if name else self.rich_style
            )
        return self._styles[name]

    def _place_of(self, key: Hashable | None, old: RowCache, old_cursor: int) -> int:
        last = max(0, self.row_count - 1)
        if key is None:
            return last if self._follow else 0
        if self._follow and old_cursor == old.source.row_count - 1:
            return last
        found = self.source.row_of(key)
        return found if found is not None else min(old_cursor, last)

    def _redraw_changed(self, old: RowCache, old_top: int, old_cursor: int) -> None:
        kept: LRUCache[int, Strip] = LRUCache(_STRIPS_KEPT)
        for line in range(self._page):
            row, old_row = self._top + line, old_top + line
            exists = row < self.row_count
            same = exists and self._rows.row(row) == old.held(old_row)
            strip = self._strips.get(old_row) if same else None
            if strip is not None:
                kept[row] = strip
            both_gone = not exists and old_row >= old.source.row_count
            cursor_stays = (row == self._cursor) == (old_row == old_cursor)
            if not ((same or (both_gone and self.row_count)) and cursor_stays):
                self._refresh_row(row)
        self._strips = kept

    def _bring_into_sight(self) -> None:
        if self._cursor < self._top:
            self._scroll_rows(self._cursor)
        elif self._cursor >= self._top + self._page:
            self._scroll_rows(self._cursor - self._page + 1)

    def _scroll_rows(self, top: int) -> None:
        self.scroll_to(y=max(0, top), animate=False, force=True)

    def _refresh_row(self, row: int) -> None:
        line = row - self._top + 1
        if 0 < line < self.size.height:
            self.refresh(Region(0, line, self._width, 1))

    def _draw_anew(self) -> None:
        self._layout = None
        self._strips.clear()
        self.refresh()

    def _sort_by_click(self, x: int) -> None:
        index = self._table_layout().column_at(x)
        if index is None or not self._columns[index].sortable:
            return
        key = self._columns[index].key
        self._sort_by(key, not self._descending if key == self._sort else self._descending)

    def _sort_by(self, key: str, descending: bool) -> None:
        self._sort, self._descending = key, descending
        self.refresh(Region(0, 0, self._width, 1))
        self.post_message(self.SortChanged(self, key, descending))

    def _post_highlighted(self) -> None:
        key = self.source.key_of(self._cursor)
        self.post_message(self.Highlighted(self, key, self._cursor))
