"""The launch screen: what is to be run, what that comes to, and its start."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.events import Resize
from textual.widgets import Static

from workbench.errors import USER_ERRORS, SpecError
from workbench.runs.folder import RunFolder
from workbench.spec import RunSpec
from workbench.tui.data_screen import DataScreen
from workbench.tui.launch_data import (
    LaunchData,
    LaunchQuestion,
    Readiness,
    launch_data,
    readiness,
    recent,
)
from workbench.tui.screens.dialogs import ChoiceDialog, ConfirmDialog, TextDialog
from workbench.tui.widgets.key_footer import KeyFooter
from workbench.tui.widgets.preview_pane import PreviewPane
from workbench.tui.widgets.spec_fields import Field, Problem
from workbench.tui.widgets.spec_form import SpecForm
from workbench.tui.widgets.top_bar import TopBar

if TYPE_CHECKING:
    from workbench.launch.launcher import Runner

_BESIDE_FROM = 120
_OTHER_FILE = "another-file"


def start_runner(folder: RunFolder) -> Runner:
    """Starts the run's own process, which goes on when the app ends."""
    from workbench.launch.launcher import Runner

    return Runner(folder, detached=True)


class LaunchScreen(DataScreen):
    """A form on the left; on the right what it comes to, or in its place where it is narrow."""

    CSS = """
    LaunchScreen #body { height: 1fr; }
    LaunchScreen #left { width: 1fr; max-width: 84; }
    LaunchScreen #help { height: 2; padding: 0 1; color: $muted; }
    LaunchScreen #problem { height: auto; max-height: 2; padding: 0 1; color: $bad; }
    LaunchScreen PreviewPane { width: 1fr; border-left: solid $axis; }
    LaunchScreen.-one #left { max-width: 100%; }
    LaunchScreen.-one PreviewPane { display: none; border-left: none; }
    LaunchScreen.-one.-preview PreviewPane { display: block; }
    LaunchScreen.-one.-preview #left { display: none; }
    """
    HELP = (
        "Up, down and Tab move between fields, left and right change a choice, Enter lists all of "
        "it. An empty field takes the default that stands in it. Escape leaves a field, so that "
        "letters are keys again. The run is a process of its own: it goes on when this window is "
        "closed."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+r,f5", "start", "Start", priority=True),
        Binding("ctrl+o", "load", "Load", priority=True, tooltip="Load a spec from a TOML file"),
        Binding("ctrl+e", "save", "Save", priority=True, tooltip="Save the spec as TOML"),
        Binding("ctrl+y,y", "copy", "Copy", tooltip="Copy the equivalent command line"),
        Binding("p", "preview", "Preview", tooltip="Preview or form, where both don't fit"),
        Binding("m", "all_options", "All options", tooltip="Show every option, or the usual ones"),
        Binding("ctrl+n", "defaults", "Defaults", show=False, tooltip="Take the defaults again"),
        Binding("u", "undo", "Undo", show=False, tooltip="Bring back what a loaded spec replaced"),
        Binding("down,up,i", "enter_form", "Into the form", show=False),
        Binding("escape", "form", "Back to the form", show=False),
    ]
    AUTO_FOCUS: ClassVar[str | None] = ""

    needs_run: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.start_runner: Callable[[RunFolder], Any] = start_runner
        self._starting = False
        self._read: RunSpec | Problem = RunSpec()

    def compose(self) -> ComposeResult:
        yield TopBar("launch")
        with Horizontal(id="body"):
            with Vertical(id="left"):
                yield SpecForm()
                yield Static(id="help", markup=False)
                yield Static(id="problem", markup=False)
            yield PreviewPane()
        yield KeyFooter()

    def on_mount(self) -> None:
        """Begins with the defaults."""
        self.query_one("#problem").display = False
        self.query_one(SpecForm).focus_first()

    def on_screen_resume(self) -> None:
        """There may be new runs, and other memory."""
        super().on_screen_resume()
        self.app.soon(self._list_recent())

    def on_resize(self, event: Resize) -> None:
        """One or two columns."""
        self.set_class(event.size.width < _BESIDE_FROM, "-one")
        self.refresh_bindings()
        self.call_after_refresh(self.ask)

    # -- data -----------------------------------------------------------------------------------

    def question(self) -> Hashable | None:
        """See `DataScreen`: a valid spec; the last one stays where the form has none."""
        if isinstance(self._read, Problem):
            return None
        columns = self.query_one(PreviewPane).columns
        return LaunchQuestion(self._read.model_dump_json(), columns, self._read)

    def load(self, question: LaunchQuestion) -> LaunchData:
        """See `DataScreen`."""
        return launch_data(question)

    def show(self, data: LaunchData) -> None:
        """See `DataScreen`."""
        self.query_one(PreviewPane).show(data)

    async def _list_recent(self) -> None:
        found = await self.app.in_loader(lambda: recent(self.app.store))
        if self.is_attached:
            self.query_one(PreviewPane).show_recent(found)

    @on(SpecForm.Changed)
    def _changed(self) -> None:
        form = self.query_one(SpecForm)
        self._read = form.read()
        problem = self._read if isinstance(self._read, Problem) else None
        form.show_problem(None if problem is None else problem.field)
        line = self.query_one("#problem", Static)
        line.display = problem is not None
        line.update("" if problem is None else f"✗ {problem.message}")
        self.query_one(PreviewPane).set_class(problem is not None, "-stale")
        self.ask()

    @on(SpecForm.Focused)
    def _focused(self, event: SpecForm.Focused) -> None:
        field: Field = event.field
        self.query_one("#help", Static).update(f"{field.usage}: {field.help}")

    @on(PreviewPane.Chosen)
    def _recent_chosen(self, event: PreviewPane.Chosen) -> None:
        self._take(event.spec, "the run's spec is in the form")

    def _take(self, spec: RunSpec, said: str) -> None:
        self.app.soon(self.query_one(SpecForm).load(spec))
        self.remove_class("-preview")
        self.app.notify(said, timeout=3, markup=False)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """See `DOMNode`: where both fit there is nothing to switch."""
        return self.has_class("-one") if action == "preview" else True

    # -- actions --------------------------------------------------------------------------------

    def action_enter_form(self) -> None:
        """Gives the form the keys."""
        if self.focused is None:
            self.remove_class("-preview")
            self.query_one(SpecForm).focus_first()

    def action_preview(self) -> None:
        """Shows the preview in place of the form, or the form again."""
        self.toggle_class("-preview")
        if self.has_class("-preview"):
            self.query_one(PreviewPane).focus()
        else:
            self.query_one(SpecForm).focus_first()
        self.call_after_refresh(self.ask)

    def action_form(self) -> None:
        """Shows the form again where the preview has taken its place."""
        if self.has_class("-preview"):
            self.action_preview()

    def action_all_options(self) -> None:
        """Shows every option, or only the usual ones."""
        form = self.query_one(SpecForm)
        self.app.soon(form.show_all(not form.all_shown))

    def action_defaults(self) -> None:
        """Takes the defaults again."""
        self._take(RunSpec(), "the defaults are in the form")

    def action_undo(self) -> None:
        """Brings back what a loaded spec replaced."""
        self.app.soon(self._undo())

    async def _undo(self) -> None:
        if not await self.query_one(SpecForm).undo():
            self.app.notify("nothing was replaced", timeout=2)

    def action_copy(self) -> None:
        """Copies the equivalent command line."""
        from workbench.launch.command_line import command_line

        spec = self._valid()
        if spec is not None:
            self.app.copy(command_line(spec).text, "command", "sh")

    def action_save(self) -> None:
        """Asks for a name, and saves the spec under it."""
        spec = self._valid()
        if spec is not None:
            dialog = TextDialog("Save as TOML", "a name, such as nightly", spec.name)
            self.app.push_screen(dialog, lambda name: self._save(spec, name))

    def _save(self, spec: RunSpec, name: str | None, overwrite: bool = False) -> None:
        from workbench.launch.recent import is_saved, save_spec

        if not name:
            return
        if is_saved(name) and not overwrite:
            dialog = ConfirmDialog("Overwrite it?", f"A spec called {name!r} is there already.")
            self.app.push_screen(
                dialog, lambda yes: self._save(spec, name, overwrite=True) if yes else None
            )
            return
        try:
            path = save_spec(spec, name, overwrite=overwrite)
        except USER_ERRORS as error:
            self.app.report(str(error))
        else:
            self.app.notify(f"saved as {path}", timeout=8, markup=False)

    def action_load(self) -> None:
        """Lists the saved specs, or asks for a file."""
        from workbench.launch.recent import saved_specs

        saved, broken = saved_specs()
        for message in broken:
            self.app.report(message)
        if not saved:
            self._ask_for_file()
            return
        choices = [(f"saved {each.name}", each.name) for each in saved]
        dialog = ChoiceDialog("Load a spec", [*choices, (_OTHER_FILE, "another file …")])
        specs = {f"saved {each.name}": each.path for each in saved}

        def take(answer: str | None) -> None:
            if answer == _OTHER_FILE:
                self._ask_for_file()
            elif answer is not None:
                self._load(specs[answer])

        self.app.push_screen(dialog, take)

    def _ask_for_file(self) -> None:
        dialog = TextDialog("Load a spec", "path of a TOML file")
        self.app.push_screen(
            dialog, lambda path: self._load(Path(path).expanduser()) if path else None
        )

    def _load(self, path: Path) -> None:
        from workbench.launch.recent import load_spec

        try:
            self._take(load_spec(path), f"loaded {path}")
        except SpecError as error:
            self.app.report(str(error))

    def _valid(self) -> RunSpec | None:
        """The form's spec; says why there is none."""
        if isinstance(self._read, Problem):
            self.app.report(self._read.message)
            return None
        return self._read

    # -- start ----------------------------------------------------------------------------------

    def action_start(self) -> None:
        """Starts the run and goes to it; asks first where that is doubtful."""
        spec = self._valid()
        if spec is not None and not self._starting:
            self._starting = True
            self.app.soon(self._check_and_start(spec))

    async def _check_and_start(self, spec: RunSpec) -> None:
        ready: Readiness = await self.app.in_loader(lambda: readiness(spec, self.app.store))
        if ready.problem is not None:
            self._starting = False
            self.app.report(ready.problem)
        elif ready.doubts:
            dialog = ConfirmDialog("Start all the same?", "\n".join(ready.doubts))
            self.app.push_screen(dialog, lambda yes: self._answered_doubts(spec, bool(yes)))
        else:
            await self._start(spec)

    def _answered_doubts(self, spec: RunSpec, yes: bool) -> None:
        if yes:
            self.app.soon(self._start(spec))
        else:
            self._starting = False

    async def _start(self, spec: RunSpec) -> None:
        try:
            runner = await self.app.in_loader(lambda: self._begin(spec))
        except USER_ERRORS as error:
            self.app.report(str(error))
            return
        finally:
            self._starting = False
        self.app.started.append(runner)
        self.app.open_run(runner.folder)

    def _begin(self, spec: RunSpec) -> Any:
        """Makes the run's folder and starts its process; leaves no folder where that fails."""
        from workbench.launch.launcher import create_run

        folder = create_run(spec, None, self.app.store)
        try:
            return self.start_runner(folder)
        except USER_ERRORS:
            folder.remove()
            raise
