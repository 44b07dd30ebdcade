"""The compare screen: the marked runs side by side, as a table, as curves, and by their front."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import ContentSwitcher, Static

from workbench.tui.compare_data import (
    DISTRIBUTIONS,
    OVERLAID,
    CompareData,
    CompareLoader,
    CompareQuestion,
    run_color,
)
from workbench.tui.compare_table import columns_of, rows_of
from workbench.tui.data_screen import DataScreen
from workbench.tui.drawing.clip import clipped
from workbench.tui.screens.dialogs import ChoiceDialog
from workbench.tui.widgets.big_table import BigTable
from workbench.tui.widgets.key_footer import KeyFooter
from workbench.tui.widgets.line_chart import LineChart
from workbench.tui.widgets.scatter import Scatter
from workbench.tui.widgets.top_bar import TopBar

if TYPE_CHECKING:
    from workbench.analysis.differences import Comparison

PAGES = ("table", "charts", "distributions", "front")
_TITLES = {
    "table": "figures",
    "charts": "over time",
    "distributions": "share of requests within so many seconds",
    "front": "throughput against latency",
}
_EVERY_NS = 2_000_000_000
_MOST_SETTINGS = 6
_NOTE_LINES = 5
_LOST_BY_WRAPPING = 12
_TALL = 36
_FORMATS = (
    ("md", "Markdown: notes, settings, table"),
    ("csv", "CSV: a line for each metric and run, unrounded"),
    ("json", "JSON: everything, unrounded"),
)


class CompareScreen(DataScreen):
    """Two or more marked runs; the first is the baseline."""

    needs_run = False

    CSS = """
    CompareScreen #runs-line { height: auto; max-height: 3; }
    CompareScreen #notes { height: auto; max-height: 5; }
    CompareScreen #settings { height: auto; max-height: 8; color: $muted; }
    CompareScreen ContentSwitcher { height: 1fr; }
    CompareScreen BigTable { height: 1fr; }
    CompareScreen #charts, CompareScreen #distributions { height: 1fr; }
    CompareScreen #nothing { height: 1fr; content-align: center middle; display: none; }
    CompareScreen.-empty #nothing { display: block; }
    CompareScreen.-empty ContentSwitcher, CompareScreen.-empty #settings,
    CompareScreen.-empty #notes, CompareScreen.-empty #runs-line { display: none; }
    """
    HELP = (
        "Mark runs on the Runs screen with Space; they are compared here. Each difference is "
        "against the baseline. An interval says how well one run's requests fix its own figure, "
        "taking them as independent; whether a difference would show again takes repeated runs. "
        "Colours appear only where the intervals are apart and one way is better."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "next_page", "Table/charts"),
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
        self._columns_for: tuple[str, ...] = ()

    def compose(self) -> ComposeResult:
        yield TopBar("compare")
        yield Static("reading the marked runs …", id="runs-line", markup=False)
        yield Static(id="notes", markup=False)
        yield Static(id="settings", markup=False)
        with ContentSwitcher(initial="table", id="pages"):
            yield Vertical(id="table")
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
            self._show_head(self._data.comparison, self._data)
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
        self._show_head(comparison, data)
        self._show_table(comparison, data.marked)
        for name, chart in data.overlaid.items():
            self.query_one(f"#over-{name}", LineChart).update(chart)
        for name, chart in data.distributions.items():
            self.query_one(f"#share-{name}", LineChart).update(chart)
        self.query_one(Scatter).update(data.front)

    def _show_head(self, comparison: Comparison, data: CompareData) -> None:
        from rich.text import Text

        variables = self.app.theme_variables
        line = Text(f"{_TITLES[self._page]}  ", variables["muted"])
        for number, (label, run) in enumerate(zip(data.marked, comparison.runs, strict=True)):
            color = variables.get(run_color(number).removeprefix("$"), "")
            line.append("■ ", color)
            line.append(label, "bold" if number == 0 else "")
            count = "no figures" if run.requests is None else f"{run.requests:,} requests"
            line.append(f" {'baseline, ' if number == 0 else ''}{count}   ", variables["muted"])
        self.query_one("#runs-line", Static).update(line)
        self._show_notes(comparison, data.problems)
        settings = self.query_one("#settings", Static)
        settings.display = self._page == "table"
        most = 2 if self._short else _MOST_SETTINGS
        settings.update(_settings_text(comparison, most, self.size.width))

    def _show_notes(self, comparison: Comparison, problems: tuple[str, ...]) -> None:
        """What speaks against the comparison first; what there is no room for is counted."""
        from rich.text import Text

        variables = self.app.theme_variables
        differs = comparison.notes[: 1 if comparison.traffic_differs else 0]
        calm = comparison.notes[len(differs) :]
        if self._page != "table" or self._short:
            calm = calm[:-1]
        lines = [(note, f"bold {variables['warn']}") for note in (*differs, *problems)]
        lines += [(note, variables["muted"]) for note in calm]
        notes = Text()
        for note, style in _fitting(lines, self.size.width, self._short):
            notes.append(f"{note}\n", style)
        notes.rstrip()
        self.query_one("#notes", Static).update(notes)
        self.query_one("#notes").display = bool(notes)

    def _show_table(self, comparison: Comparison, labels: tuple[str, ...]) -> None:
        rows = rows_of(comparison)
        holder = self.query_one("#table", Vertical)
        if labels != self._columns_for:
            self._columns_for = labels
            holder.remove_children()
            table = BigTable(columns_of(labels))
            holder.mount(table)
            table.show(rows)
            if self._page == "table":
                table.focus()
        else:
            holder.query_one(BigTable).show(rows)

    # -- actions --------------------------------------------------------------------------------

    def action_next_page(self) -> None:
        """Goes from the table to the curves over time, the distributions, the front, and back."""
        self._page = PAGES[(PAGES.index(self._page) + 1) % len(PAGES)]
        self.query_one("#pages", ContentSwitcher).current = self._page
        if self._data.comparison is not None:
            self._show_head(self._data.comparison, self._data)

    def action_next_baseline(self) -> None:
        """Makes the next run the baseline."""
        comparison = self._data.comparison
        if comparison is not None:
            ids = sorted(run.run_id for run in comparison.runs)
            now = ids.index(comparison.runs[0].run_id)
            self._baseline = ids[(now + 1) % len(ids)]
            self.ask()

    def action_percentile(self) -> None:
        """Shows the other percentile of latencies over time."""
        self._percentile = "p50" if self._percentile == "p99" else "p99"
        self.app.notify(f"latencies over time: {self._percentile}", timeout=2)
        self.ask()

    def action_export(self) -> None:
        """Asks for a format, and saves the comparison."""
        if self._data.comparison is not None:
            self.app.push_screen(ChoiceDialog("Export the comparison as", _FORMATS), self._export)

    def _export(self, suffix: str | None) -> None:
        from workbench.analysis.differences_text import to_csv, to_json, to_markdown

        comparison = self._data.comparison
        writers = {"md": to_markdown, "csv": to_csv, "json": to_json}
        if suffix in writers and comparison is not None:
            self.app.save(writers[suffix](comparison), "comparison", suffix)

    def action_copy_table(self) -> None:
        """Copies the comparison as Markdown."""
        from workbench.analysis.differences_text import to_markdown

        if self._data.comparison is not None:
            self.app.copy(to_markdown(self._data.comparison), "comparison", "md")


def _how_to_mark(data: CompareData) -> str:
    said = "A comparison takes two marked runs or more. Press 5, then Space on each of them."
    if data.marked:
        said += f"\n\nMarked so far: {', '.join(data.marked)}"
    return "\n".join([said, *data.problems])


def _fitting(notes: list[tuple[str, str]], width: int, short: bool) -> list[tuple[str, str]]:
    """The notes that there is room for, the first in two lines at most, and how many are left."""
    shown: list[tuple[str, str]] = []
    height = 0
    for place, (note, style) in enumerate(notes):
        room = width if short and place else 2 * width - _LOST_BY_WRAPPING
        line = clipped(" ".join(note[: 3 * width].split()), room)
        height += -(-cell_len(line) // width)
        if height > _NOTE_LINES - (place < len(notes) - 1):
            return [*shown, (f"and {len(notes) - place} more; an export has them all", style)]
        shown.append((line, style))
    return shown


def _settings_text(comparison: Comparison, most: int, width: int) -> str:
    """What was set up differently, one key a line."""
    if not comparison.settings:
        return "Set up alike: the same spec, engine and environment."
    shown = comparison.settings[:most]
    widest = max(len(setting.key) for setting in shown)
    room = max(1, width - widest - 2)
    lines = [f"{setting.key.ljust(widest)}  {_row(setting.shown, room)}" for setting in shown]
    more = len(comparison.settings) - len(shown)
    if more:
        lines.append(f"and {more} more; an export has them all")
    return "\n".join(lines)


def _row(values: tuple[str, ...], room: int) -> str:
    """The values side by side; the long ones are cut where there is no room for all."""
    row = " │ ".join(values)
    if len(row) <= room:
        return row
    each = max(4, (room + 3) // len(values) - 3)
    return " │ ".join(clipped(value, each) for value in values)
