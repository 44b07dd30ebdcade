"""The requests of a run: sorted, filtered, judged by its limits; Enter tells one's story."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from workbench.tui.data_screen import DataScreen
from workbench.tui.request_columns import TABLE_COLUMNS
from workbench.tui.requests_data import (
    RequestsData,
    RequestsQuestion,
    request_text,
    requests_data,
)
from workbench.tui.widgets.big_table import BigTable
from workbench.tui.widgets.filter_bar import FilterBar
from workbench.tui.widgets.key_footer import KeyFooter
from workbench.tui.widgets.top_bar import TopBar

NOT_OK = "status != ok"
PREEMPTED = "preemptions > 0"


class RequestsScreen(DataScreen):
    """A table of every request that had arrived by the moment that is shown."""

    AUTO_FOCUS = "BigTable"
    CSS = """
    RequestsScreen #counts { height: 1; }
    RequestsScreen BigTable { height: 1fr; }
    RequestsScreen #figures { height: 1; color: $muted; }
    RequestsScreen #nothing { height: 1fr; content-align: center middle; display: none; }
    RequestsScreen.-empty #nothing { display: block; }
    RequestsScreen.-empty BigTable, RequestsScreen.-empty FilterBar,
    RequestsScreen.-empty #counts, RequestsScreen.-empty #figures { display: none; }
    """
    HELP = (
        "Filter: ttft > 500ms and tokens > 200; status != ok or preemptions >= 1; "
        'queue > 0.3 * ttft; id in 3, 10..20; reason contains "KV". Tab takes a suggestion, '
        "up and down go through filters that were used, Esc goes back to the table.\n"
        "< and > choose the column that sorts, r turns the order round; arrows bring further "
        "columns into sight. ✗ marks what is over a limit. * marks a p99 of fewer than 100."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("enter", "open", "Why slow?"),
        Binding("t", "slowest('ttft_ms')", "Slowest TTFT"),
        Binding("o", "slowest('tpot_ms')", "Slowest TPOT"),
        Binding("x", f"only('{NOT_OK}')", "Not ok"),
        Binding("p", f"only('{PREEMPTED}')", "Preempted"),
        Binding("less_than_sign", "sort(-1)", "Sort by the column before", key_display="<",
                show=False),
        Binding("greater_than_sign", "sort(1)", "Sort by the column after", key_display=">",
                show=False),
        Binding("r", "reverse", "Reverse the order", show=False),
        Binding("y", "copy_row", "Copy the row", show=False),
        Binding("Y", "export", "Export as CSV"),
        Binding("space", "toggle_play", "Freeze/play", show=False),
        Binding("escape", "clear", "No filter", show=False),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._filter = ""
        self._sort = ("request_id", False)
        self._shown: RequestsData | None = None
        self._to_top = False

    def compose(self) -> ComposeResult:
        yield TopBar("requests")
        yield Static(id="counts", markup=False)
        yield FilterBar()
        yield BigTable(TABLE_COLUMNS, sort="request_id", empty_text="No request has arrived yet")
        yield Static(id="figures", markup=False)
        yield Static(
            "No run is open. Press 1 to launch one, or 5 to choose one that is there.",
            id="nothing",
            markup=False,
        )
        yield KeyFooter()

    def on_mount(self) -> None:
        """Says what to do where no run is open."""
        self.set_class(self.session is None, "-empty")

    def on_screen_resume(self) -> None:
        """A run may have been opened meanwhile."""
        self.set_class(self.session is None, "-empty")
        super().on_screen_resume()
        if self.session is not None and self.session.request_id is not None:
            self.table.go_to_key(self.session.request_id)

    @property
    def table(self) -> BigTable:
        """The table."""
        return self.query_one(BigTable)

    # -- data -----------------------------------------------------------------------------------

    def question(self) -> RequestsQuestion | None:
        """See `DataScreen`."""
        if self.session is None:
            return None
        following = self.session.playhead.mode == "follow"
        at_ns = None if following else self.session.at_ns
        return RequestsQuestion(at_ns, self._filter, *self._sort)

    def load(self, question: RequestsQuestion) -> RequestsData:
        """See `DataScreen`."""
        assert self.session is not None
        return requests_data(self.session.view, question)

    def show(self, data: RequestsData) -> None:
        """See `DataScreen`."""
        self._shown = data
        self.remove_class("-empty")
        self.table.empty_text = (
            "No request matches; Esc shows all" if data.total else "No request has arrived yet"
        )
        self.table.show(data.source)
        if self._to_top:
            self.table.go_to_row(0)
            self._to_top = False
        if self.session is not None:
            self.session.order = data.order
        self.query_one("#counts", Static).update(self._counts(data))
        figures = data.figures
        while len("   ".join(figures)) > self.size.width:
            figures = figures[:-1]
        self.query_one("#figures", Static).update("   ".join(figures))

    def _counts(self, data: RequestsData) -> Text:
        muted = self.app.theme_variables.get("muted", "")
        found, total = len(data.order), f"{data.total:,}"
        line = Text(no_wrap=True, overflow="ellipsis")
        if self._filter:
            line.append(f"{found:,}", "bold")
            line.append(f" of {total} match {self._filter}", muted)
        else:
            line.append(total, "bold")
            line.append(" request" if data.total == 1 else " requests", muted)
        key, descending = self._sort
        title = next(column.title for column in TABLE_COLUMNS if column.key == key)
        arrow = "▼" if descending else "▲"
        line.append(f"   sorted by {title} {arrow}", muted)
        return line.append("   Enter: why was it slow?", muted)

    # -- actions --------------------------------------------------------------------------------

    def action_filter(self) -> None:
        """Types a filter."""
        self.query_one(FilterBar).field.focus()

    def action_clear(self) -> None:
        """Shows all requests."""
        self.query_one(FilterBar).put("")

    def action_only(self, text: str) -> None:
        """Shows these requests alone; a second time, all."""
        self.query_one(FilterBar).put("" if self._filter == text else text)

    def action_slowest(self, column: str) -> None:
        """The slowest first."""
        self._to_top = True
        self.table.sort_by(column, descending=True)

    def action_sort(self, places: int) -> None:
        """Sorts by another column."""
        self.table.action_sort_by(places)

    def action_reverse(self) -> None:
        """Turns the order round."""
        self.table.action_reverse()

    def action_open(self) -> None:
        """Tells the story of the request at the cursor."""
        self.table.action_select()

    def action_toggle_play(self) -> None:
        """Freezes or follows a living run, plays or pauses an ended one."""
        if self.session is not None:
            self.session.toggle()
            self.ask()

    def action_copy_row(self) -> None:
        """Copies the request at the cursor, with every figure."""
        row = self.table.cursor_row
        if self._shown is not None and row is not None:
            values = self._shown.frame.row(row, named=True)
            self.app.copy(request_text(values), f"request-{values['request_id']}")

    def action_export(self) -> None:
        """Saves the rows that are shown, in their order."""
        if self._shown is not None and self.session is not None:
            self.app.soon(self._export(self._shown))

    async def _export(self, data: RequestsData) -> None:
        assert self.session is not None
        name = f"requests-{self.session.view.content['run_id']}"
        text = await self.app.in_loader(data.frame.write_csv)
        self.app.save(text, name, "csv")

    # -- what widgets tell ----------------------------------------------------------------------

    @on(FilterBar.Changed)
    def _filtered(self, event: FilterBar.Changed) -> None:
        self._filter = event.text
        self.ask()

    @on(FilterBar.Left)
    def _left_filter(self) -> None:
        self.table.focus()

    @on(BigTable.SortChanged)
    def _sorted(self, event: BigTable.SortChanged) -> None:
        self._sort = (event.column, event.descending)
        self.ask()

    @on(BigTable.Selected)
    def _selected(self, event: BigTable.Selected) -> None:
        if isinstance(event.key, int):
            self.app.open_request(event.key)
