"""The compare screen: the marked runs side by side: their figures and whether they differ, why, as
curves, and by their front."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import ContentSwitcher, Static

from workbench.errors import USER_ERRORS
from workbench.tui.compare_data import (
    DISTRIBUTIONS,
    OVERLAID,
    CompareData,
    CompareLoader,
    CompareQuestion,
)
from workbench.tui.compare_head import notes_text, settings_text, sides_line
from workbench.tui.compare_table import columns_of, rows_of
from workbench.tui.compare_why import why_text
from workbench.tui.data_screen import DataScreen
from workbench.tui.screens.dialogs import ChoiceDialog
from workbench.tui.widgets.big_table import BigTable
from workbench.tui.widgets.key_footer import KeyFooter
from workbench.tui.widgets.line_chart import LineChart
from workbench.tui.widgets.scatter import Scatter
from workbench.tui.widgets.table_source import TableColumn
from workbench.tui.widgets.top_bar import TopBar

if TYPE_CHECKING:
    from workbench.comparison.comparison import Comparison

PAGES = ("table", "why", "charts", "distributions", "front")
_TITLES = {
    "table": "figures",
    "why": "why they differ",
    "charts": "over time",
    "distributions": "share of requests within so many seconds",
    "front": "throughput against latency",
}
_WORKING = "reading and comparing the marked runs …"
_EVERY_NS = 2_000_000_000
_MOST_SETTINGS, _FEWEST_SETTINGS = 6, 2
_NOTE_LINES, _SHORT_NOTE_LINES, _LEAST_NOTE_LINES = 5, 4, 2
_TALL = 36
_FORMATS = {
    "md": ("md", "Markdown: the headlines, why, every figure"),
    "html": ("html", "HTML: one file with charts, for a browser"),
    "csv": ("csv", "CSV: a line for each metric and side, unrounded"),
    "json": ("json", "JSON: everything, unrounded"),
    "parquet": ("parquet", "Parquet: a row for each metric and side, unrounded"),
    "latex": ("tex", "LaTeX: two tables"),
    "table": ("txt", "Text: the table of workbench compare"),
}
"""What a format's files end in, and what is in them."""


