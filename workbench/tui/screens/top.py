"""`workbench top`: one screen of whichever run is alive, and of the next one after it."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from workbench.runs.folder import LIVE_STATES, RunFolder
from workbench.tui.screens.live import LiveScreen

_LOOK_EVERY_S = 2.0
_PANELS = ("ttft", "tpot", "tokens", "queue")


class TopScreen(LiveScreen):
    """Tiles, four charts and the log; finds a live run by itself."""

    CSS = (
        LiveScreen.CSS.replace("LiveScreen", "TopScreen")
        + """
    TopScreen #body { layout: vertical; }
    TopScreen #charts, TopScreen.-narrow #charts, TopScreen.-normal #charts {
        grid-size: 2; width: 100%;
    }
    TopScreen #engine { width: 100%; height: 8; padding: 0; }
    TopScreen.-short #engine { height: 7; }
    TopScreen StepBars, TopScreen #engine StepBars, TopScreen #facts { display: none; }
    TopScreen #pools { height: 3; min-height: 3; }
    """
    )
    HELP = "Shows the newest run that is alive; when it has ended, the next one that begins."
    BINDINGS: ClassVar[list[BindingType]] = [Binding("v", "page", "Page", show=False)]

    nothing_said: ClassVar[str] = "No run is going on. This screen shows the next one that begins."

    def _panels(self) -> tuple[str, ...]:
        return _PANELS

    @property
    def _everything_fits(self) -> bool:
        return True

    def on_mount(self) -> None:
        """Begins to look for a run."""
        super().on_mount()
        self.set_interval(_LOOK_EVERY_S, self.look)
        self.look()

    def look(self) -> None:
        """Opens the newest run that is alive, where the one that is open is not."""
        session = self.session
        if self.app.screen is self and (session is None or not session.view.live):
            self.app.soon(self._open_newest())

    async def _open_newest(self) -> None:
        folder = await self.app.in_loader(self._newest_alive)
        session = self.session
        if folder is not None and (session is None or session.view.folder.path != folder.path):
            self.app.open_run(folder, "top")

    def _newest_alive(self) -> RunFolder | None:
        """The newest run of the store that a runner holds."""
        runs, _ = self.app.store.runs()
        alive = [run for run in runs if run.state in LIVE_STATES]
        return alive[-1].folder if alive else None
