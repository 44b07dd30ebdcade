"""The live screen: a run's figures, charts, KV blocks, steps and events, now or at any moment."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid, Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Static

from workbench.errors import USER_ERRORS
from workbench.tui.live_data import PANELS, LiveData, LiveQuestion, live_data
from workbench.tui.run_screen import RunScreen
from workbench.tui.screens.dialogs import ConfirmDialog, TextDialog
from workbench.tui.widgets.block_map import BlockMap, BlockMapData
from workbench.tui.widgets.key_footer import KeyFooter
from workbench.tui.widgets.line_chart import LineChart
from workbench.tui.widgets.log_pane import LogPane
from workbench.tui.widgets.run_header import RunHeader
from workbench.tui.widgets.stacked_bars import StepBars
from workbench.tui.widgets.tile import Tile
from workbench.tui.widgets.top_bar import TopBar

PAGES = (
    ("latency", ("ttft", "tpot", "tokens", "queue")),
    ("devices", ("kv", "gpu", "power", "cpu")),
    ("engine", ()),
)
"""In a terminal that doesn't hold everything: what is shown together, and its charts."""

_TILES = 6
_LOG_ROWS = 60
_RATE_STEP = 1.25


class LiveScreen(RunScreen):
    """Tiles, charts on one time axis, the KV map, the engine's steps, the log; and the knobs."""

    CSS = """
    LiveScreen #tiles { height: 4; width: 100%; }
    LiveScreen #tiles Tile { width: 1fr; }
    LiveScreen #body { height: 1fr; }
    LiveScreen #charts { grid-size: 2; grid-gutter: 0 1; width: 1fr; height: 1fr; }
    LiveScreen #charts LineChart { height: 1fr; }
    LiveScreen #engine { width: 62; height: 1fr; padding: 0 0 0 1; }
    LiveScreen #pools { height: 1fr; min-height: 4; }
    LiveScreen BlockMap { height: 1fr; }
    LiveScreen #engine StepBars { height: 9; }
    LiveScreen #facts { height: auto; }
    LiveScreen #nothing { height: 1fr; content-align: center middle; }
    LiveScreen.-short #tiles { height: 3; }
    LiveScreen.-narrow #charts, LiveScreen.-normal #charts { grid-size: 1; }
    LiveScreen.-paged #engine { width: 1fr; }
    LiveScreen.-paged.page-engine #charts { display: none; }
    LiveScreen.-paged.page-latency #engine, LiveScreen.-paged.page-devices #engine {
        display: none;
    }
    """
    HELP = (
        "Space freezes the picture while data go on; space again follows. An ended run plays. "
        "[ and ] move by one engine step, { and } change the speed of a replay, g goes to a time. "
        "Charts: + and - zoom, arrows pan, 0 shows the whole run. Where not everything fits, v "
        "shows the next page.\n"
        "KV map: shared blocks are named by several requests' tables, live ones by one, cached "
        "ones by none but kept for reuse; the hottest come first. It is of the last look at the "
        "pool, four of them a second: its title says when. The KV tile is of the last step."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "page", "Page"),
        Binding("k", "rate(1)", "Rate up"),
        Binding("j", "rate(-1)", "Rate down"),
        Binding("p", "pause", "Pause", tooltip="Pause arrivals, or let them go on"),
        Binding("m", "mark", "Mark"),
        Binding("s", "stop", "Stop"),
    ]

    nothing_said: ClassVar[str] = (
        "No run is open. Press 1 to launch one, or 5 to choose one that is there."
    )

    def __init__(self) -> None:
        super().__init__()
        self._page = 0
        self._absent_panels: frozenset[str] = frozenset()

    def compose(self) -> ComposeResult:
        yield TopBar("live")
        yield RunHeader()
        with Horizontal(id="tiles"):
            for number in range(_TILES):
                yield Tile(id=f"tile-{number}")
        with Horizontal(id="body"):
            with Grid(id="charts"):
                for panel in PANELS:
                    yield LineChart(panel.title, id=f"chart-{panel.name}")
            with Vertical(id="engine"):
                yield Vertical(id="pools")
                yield StepBars()
                yield Static(id="facts", markup=False)
                yield LogPane()
        yield Static(self.nothing_said, id="nothing", markup=False)
        yield KeyFooter()

    def on_mount(self) -> None:
        """Lays out for the size."""
        self._arrange()

    def on_resize(self) -> None:
        """Lays out again: what fits depends on the size."""
        self._arrange()
        self.forget_answer()
        self.ask()

    # -- data -----------------------------------------------------------------------------------

    def question(self) -> LiveQuestion | None:
        """See `DataScreen`."""
        session = self.session
        if session is None:
            return None
        start_s, end_s = session.visible_s()
        width = max((chart.size.width for chart in self.query(LineChart)), default=0)
        return LiveQuestion(
            session.at_ns,
            start_s,
            end_s,
            max(20, width - 8),
            self._panels(),
            session.playhead.mode == "follow",
            _LOG_ROWS,
        )

    def load(self, question: LiveQuestion) -> LiveData:
        """See `DataScreen`."""
        assert self.session is not None
        return live_data(self.session.view, question)

    def show(self, data: LiveData) -> None:
        """See `DataScreen`."""
        if data.absent_panels != self._absent_panels:
            self._absent_panels = data.absent_panels
            self._arrange()
        self.query_one(RunHeader).show(data.header)
        for number, tile in enumerate(data.tiles):
            self.query_one(f"#tile-{number}", Tile).update(tile)
        for name, chart in data.charts.items():
            self.query_one(f"#chart-{name}", LineChart).update(chart)
        self._show_pools(data.pools)
        self.query_one(StepBars).update(data.steps)
        facts = ["   ".join(f"{name} {fact}" for name, fact in data.step_facts)]
        facts += data.gpu_facts
        if data.no_gpu and self._everything_fits:  # else the charts of the devices' page say so
            facts.append(f"GPU not measured: {data.no_gpu}")
        self.query_one("#facts", Static).update("\n".join(line for line in facts if line))
        self.query_one(LogPane).show(data.log)

    def _show_pools(self, pools: tuple[BlockMapData, ...]) -> None:
        """A map for each pool; an engine may have several."""
        maps = list(self.query(BlockMap))
        new = [BlockMap() for _ in pools[len(maps) :]]
        for block_map, pool in zip([*maps, *new], pools, strict=False):
            block_map.update(pool)
        for number, block_map in enumerate(maps):
            block_map.display = number < len(pools)
        if new:
            self.query_one("#pools").mount_all(new)

    # -- layout ---------------------------------------------------------------------------------

    @property
    def _everything_fits(self) -> bool:
        return self.size.width >= 150 and self.size.height >= 36

    def _panels(self) -> tuple[str, ...]:
        if self._everything_fits:
            absent = self._absent_panels
            return tuple(panel.name for panel in PANELS if panel.name not in absent)
        shown = PAGES[self._page][1]
        # Four charts one above the other need five rows each.
        room = max(2, (self.size.height - 9) // 5)
        return shown[:room] if self.size.width < 150 else shown

    def _arrange(self) -> None:
        if not self.query("#tiles"):
            return  # it is not composed yet, and `on_mount` comes
        has_run = self.session is not None
        for part in ("#tiles", "#body"):
            self.query_one(part).display = has_run
        self.query_one(RunHeader).display = has_run
        self.query_one("#nothing").display = not has_run
        paged = not self._everything_fits
        self.set_class(paged, "-paged")
        for number, (name, _) in enumerate(PAGES):
            self.set_class(paged and number == self._page, f"page-{name}")
        shown = self._panels()
        columns = 1 if paged and self.size.width < 150 else 2
        for panel in PANELS:
            chart = self.query_one(f"#chart-{panel.name}", LineChart)
            chart.display = panel.name in shown
            # Charts one above the other share the time axis of the last.
            chart.show_axis = panel.name in shown[-columns:]
        tiles: list[Widget] = list(self.query(Tile))
        for number, tile in enumerate(tiles):
            tile.display = number < 4 or self.size.width >= 100

    def on_screen_resume(self) -> None:
        """A run may have been opened meanwhile."""
        self._arrange()
        super().on_screen_resume()

    def session_changed(self) -> None:
        """See `DataScreen`."""
        self._arrange()
        super().session_changed()

    # -- actions --------------------------------------------------------------------------------

    def action_page(self) -> None:
        """The next page, where not everything fits."""
        if self._everything_fits:
            self.app.notify("everything is shown", timeout=2)
            return
        self._page = (self._page + 1) % len(PAGES)
        self._arrange()
        self.forget_answer()
        self.ask()

    def action_rate(self, places: int) -> None:
        """A quarter more arrivals per second, or a fifth fewer."""
        self._control("rate", by=_RATE_STEP**places)

    def action_pause(self) -> None:
        """Pauses arrivals, or lets them go on."""
        self.app.soon(self._pause_or_resume())

    def action_mark(self) -> None:
        """Puts words on this moment into the run's record."""
        if self._is_live():
            dialog = TextDialog("Mark this moment", "what happened")
            self.app.push_screen(
                dialog, lambda text: self._control("mark", text=text) if text else None
            )

    def action_stop(self) -> None:
        """Stops arrivals after a yes; what runs may end. The second time, at once."""
        if not self._is_live():
            return
        assert self.session is not None
        stopping = self.session.view.state == "draining"
        command, title = ("halt", "Stop at once?") if stopping else ("stop", "Stop the run?")
        text = (
            "What is in flight is recorded as unfinished, and the run is saved."
            if stopping
            else "No more arrivals; what is in flight may end for 10 s, and the run is saved."
        )
        self.app.push_screen(
            ConfirmDialog(title, text), lambda yes: self._control(command) if yes else None
        )

    @on(LineChart.Zoomed)
    def _zoomed(self, event: LineChart.Zoomed) -> None:
        if self.session is not None:
            self.session.zoom(event.factor, event.center_s)
            self.ask()

    @on(LineChart.Picked)
    def _picked(self, event: LineChart.Picked) -> None:
        if self.session is not None:
            self.session.seek(int(event.time_s * 1e9))
            self.ask()

    def _is_live(self) -> bool:
        if self.session is not None and self.session.view.live:
            return True
        self.app.notify("this run has ended: there is nothing to control", timeout=4)
        return False

    def _control(self, command: str, **fields: Any) -> None:
        if self._is_live():
            self.app.soon(self._send(command, fields))

    async def _pause_or_resume(self) -> None:
        if self._is_live():
            status = await self._send("status", {}, quiet=True)
            if status is not None:
                await self._send("resume" if status["paused"] else "pause", {})

    async def _send(
        self, command: str, fields: dict[str, Any], quiet: bool = False
    ) -> dict[str, Any] | None:
        """Asks the runner; says what it said."""
        from workbench.runs.control import send

        assert self.session is not None
        folder = self.session.view.folder

        def job() -> dict[str, Any]:
            return send(folder, command, **fields)

        try:
            reply = await asyncio.get_running_loop().run_in_executor(None, job)
        except USER_ERRORS as error:
            self.app.report(str(error))
            return None
        if not quiet:
            self.app.notify(str(reply["said"]), timeout=4, markup=False)
            self.ask()
        return reply