class CompareScreen(DataScreen):
    """Two or more marked runs, or repeated ones as a side each; the first is the baseline."""

    needs_run = False

    CSS = """
    CompareScreen #runs-line { height: auto; max-height: 3; }
    CompareScreen #notes { height: auto; max-height: 5; }
    CompareScreen #settings { height: auto; max-height: 8; color: $muted; }
    CompareScreen ContentSwitcher { height: 1fr; }
    CompareScreen BigTable { height: 1fr; }
    CompareScreen #charts, CompareScreen #distributions { height: 1fr; }
    CompareScreen #why { height: 1fr; background: $surface; scrollbar-size-vertical: 1; }
    CompareScreen #nothing { height: 1fr; content-align: center middle; display: none; }
    CompareScreen.-empty #nothing { display: block; }
    CompareScreen.-empty ContentSwitcher, CompareScreen.-empty #settings,
    CompareScreen.-empty #notes, CompareScreen.-empty #runs-line { display: none; }
    """
    HELP = (
        "Mark runs on the Runs screen with Space; they are compared here as `workbench compare` "
        "does it. Repeated runs (run --repeat) are one side. Changes and verdicts are against the "
        "baseline: ✓ better, ✗ worse, · no evidence of a difference, ? too noisy to tell. "
        "They are corrected for the number of metrics. A change as large as the column "
        '"detectable" says would be found four times in five. What was set up differently, and '
        "what else speaks against the comparison, stands above the table; the next page has all "
        "of it, and why TTFT and TPOT differ."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "next_page", "Table/why/charts"),
        Binding("b", "next_baseline", "Baseline"),
        Binding("p", "percentile", "p50/p99 curves", show=False),
        Binding("e", "export", "Export"),
        Binding("y", "copy_table", "Copy"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._loader: CompareLoader | None = None
        self._data = CompareData()
        self._baseline: str | None = None
        self._percentile = "p99"
        self._page = "table"
        self._columns: tuple[TableColumn, ...] = ()
        self._table: BigTable | None = None

    def compose(self) -> ComposeResult:
        yield TopBar("compare")
        yield Static(_WORKING, id="runs-line", markup=False)
        yield Static(id="notes", markup=False)
        yield Static(id="settings", markup=False)
        with ContentSwitcher(initial="table", id="pages"):
            yield Vertical(id="table")
            with VerticalScroll(id="why"):
                yield Static(id="reasons", markup=False)
            with Vertical(id="charts"):
                for name, title, _ in OVERLAID:
                    yield LineChart(title, id=f"over-{name}")
            with Vertical(id="distributions"):
                for name, title in DISTRIBUTIONS:
                    yield LineChart(title, id=f"share-{name}")
            yield Scatter(id="front")
        yield Static(id="nothing", markup=False)
        yield KeyFooter()

    def on_mount(self) -> None:
        """Asks for the marked runs."""
        self._loader = CompareLoader(self.app.clock)
        self.ask()

    def on_resize(self) -> None:
        """Another width takes other columns of curves; little height, shorter words."""
        if self._data.comparison is not None:
            self._show_head(self._data.comparison)
        self.ask()

    @property
    def _short(self) -> bool:
        return self.size.height < _TALL

    # -- data -----------------------------------------------------------------------------------

    def question(self) -> CompareQuestion | None:
        """See `DataScreen`."""
        if self._loader is None:
            return None
        moment = self.app.clock() // _EVERY_NS
        return CompareQuestion(moment, self._baseline, self._percentile, max(20, self.size.width))

    def load(self, question: CompareQuestion) -> CompareData:
        """See `DataScreen`."""
        assert self._loader is not None
        return self._loader.load(self.app.store, question)

    def show(self, data: CompareData) -> None:
        """See `DataScreen`."""
        if data is self._data:
            return
        self._data = data
        comparison = data.comparison
        self.set_class(comparison is None, "-empty")
        if comparison is None:
            self.query_one("#nothing", Static).update(_how_to_mark(data))
            return
        self._show_head(comparison)
        self._show_table(comparison)
        for name, chart in data.overlaid.items():
            self.query_one(f"#over-{name}", LineChart).update(chart)
        for name, chart in data.distributions.items():
            self.query_one(f"#share-{name}", LineChart).update(chart)
        self.query_one(Scatter).update(data.front)

    def _show_head(self, comparison: Comparison) -> None:
        """The sides, notes and settings, as they fit above the page; the page of reasons has all
        notes and settings itself."""
        width, variables = self.size.width, self.app.theme_variables
        line = sides_line(_TITLES[self._page], comparison.sides, variables)
        self.query_one("#runs-line", Static).update(line)
        on_table = self._page == "table"
        in_head = [note for note in comparison.notes if note.loud or on_table]
        lines = _LEAST_NOTE_LINES
        if on_table:
            lines = _SHORT_NOTE_LINES if self._short else _NOTE_LINES
        notes = self.query_one("#notes", Static)
        notes.update(notes_text(in_head, variables, width, lines, self._short))
        notes.display = bool(in_head) and self._page != "why"
        settings = self.query_one("#settings", Static)
        most = _FEWEST_SETTINGS if self._short else _MOST_SETTINGS
        settings.update(settings_text(comparison, most, width))
        settings.display = on_table
        self.query_one("#reasons", Static).update(why_text(comparison, width - 1, variables))

    def _show_table(self, comparison: Comparison) -> None:
        """Other columns take another table, with the cursor on the same metric."""
        rows = rows_of(comparison)
        columns = columns_of([side.label for side in comparison.sides], self.size.width)
        if self._table is None or columns != self._columns:
            key = None if self._table is None else self._table.cursor_key
            self._columns, self._table = columns, BigTable(columns)
            holder = self.query_one("#table", Vertical)
            holder.remove_children()
            holder.mount(self._table)
            self.call_after_refresh(self._table.go_to_key, key)
            if self._page == "table":
                self._table.focus()
        self._table.show(rows)

    # -- actions --------------------------------------------------------------------------------

    def action_next_page(self) -> None:
        """Goes from the table to the reasons, the curves and the front, and back."""
        self._page = PAGES[(PAGES.index(self._page) + 1) % len(PAGES)]
        self.query_one("#pages", ContentSwitcher).current = self._page
        if self._page == "table" and self._table is not None:
            self._table.focus()
        elif self._page == "why":
            self.query_one("#why").focus()
        if self._data.comparison is not None:
            self._show_head(self._data.comparison)

    def action_next_baseline(self) -> None:
        """Makes the next side the baseline."""
        comparison = self._data.comparison
        if comparison is not None:
            firsts = [side.runs[0].run_id for side in comparison.sides]
            order = sorted(firsts)
            self._baseline = order[(order.index(firsts[0]) + 1) % len(order)]
            self.query_one("#runs-line", Static).update(_WORKING)
            self.ask()

    def action_percentile(self) -> None:
        """Shows the other percentile of latencies over time."""
        self._percentile = "p50" if self._percentile == "p99" else "p99"
        self.app.notify(f"latencies over time: {self._percentile}", timeout=2)
        self.ask()

    def action_export(self) -> None:
        """Asks for a format, and saves the comparison."""
        if self._data.comparison is not None:
            choices = [(name, said) for name, (_, said) in _FORMATS.items()]
            self.app.push_screen(ChoiceDialog("Export the comparison as", choices), self._export)

    def _export(self, name: str | None) -> None:
        if name is not None:
            self.app.soon(self._write(name, self.app.save))

    def action_copy_table(self) -> None:
        """Copies the comparison as Markdown."""
        if self._data.comparison is not None:
            self.app.soon(self._write("md", self.app.copy))

    async def _write(self, name: str, take: Callable[[Any, str, str], None]) -> None:
        """Writes in the loader thread, for curves take their time."""
        data = self._data

        def written() -> str | bytes:
            from workbench.comparison.formats.every import write

            assert data.comparison is not None
            return write(data.comparison, data.measured, name)

        try:
            take(await self.app.in_loader(written), "comparison", _FORMATS[name][0])
        except USER_ERRORS as error:
            self.app.report(str(error))


def _how_to_mark(data: CompareData) -> str:
    said = "A comparison takes two marked runs or more. Press 5, then Space on each of them."
    if data.marked:
        said += f"\n\nMarked so far: {', '.join(data.marked)}"
    return "\n".join([said, *data.problems])
