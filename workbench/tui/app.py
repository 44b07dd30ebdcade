"""The terminal app: a viewer of run folders and a launcher of runners.

It owns what all screens share: the open run, the settings, the clock that pulls, and one thread
that loads. What it draws costs the engine nothing: that is another process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.events import Event, Key, Resize
from textual.geometry import Size
from textual.screen import Screen

from workbench.errors import USER_ERRORS, SpecError, StoreError
from workbench.runs.folder import RunFolder
from workbench.runs.store import RunStore
from workbench.tui.ascii_filter import AsciiFilter
from workbench.tui.catalogue import SCREEN_NAMES, import_screens, screen_of
from workbench.tui.commands import screen_commands
from workbench.tui.control_filter import ControlFilter
from workbench.tui.data_screen import DataScreen, in_words
from workbench.tui.drawing.glyphs import ASCII, UNICODE, Glyphs
from workbench.tui.encoding import takes_unicode
from workbench.tui.exports import write_export
from workbench.tui.leaving import Leaving
from workbench.tui.screens.dialogs import ConfirmDialog
from workbench.tui.screens.too_small import LEAST_HEIGHT, LEAST_WIDTH, TooSmallScreen
from workbench.tui.session import RunSession
from workbench.tui.settings import Settings, read_settings, settings_path, write_settings
from workbench.tui.steady_driver import SteadyDriver
from workbench.tui.theme import DEFAULT_THEME, default_variables, themes
from workbench.tui.tidying import LOOK_EVERY_S, Tidying, leave_out_what_is_there

T = TypeVar("T")

_IMPORT_AFTER_S = 1.0
"""When the screens that are not shown are imported: the first one is painted by then."""


class WorkbenchApp(App[int]):
    """The app.

    Args:
        store: where runs are.
        settings: what the user chose; read from their file where they aren't given.
        clock: the system's monotonic nanoseconds.
        pull: whether the app's own clock asks for news; tests ask by `settle`.
    """

    TITLE = "workbench"
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (150, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (36, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "go('launch')", "Launch", show=False),
        Binding("2", "go('live')", "Live", show=False),
        Binding("3", "go('requests')", "Requests", show=False),
        Binding("4", "go('timeline')", "Timeline", show=False),
        Binding("5", "go('runs')", "Runs", show=False),
        Binding("6", "go('compare')", "Compare", show=False),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("comma", "settings", "Settings", key_display=",", show=False),
        Binding("ctrl+s", "picture", "Save a picture of the screen", show=False),
        Binding("q", "leave", "Quit"),
        Binding("ctrl+q,ctrl+c", "leave", "Quit", show=False, priority=True),
    ]
    SCREENS: ClassVar[dict[str, Callable[[], Screen[Any]]]] = {
        name: partial(screen_of, name) for name in SCREEN_NAMES
    }

    def __init__(
        self,
        store: RunStore | None = None,
        settings: Settings | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        pull: bool = True,
    ) -> None:
        super().__init__(driver_class=SteadyDriver)
        self.store = store or RunStore()
        self.clock = clock
        self.session: RunSession | None = None
        self.start_screen = "runs"
        self.start_folder: RunFolder | None = None
        self.loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self.started: list[Any] = []
        self._pull = pull
        self._tasks: set[asyncio.Task[Any]] = set()
        self._timer: Any = None
        self._settings_problem = ""
        self._key_ns = clock()
        self._tidying = Tidying()
        for theme in themes():
            self.register_theme(theme)
        if settings is None:
            settings = self._read_settings()
        self.settings = settings
        self._only_ascii = False
        self._ascii = AsciiFilter(settings.ascii)
        self._filters += [ControlFilter(), self._ascii]

    @property
    def glyphs(self) -> Glyphs:
        """The characters that charts are drawn with."""
        return ASCII if self.draws_ascii else UNICODE

    @property
    def draws_ascii(self) -> bool:
        """Whether only characters of 7 bits are drawn: by choice, or for want of more."""
        return self.settings.ascii or self._only_ascii

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """See `App`: Textual's own themes have none of our drawing colours."""
        return default_variables()

    def on_mount(self) -> None:
        """Shows the first screen."""
        self._apply(self.settings)
        self.push_screen(self.start_screen)
        if self.start_folder is not None:
            self.open_run(self.start_folder, self.start_screen)
        if self._settings_problem:
            self.report(self._settings_problem)
        if self._pull:
            self.set_timer(_IMPORT_AFTER_S, lambda: self.loader.submit(self._prepare))
            self.set_interval(LOOK_EVERY_S, self._tidy)

    async def on_unmount(self) -> None:
        """Ends the loader; a load that is still going on is waited for by nobody."""
        self.loader.shutdown(wait=False, cancel_futures=True)

    def on_resize(self, event: Resize) -> None:
        """Says so where the terminal is too small for anything."""
        self._cover_if_too_small(event.size)

    def _cover_if_too_small(self, size: Size) -> None:
        small = size.width < LEAST_WIDTH or size.height < LEAST_HEIGHT
        shown = isinstance(self.screen, TooSmallScreen)
        if small and not shown:
            self.push_screen(TooSmallScreen())
        elif shown and not small:
            self.pop_screen()

    # -- what screens call --------------------------------------------------------------------

    def go(self, name: str) -> None:
        """Switches to a screen, closing whatever lies over the current one."""
        while len(self.screen_stack) > 2:
            self.pop_screen()
        if self.screen is not self.get_screen(name):
            self.switch_screen(name)
        self._cover_if_too_small(self.size)

    def open_run(self, folder: RunFolder, then: str = "live") -> None:
        """Opens a run in the loader thread, and goes to a screen with it."""
        self.soon(self._open(folder, then))

    def open_request(self, request_id: int) -> None:
        """Shows what happened to a request."""
        if self.session is not None:
            self.session.request_id = request_id
            self.push_screen(screen_of("waterfall"))

    def report(self, message: str) -> None:
        """An error in words."""
        self.notify(message, severity="error", timeout=10, markup=False)

    def copy(self, text: str, name: str, suffix: str = "txt") -> None:
        """To the terminal's clipboard (OSC 52), and to a file for terminals that have none."""
        self.copy_to_clipboard(text.encode(errors="replace").decode())
        self.save(text, name, suffix, "copied; also in")

    def save(self, content: str | bytes, name: str, suffix: str, said: str = "saved as") -> None:
        """To a file of the user's exports; says where it is."""
        try:
            path = write_export(name, suffix, content)
        except StoreError as error:
            self.report(str(error))
            return
        self.notify(f"{said} {path}", timeout=8, markup=False)

    def soon(self, work: Coroutine[Any, Any, Any]) -> None:
        """Starts `work` without waiting for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def in_loader(self, work: Callable[[], T]) -> T:
        """What `work` returns, computed in the loader thread."""
        return await asyncio.get_running_loop().run_in_executor(self.loader, work)

    async def settle(self) -> None:
        """Asks once and waits until everything that was asked for is shown."""
        for _ in range(100):
            if isinstance(self.screen, DataScreen) and not self.screen.is_busy:
                await self.screen.refresh_data()
            pending = [task for task in self._tasks if task is not asyncio.current_task()]
            if not pending:
                return
            await asyncio.wait(pending)

    def leave(self, code: int) -> None:
        """Ends with an exit code, from any thread and at any moment."""
        loop = self._loop
        if loop is None or loop.is_closed():
            raise SystemExit(code)
        loop.call_soon_threadsafe(self.exit, None, code)

    def use_ascii(self) -> None:
        """Draws with 7-bit characters, this time."""
        self._only_ascii = True
        self._ascii.enabled = True

    def change_settings(self, settings: Settings) -> None:
        """Takes new settings and keeps them."""
        self.settings = settings
        self._apply(settings)
        try:
            write_settings(settings_path(), settings)
        except OSError as error:
            self.report(f"the settings can't be saved: {error.strerror or error}")

    # -- actions ------------------------------------------------------------------------------

    def action_go(self, name: str) -> None:
        """Switches to a screen."""
        self.go(name)

    def action_help(self) -> None:
        """Shows the keys of this screen."""
        from workbench.tui.screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.screen))

    def action_settings(self) -> None:
        """Shows the settings."""
        from workbench.tui.screens.settings import SettingsScreen

        if not isinstance(self.screen, SettingsScreen):
            self.push_screen(SettingsScreen())

    def action_picture(self) -> None:
        """Saves the screen as SVG."""
        self.save(self.export_screenshot(), "screen", "svg")

    def action_leave(self) -> None:
        """Quits; asks first where a run that was started here goes on."""
        alive = [runner for runner in self.started if runner.exit_code is None]
        if not alive or isinstance(self.screen, ConfirmDialog):
            self.exit(0)
            return
        ids = ", ".join(runner.folder.path.name for runner in alive)
        question = ConfirmDialog(
            "Quit, and let the run go on?",
            f"{ids} runs on without this window; `workbench attach last` shows it again. "
            "To end it, stop it on the Live screen first.",
        )
        self.push_screen(question, lambda yes: self.exit(0) if yes else None)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Every action of the app and of the screen, for the palette."""
        yield from screen_commands(self, screen)

    # -- inside -------------------------------------------------------------------------------

    async def _open(self, folder: RunFolder, then: str) -> None:
        from workbench.viewing.view import open_view

        try:
            view = await self.in_loader(lambda: open_view(folder, self.clock))
        except (*USER_ERRORS, OSError) as error:
            self.report(in_words(error))
            return
        self.session = RunSession(view, self.clock)
        self.go(then)
        if isinstance(self.screen, DataScreen):
            self.screen.session_changed()

    def _tick(self) -> None:
        if isinstance(self.screen, DataScreen) and not self.screen.is_busy:
            self.soon(self.screen.refresh_data())

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None or self._exception:
            return
        try:
            raise error
        except Exception as raised:  # Textual tells of the error that is being handled
            self._handle_exception(raised)

    async def on_event(self, event: Event) -> None:
        """See `App`; notes when a key was pressed last."""
        if isinstance(event, Key):
            self._key_ns = self.clock()
        await super().on_event(event)

    def _tidy(self) -> None:
        self._tidying.look((self.clock() - self._key_ns) / 1e9)

    def _prepare(self) -> None:
        """In the loader, once the first screen is painted."""
        try:
            import_screens()
        finally:
            leave_out_what_is_there()

    def _apply(self, settings: Settings) -> None:
        known = settings.theme in self.available_themes
        self.theme = settings.theme if known else DEFAULT_THEME
        self._ascii.enabled = self.draws_ascii
        if self._timer is not None:
            self._timer.stop()
        if self._pull:
            self._timer = self.set_interval(1 / settings.refresh_hz, self._tick)
        self.refresh(layout=True)

    def _read_settings(self) -> Settings:
        try:
            return read_settings(settings_path())
        except SpecError as error:
            self._settings_problem = str(error)
            return Settings()


def run_app(
    start: str = "",
    folder: Path | None = None,
    ascii_only: bool = False,
    store: RunStore | None = None,
) -> int:
    """Runs the app until the user leaves; returns the exit code.

    Args:
        start: the first screen; the library, or the launch screen where there is no run.
        folder: a run to open.
        ascii_only: draw with 7-bit characters whatever the settings say.
    """
    app = WorkbenchApp(store)
    if ascii_only or not takes_unicode():
        app.use_ascii()
    app.start_folder = None if folder is None else RunFolder(folder)
    has_runs = app.store.root.is_dir() and any(app.store.root.iterdir())
    app.start_screen = start or ("runs" if has_runs else "launch")
    leaving = Leaving(app.leave)
    leaving.listen()
    app.run()
    code = app.return_code or 0
    leaving.wait_for_loads(code)
    return code
