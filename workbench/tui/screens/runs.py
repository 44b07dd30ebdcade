"""The library: every run there is; search, tags, notes, marks, deletion, recovery."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Input, Static

from workbench.analysis.quantities import counted
from workbench.errors import USER_ERRORS, StoreError
from workbench.runs.annotations import Annotations, read_annotations, write_annotations
from workbench.runs.folder import RunFolder
from workbench.runs.store import StoredRun, load_run, recover, remove
from workbench.tui.data_screen import DataScreen
from workbench.tui.runs_data import RunsData, RunsQuestion
from workbench.tui.runs_table import COLUMNS, row_list, run_lines, sorted_rows
from workbench.tui.screens.dialogs import ConfirmDialog, TextDialog
from workbench.tui.widgets.big_table import BigTable
from workbench.tui.widgets.key_footer import KeyFooter
from workbench.tui.widgets.row_list import RowList
from workbench.tui.widgets.top_bar import TopBar
from workbench.viewing.library import BROKEN, Library, LibraryRow, folder_bytes

_EVERY_NS = 2_000_000_000
_NO_RUNS = "No runs yet: press 1 to launch one"


class RunsScreen(DataScreen):
    """The table of runs, and at 120 columns and more the selected one in a pane."""

    needs_run = False

    CSS = """
    RunsScreen #search { display: none; height: 1; border: none; padding: 0 1; }
    RunsScreen #search.-open { display: block; }
    RunsScreen #said { height: 1; color: $muted; }
    RunsScreen #body { height: 1fr; }
    RunsScreen BigTable { width: 1fr; height: 1fr; }
    RunsScreen #pane { display: none; width: 56; height: 1fr; padding: 0 0 0 2; }
    RunsScreen.-paned #pane { display: block; }
    """
    HELP = (
        "Enter opens a run in Live, Requests and Timeline, to be looked at or replayed. Space "
        "marks it for comparison, c compares what is marked. / searches: every word must be in the "
        "id, name, state, workload, model, engine, tags or note.\n"
        "A dead run's runner ended without saying so: R makes it whole from what was recorded."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "Search", key_display="/"),
        Binding("space", "mark", "Mark"),
        Binding("c", "compare", "Compare", tooltip="Compare the marked runs"),
        Binding("t", "tags", "Tags"),
        Binding("n", "note", "Note"),
        Binding("d", "delete", "Delete"),
        Binding("R", "recover", "Recover", show=False),
        Binding("y", "copy_path", "Copy path", show=False),
        Binding("escape", "end_search", "End the search", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._library: Library | None = None
        self._rows: dict[str, LibraryRow] = {}
        self._data = RunsData((), 0, 0)
        self._words: tuple[str, ...] = ()
        self._sort, self._descending = "created", True
        self._edits = 0

    def compose(self) -> ComposeResult:
        yield TopBar("runs")
        yield Input(placeholder="words that a run must have; Enter or Escape ends", id="search")
        yield Static(id="said", markup=False)
        with Horizontal(id="body"):
            yield BigTable(
                COLUMNS, sort="created", descending=True, marks=True, empty_text="…", id="runs"
            )
            with VerticalScroll(id="pane", can_focus=False):
                yield Static(id="run", markup=False)
        yield KeyFooter()

    def on_mount(self) -> None:
        """Reads the store."""
        self._library = Library(self.app.store)
        self.query_one(BigTable).focus()
        self.ask()

    def on_resize(self) -> None:
        """The pane needs room beside the table."""
        self.set_class(self.size.width >= 120, "-paned")

    # -- data -----------------------------------------------------------------------------------

    def question(self) -> RunsQuestion | None:
        """See `DataScreen`."""
        if self._library is None:
            return None
        moment = self.app.clock() // _EVERY_NS
        return RunsQuestion(moment, self._edits, self._words, self._sort, self._descending)

    def load(self, question: RunsQuestion) -> RunsData:
        """See `DataScreen`."""
        assert self._library is not None
        rows = self._library.rows()
        found = [row for row in rows if row.matches(question.words)]
        return RunsData(
            rows=tuple(sorted_rows(found, question.sort, question.descending)),
            total=len(rows),
            marked=sum(row.annotations.marked for row in rows),
        )

    def show(self, data: RunsData) -> None:
        """See `DataScreen`."""
        self._data = data
        self._rows = {str(row.path): row for row in data.rows}
        table = self.query_one(BigTable)
        table.empty_text = (
            "No run has all these words" if data.total else f"{_NO_RUNS}\n({self.app.store.root})"
        )
        table.show(row_list(data.rows) if data.rows else RowList(()))
        self._show_pane()

    def _show_pane(self) -> None:
        row, data = self._selected(), self._data
        said = f"{counted(data.total, 'run')} in {self.app.store.root}"
        if self._words:
            said = f"{len(data.rows):,} of {said} with {' '.join(self._words)!r}"
        said = f"{data.marked} marked for comparison, {said}"
        if row is not None and row.problem:
            said = row.problem
        self.query_one("#said", Static).update(said)
        self.query_one("#run", Static).update("" if row is None else run_lines(row))

    def _selected(self) -> LibraryRow | None:
        return self._rows.get(str(self.query_one(BigTable).cursor_key))

    def _selected_run(self) -> LibraryRow | None:
        """The selected row if it is a run that can be read; says why not otherwise."""
        row = self._selected()
        if row is not None and row.state == BROKEN:
            self.app.report(row.problem)
            return None
        return row

    @on(BigTable.Highlighted, "#runs")
    def _highlighted(self) -> None:
        self._show_pane()

    @on(BigTable.SortChanged, "#runs")
    def _sorted(self, event: BigTable.SortChanged) -> None:
        self._sort, self._descending = event.column, event.descending
        self.ask()

    @on(BigTable.Selected, "#runs")
    def _opened(self) -> None:
        row = self._selected_run()
        if row is not None:
            self.app.open_run(RunFolder(row.path))

    # -- search ---------------------------------------------------------------------------------

    def action_search(self) -> None:
        """Opens the line to type words in."""
        search = self.query_one("#search", Input)
        search.add_class("-open")
        search.focus()

    def action_end_search(self) -> None:
        """Shows every run again."""
        search = self.query_one("#search", Input)
        search.value = ""
        search.remove_class("-open")
        self.query_one(BigTable).focus()

    @on(Input.Changed, "#search")
    def _typed(self, event: Input.Changed) -> None:
        self._words = tuple(event.value.lower().split())
        self.ask()

    @on(Input.Submitted, "#search")
    def _typed_all(self, event: Input.Submitted) -> None:
        self.query_one(BigTable).focus()
        if not event.value.strip():
            self.action_end_search()

    # -- what people write on a run ---------------------------------------------------------------

    def action_mark(self) -> None:
        """Marks the run for comparison, or takes the mark away."""
        row = self._selected_run()
        if row is not None:
            self._annotate(row, lambda old: dataclasses.replace(old, marked=not old.marked))

    def action_tags(self) -> None:
        """Asks for the run's tags."""
        row = self._selected_run()
        if row is None:
            return

        def take(text: str | None) -> None:
            if text is not None:
                tags = frozenset(text.replace(",", " ").split())
                self._annotate(row, lambda old: dataclasses.replace(old, tags=tags))

        now = " ".join(sorted(row.annotations.tags))
        self.app.push_screen(TextDialog(f"Tags of {row.run_id}", "words", now), take)

    def action_note(self) -> None:
        """Asks for the run's note."""
        row = self._selected_run()
        if row is None:
            return

        def take(text: str | None) -> None:
            if text is not None:
                note = text.strip()
                self._annotate(row, lambda old: dataclasses.replace(old, note=note))

        dialog = TextDialog(f"Note on {row.run_id}", "what to remember", row.annotations.note)
        self.app.push_screen(dialog, take)

    def _annotate(self, row: LibraryRow, change: Callable[[Annotations], Annotations]) -> None:
        folder = RunFolder(row.path)

        def work() -> str:
            write_annotations(folder, change(read_annotations(folder)))
            return ""

        self.app.soon(self._do(work))

    # -- the run itself -------------------------------------------------------------------------

    def action_compare(self) -> None:
        """Compares the marked runs."""
        if self._data.marked < 2:
            self.app.notify("mark two runs or more with Space first", timeout=4)
        else:
            self.app.go("compare")

    def action_copy_path(self) -> None:
        """Copies the folder's path."""
        row = self._selected()
        if row is not None:
            self.app.copy(str(row.path), f"path-{row.run_id}")

    def action_recover(self) -> None:
        """Makes a dead run whole from what was recorded."""
        row = self._selected_run()
        if row is None:
            return

        def work() -> str:
            from workbench.launch.finish import finish_run

            return recover(load_run(RunFolder(row.path)), finish_run)

        self.app.soon(self._do(work))

    def action_delete(self) -> None:
        """Asks whether to delete the run."""
        row = self._selected()
        if row is None:
            return
        if row.is_live:
            self.app.report(f"{row.run_id} is {row.state}; stop it first, on the Live screen")
            return
        self.app.soon(self._ask_to_delete(row))

    async def _ask_to_delete(self, row: LibraryRow) -> None:
        size = await self.app.in_loader(lambda: folder_bytes(row.path))
        text = f"{row.path}\n{size / 1e6:,.1f} MB are freed. This can't be undone."

        def take(yes: bool | None) -> None:
            if yes:
                self.app.soon(self._do(lambda: self._delete(row.path)))

        said = f"{row.run_id} ({row.name})" if row.name else row.run_id
        self.app.push_screen(ConfirmDialog(f"Delete {said}?", text), take)

    def _delete(self, path: Path) -> str:
        folder = RunFolder(path)
        try:
            run = load_run(folder)
        except StoreError:
            run = StoredRun(folder, {"run_id": path.name}, BROKEN)
        remove(run)
        return f"deleted {run.run_id}"

    async def _do(self, work: Callable[[], str]) -> None:
        """Does something to the store in the loader thread, and says what came of it."""
        try:
            said = await self.app.in_loader(work)
        except USER_ERRORS as error:
            self.app.report(str(error))
        except OSError as error:
            self.app.report(f"{error.filename or 'the store'}: {error.strerror or error}")
        else:
            if said:
                self.app.notify(said, timeout=5, markup=False)
        session = self.app.session
        if session is not None and not session.view.folder.path.exists():
            self.app.session = None
        self._edits += 1
        self.ask()
