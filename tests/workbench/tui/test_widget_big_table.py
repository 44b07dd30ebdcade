"""The big table: the cursor and its key, sorting, columns that don't fit, and what is redrawn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any

import polars as pl
import pytest
from textual.app import App, ComposeResult
from textual.message import Message
from textual.pilot import Pilot

from workbench.tui.widgets.big_table import BigTable
from workbench.tui.widgets.frame_source import FrameColumn, FrameSource
from workbench.tui.widgets.table_layout import lay_out
from workbench.tui.widgets.table_source import Cell, TableColumn

COLUMNS = (
    TableColumn("id", "id", 8, align="right"),
    TableColumn("ttft", "TTFT", 10, align="right"),
    TableColumn("queue", "queue", 10, align="right", priority=2),
    TableColumn("status", "status", 10, priority=1),
    TableColumn("reason", "reason", 12, flex=1, priority=3),
)


class Numbered:
    """Rows named by a list of keys; counts what it is asked for."""

    def __init__(self, keys: Sequence[int], version: str = "a", marked: int | None = None) -> None:
        self.keys = keys
        self.version = version
        self.marked = marked
        self.asked = 0

    @property
    def row_count(self) -> int:
        return len(self.keys)

    def cells(self, start: int, stop: int) -> list[list[Cell]]:
        self.asked += stop - start
        return [
            [
                Cell(f"#{key}"),
                Cell(f"{key * 3} ms", "bad" if key % 2 else ""),
                Cell("–", "dim"),
                Cell(self.version if key == 2 else "ok"),
                Cell("waited\nfor \x1b[31mKV 漢字漢字漢字漢字漢字漢字"),
            ]
            for key in self.keys[start:stop]
        ]

    def key_of(self, row: int) -> Hashable:
        return self.keys[row]

    def row_of(self, key: Hashable) -> int | None:
        return self.keys.index(key) if isinstance(key, int) and key in self.keys else None

    def mark_of(self, row: int) -> Cell | None:
        return Cell("●", "accent") if self.keys[row] == self.marked else None


class TableApp(App[None]):
    def __init__(self, source: Numbered, **options: Any) -> None:
        super().__init__()
        self.first = source
        self.options = options
        self.messages: list[Message] = []

    def compose(self) -> ComposeResult:
        yield BigTable(COLUMNS, **self.options)

    def on_mount(self) -> None:
        self.table.show(self.first)
        self.table.focus()

    @property
    def table(self) -> BigTable:
        return self.query_one(BigTable)

    def on_big_table_selected(self, message: BigTable.Selected) -> None:
        self.messages.append(message)

    def on_big_table_highlighted(self, message: BigTable.Highlighted) -> None:
        self.messages.append(message)

    def on_big_table_sort_changed(self, message: BigTable.SortChanged) -> None:
        self.messages.append(message)


Step = Callable[[TableApp, Pilot[None]], Awaitable[None]]


def drive(
    step: Step, source: Numbered, size: tuple[int, int] = (80, 24), **options: Any
) -> TableApp:
    async def run() -> TableApp:
        app = TableApp(source, **options)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await step(app, pilot)
        return app

    return asyncio.run(run())


def lines(app: TableApp) -> list[str]:
    return [app.table.render_line(y).text for y in range(app.table.size.height)]


def test_only_rows_in_sight_are_fetched_and_keys_reach_both_ends() -> None:
    source = Numbered(range(100_000))

    async def step(app: TableApp, pilot: Pilot[None]) -> None:
        table = app.table
        assert "#0" in lines(app)[1] and "#22" in lines(app)[23]
        await pilot.press("down", "down", "up")
        assert table.cursor_key == 1
        await pilot.press("pagedown")
        assert (table.cursor_key, "#23" in lines(app)[1]) == (24, True)
        await pilot.press("G")
        assert (table.cursor_key, "#99999" in lines(app)[23]) == (99_999, True)
        await pilot.press("pageup", "home")
        assert (table.cursor_key, "#0" in lines(app)[1]) == (0, True)
        await pilot.press("end", "down", "g", "up")
        assert table.cursor_key == 0

    drive(step, source)
    assert source.asked < 1_000


def test_cursor_keeps_its_key_and_its_line_in_another_version() -> None:
    async def step(app: TableApp, pilot: Pilot[None]) -> None:
        table = app.table
        table.go_to_row(50)
        await pilot.pause()
        line = next(y for y, text in enumerate(lines(app)) if "#50" in text)
        table.show(Numbered([1000, 1001, 1002, *range(200)]))
        await pilot.pause()
        assert (table.cursor_key, table.cursor_row) == (50, 53)
        assert "#50" in lines(app)[line]
        table.show(Numbered([key for key in range(200) if key != 50]))
        assert table.cursor_key == 54
        table.show(Numbered([7]))
        await pilot.pause()
        assert (table.cursor_key, "#7" in lines(app)[1]) == (7, True)
        table.show(Numbered([]))
        assert table.cursor_key is None and table.cursor_row is None

    drive(step, Numbered(range(200)))


def test_only_lines_that_changed_are_refreshed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def step(app: TableApp, pilot: Pilot[None]) -> None:
        table = app.table
        redrawn: list[int] = []
        refresh = table.refresh

        def recorded(*regions: Any, **options: Any) -> BigTable:
            redrawn.extend([region.y for region in regions] or [-1])
            return refresh(*regions, **options)

        monkeypatch.setattr(table, "refresh", recorded)
        table.show(Numbered(range(200), version="b"))
        assert redrawn == [3]
        redrawn.clear()
        await pilot.pause()
        await pilot.press("down")
        assert sorted(redrawn) == [1, 2]
        monkeypatch.undo()

    drive(step, Numbered(range(200)))


def test_follow_stays_on_the_last_row_until_the_cursor_leaves_it() -> None:
    async def step(app: TableApp, pilot: Pilot[None]) -> None:
        table = app.table
        await pilot.press("end")
        table.show(Numbered(range(120)))
        await pilot.pause()
        assert table.cursor_key == 119 and "#119" in lines(app)[23]
        await pilot.press("up")
        table.show(Numbered(range(140)))
        assert table.cursor_key == 118

    drive(step, Numbered(range(100)), follow=True)


def test_messages_of_keys_and_mouse() -> None:
    async def step(app: TableApp, pilot: Pilot[None]) -> None:
        app.messages.clear()
        await pilot.press("down", "enter")
        await pilot.click(BigTable, offset=(5, 4), times=2)

    app = drive(step, Numbered([5, 6, 7, 8]))
    told = [(type(message), message.key, message.row) for message in app.messages]  # type: ignore[attr-defined]
    assert told == [
        (BigTable.Highlighted, 6, 1),
        (BigTable.Selected, 6, 1),
        (BigTable.Highlighted, 8, 3),
        (BigTable.Selected, 8, 3),
    ]


def test_sorting_by_keys_and_by_the_header() -> None:
    async def step(app: TableApp, pilot: Pilot[None]) -> None:
        app.messages.clear()
        assert "TTFT▼" in lines(app)[0]
        await pilot.press("greater_than_sign")
        assert "queue▼" in lines(app)[0] and "TTFT▼" not in lines(app)[0]
        await pilot.press("r")
        assert "queue▲" in lines(app)[0]
        await pilot.press("less_than_sign", "less_than_sign")
        await pilot.click(BigTable, offset=(12, 0))
        await pilot.click(BigTable, offset=(12, 0))

    app = drive(step, Numbered(range(10)), sort="ttft", descending=True)
    asked = [(m.column, m.descending) for m in app.messages if isinstance(m, BigTable.SortChanged)]
    assert asked == [
        ("queue", True), ("queue", False), ("ttft", False), ("id", False), ("ttft", False),
        ("ttft", True),
    ]  # fmt: skip


def test_narrow_hides_by_priority_and_arrows_reach_every_column() -> None:
    async def step(app: TableApp, pilot: Pilot[None]) -> None:
        assert lines(app)[0].split() == ["id", "TTFT", "status", "▶"]
        seen = set(lines(app)[0].split())
        for _ in range(5):
            await pilot.press("right")
            titles = lines(app)[0].replace("◀", " ◀ ").split()
            assert titles[:2] == ["id", "◀"]
            seen |= set(titles)
        assert {"queue", "status", "reason"} <= seen
        assert "▶" not in lines(app)[0]
        await pilot.press(*["left"] * 5)
        assert lines(app)[0].split() == ["id", "TTFT", "status", "▶"]
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert lines(app)[0].split() == ["id", "TTFT", "queue", "status", "reason"]

    drive(step, Numbered(range(10)), size=(34, 24))


def test_a_scrollbar_that_appears_narrows_the_columns() -> None:
    async def step(app: TableApp, pilot: Pilot[None]) -> None:
        app.table.show(Numbered(range(3)))
        await pilot.pause()
        assert len(lines(app)[0]) == 34
        app.table.show(Numbered(range(300)))
        await pilot.pause()
        width = app.table.scrollable_content_region.width
        assert {len(line) for line in lines(app)} == {width} and width < 34
        assert lines(app)[0].endswith("▶")

    drive(step, Numbered(range(3)), size=(34, 24))


def test_every_line_is_as_wide_as_the_table() -> None:
    async def step(app: TableApp, pilot: Pilot[None]) -> None:
        for width in (7, 20, 41, 60, 120):
            await pilot.resize_terminal(width, 10)
            await pilot.pause()
            strips = [app.table.render_line(y) for y in range(10)]
            shown = app.table.scrollable_content_region.width
            assert {strip.cell_length for strip in strips} == {shown}
            assert {sum(segment.cell_length for segment in strip) for strip in strips} == {shown}
            assert not any("\x1b" in strip.text or "\n" in strip.text for strip in strips)

    drive(step, Numbered(range(30), marked=3), marks=True)


def test_marks_stand_in_front_and_without_rows_it_says_so() -> None:
    async def step(app: TableApp, pilot: Pilot[None]) -> None:
        assert [text[:2] for text in lines(app)[1:4]] == ["  ", "● ", "  "]
        app.table.show(Numbered([]))
        app.table.empty_text = "No run yet\npress n"
        await pilot.press("down", "end", "enter", "pagedown", "r", "right")
        text = [line.strip() for line in lines(app)]
        assert "No run yet" in text and "press n" in text

    drive(step, Numbered([4, 5, 6], marked=5), marks=True)


def test_leftover_room_goes_to_flexible_columns() -> None:
    placed = lay_out(COLUMNS, 100, 0).columns
    assert [column.width for column in placed] == [8, 10, 10, 10, 58]
    assert lay_out(COLUMNS, 4, 0).columns[0].width == 3


def test_frame_source_formats_and_finds_rows() -> None:
    frame = pl.DataFrame({"request_id": [5, 9, 7], "ttft_ms": [12.0, None, 3.5]})
    source = FrameSource(
        frame,
        (
            FrameColumn("request_id", lambda value: Cell(str(value))),
            FrameColumn("ttft_ms", lambda value: Cell(f"{value:.1f}")),
        ),
        key="request_id",
        mark_of_key=lambda key: Cell("*") if key == 7 else None,
    )
    assert [[cell.text for cell in row] for row in source.cells(0, 2)] == [
        ["5", "12.0"],
        ["9", "–"],
    ]
    assert (source.row_count, source.key_of(2), source.row_of(7), source.row_of(8)) == (
        3,
        7,
        2,
        None,
    )
    assert (source.mark_of(2), source.mark_of(0)) == (Cell("*"), None)
