"""The base of every screen that draws loaded data: it asks, a thread loads, it shows.

    UI thread        question() ──► refresh_data() ─────────────► show(data)
    loader thread                     view.refresh(), load(question)

One answer is outstanding at a time, so a slow load makes a screen late and never queues up. What
was asked and answered already, of a run that has nothing new, is not loaded again.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, ClassVar

from textual.screen import Screen

from workbench.errors import USER_ERRORS
from workbench.tui.widgets.top_bar import TopBar

if TYPE_CHECKING:
    from workbench.tui.app import WorkbenchApp
    from workbench.tui.session import RunSession

_UNCHANGED = object()


class DataScreen(Screen[None]):
    """See the module. Subclasses implement `question`, `load` and `show`."""

    app: WorkbenchApp

    needs_run: ClassVar[bool] = True
    """Whether there is nothing to show without an open run."""

    def __init__(self) -> None:
        super().__init__()
        self._loading = False
        self._ask_again = False
        self._answered: tuple[Hashable, int] | None = None
        self._complaint = ""

    def question(self) -> Hashable | None:
        """What to load, on the UI thread; None where there is nothing to do."""
        raise NotImplementedError

    def load(self, question: Any) -> Any:
        """The answer, on the loader thread: reads the run, and touches no widget."""
        raise NotImplementedError

    def show(self, data: Any) -> None:
        """Gives what was loaded to the widgets, on the UI thread."""
        raise NotImplementedError

    @property
    def session(self) -> RunSession | None:
        """The run that is open."""
        return self.app.session

    @property
    def is_busy(self) -> bool:
        """Whether an answer is outstanding."""
        return self._loading

    def on_screen_resume(self) -> None:
        """Coming back to a screen shows it as it should be now."""
        self._answered = None
        self._complaint = ""
        self.ask()

    def session_changed(self) -> None:
        """Another run was opened while this screen is shown."""
        self.forget_answer()
        self.ask()

    def ask(self) -> None:
        """Loads and shows as soon as possible; after a key, say."""
        self._show_bar()  # a key's effect on the moment shows at once
        if self._loading:
            self._ask_again = True
        else:
            self.app.soon(self.refresh_data())

    def forget_answer(self) -> None:
        """Makes the next `refresh_data` load, whatever was answered before."""
        self._answered = None

    async def refresh_data(self) -> None:
        """Loads what `question` asks and shows it; does nothing while an answer is outstanding."""
        if self._loading:
            return
        self._loading = True
        try:
            while True:
                self._ask_again = False
                await self._refresh_once()
                if not self._ask_again:
                    break
        finally:
            self._loading = False

    async def _refresh_once(self) -> None:
        session = self.session
        if session is None and self.needs_run:
            self._show_bar()
            return
        question = self.question()
        if question is None:
            self._show_bar()
            return
        answered = self._answered

        def job() -> tuple[int, Any]:
            version = 0
            if session is not None:
                self._refresh_view(session)
                version = session.view.version
            if answered == (question, version):
                return version, _UNCHANGED
            return version, self.load(question)

        try:
            version, data = await self.app.in_loader(job)
        except (*USER_ERRORS, OSError) as error:
            self._complain(in_words(error))
            return
        self._complaint = ""
        if session is not self.session or not self.is_attached:
            self._ask_again = self.is_attached and self.session is not None
            return
        if session is not None:
            session.settle_playhead()
        self._show_bar()
        if data is not _UNCHANGED:
            self._answered = (question, version)
            self.show(data)

    def _refresh_view(self, session: RunSession) -> None:
        try:
            session.view.refresh()
        except (*USER_ERRORS, OSError):
            if self.needs_run:
                raise

    def _complain(self, message: str) -> None:
        """Says what went wrong, once for as long as it stays the same."""
        self._answered = None
        if message != self._complaint:
            self._complaint = message
            self.app.report(message)

    def _show_bar(self) -> None:
        for bar in self.query(TopBar):
            bar.show_session(self.session)


def in_words(error: Exception) -> str:
    """What a user is told of an error."""
    if isinstance(error, OSError):
        return f"{error.filename or 'the run'} can't be read: {error.strerror or error}"
    return str(error)
