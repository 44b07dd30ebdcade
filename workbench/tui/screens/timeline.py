"""The timeline: what each worker did when, step by step, and where the host left the GPU idle."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from workbench.analysis.quantities import milliseconds
from workbench.tui.run_screen import RunScreen
from workbench.tui.timeline_data import TimelineData, TimelineLoader, TimelineQuestion
from workbench.tui.timeline_text import figures_lines, legend, span_line
from workbench.tui.widgets.big_table import BigTable
from workbench.tui.widgets.key_footer import KeyFooter
from workbench.tui.widgets.lanes import Lanes
from workbench.tui.widgets.step_panel import StepPanel
from workbench.tui.widgets.top_bar import TopBar

if TYPE_CHECKING:
    from workbench.tui.session import RunSession
    from workbench.viewing.timeline import Gap, StepIndex

LIVE_SPAN_NS = 30_000_000_000
_LARGEST = 50


class TimelineScreen(RunScreen):
    """Lanes over the span that is shown; one step can be selected and read in full."""

    CSS = """
    TimelineScreen #span { height: 1; color: $muted; }
    TimelineScreen #legend { height: 1; color: $muted; }
    TimelineScreen #body { height: 1fr; layout: vertical; }
    TimelineScreen Lanes { height: 1fr; }
    TimelineScreen #side { height: 6; width: 100%; }
    TimelineScreen #side.-step { height: 12; }
    TimelineScreen #figures { height: auto; }
    TimelineScreen StepPanel { display: none; }
    TimelineScreen #side.-step StepPanel { display: block; }
    TimelineScreen #side.-step #figures { display: none; }
    TimelineScreen.-wide #body { layout: horizontal; }
    TimelineScreen.-wide #lanes-side { width: 1fr; height: 100%; }
    TimelineScreen.-wide #side, TimelineScreen.-wide #side.-step {
        width: 62; height: 100%; padding: 0 0 0 2;
    }
    TimelineScreen.-wide #side.-step #figures { display: block; padding: 0 0 1 0; }
    TimelineScreen #nothing { height: 1fr; content-align: center middle; display: none; }
    TimelineScreen.-empty #nothing { display: block; }
    TimelineScreen.-empty #body, TimelineScreen.-empty #span, TimelineScreen.-empty #legend {
        display: none;
    }
    """
    HELP = (
        "Each worker has a lane; a column is the time in steps, shared out among their kinds. "
        "Zoom in (↑, +, or the wheel) until single steps with their numbers appear.\n"
        "A host gap is the time between two steps while requests were running or waiting: the host "
        "kept the GPU idle. G goes from the largest gap to the next largest. The line on the GPU "
        "tells by the GPU's own clock how long it was busy, and how long it idled between two "
        "decode steps; the last figure is the share of these steps' time."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "zoom(0.5)", "Zoom in", key_display="↑"),
        Binding("down", "zoom(2)", "Zoom out", key_display="↓"),
        Binding("n", "next_step(1)", "Next step"),
        Binding("p", "next_step(-1)", "Step before", show=False),
        Binding("G", "next_gap", "Next largest gap"),
        Binding("enter", "read_step", "Step in full"),
        Binding("escape", "close_step", "Close", show=False),
        Binding("w", "next_worker", "Next worker", show=False),
        Binding("home", "go_to_edge(0)", "Beginning", show=False),
        Binding("end", "go_to_edge(1)", "End", show=False),
        Binding("y", "copy_step", "Copy the step", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._of: RunSession | None = None
        self._loader: TimelineLoader | None = None
        self._chosen: int | None = None
        self._worker: int | None = None
        self._gaps: tuple[Gap, ...] = ()
        self._gap = -1
        self._shown: TimelineData | None = None

    def compose(self) -> ComposeResult:
        yield TopBar("timeline")
        yield Static(id="span", markup=False)
        with Horizontal(id="body"):
            with Vertical(id="lanes-side"):
                yield Lanes()
                yield Static(id="legend", markup=True)
            with Vertical(id="side"):
                yield Static(id="figures", markup=False)
                yield StepPanel()
        yield Static(
            "No run is open. Press 1 to launch one, or 5 to choose one that is there.",
            id="nothing",
            markup=False,
        )
        yield KeyFooter()

    def on_mount(self) -> None:
        """The lanes take the keys."""
        self.query_one(Lanes).focus()
        self.set_class(self.session is None, "-empty")
        self.ask()

    def on_resize(self) -> None:
        """Another width takes other cells."""
        self.ask()

    # -- data -----------------------------------------------------------------------------------

    def question(self) -> TimelineQuestion | None:
        """See `DataScreen`."""
        session = self.session
        if session is None or not self.query(Lanes):
            return None
        if session is not self._of:
            self._of, self._loader = session, TimelineLoader(session.view)
            self._chosen, self._worker, self._gaps, self._gap = None, None, (), -1
        self.remove_class("-empty")
        start_ns, end_ns = self._span_ns(session)
        return TimelineQuestion(
            at_ns=session.at_ns,
            start_ns=start_ns,
            end_ns=end_ns,
            columns=max(1, self.query_one(Lanes).columns),
            step=self._chosen,
            in_full=self._reads,
        )

    def load(self, question: TimelineQuestion) -> TimelineData:
        """See `DataScreen`."""
        assert self._loader is not None
        return self._loader.load(question)

    def show(self, data: TimelineData) -> None:
        """See `DataScreen`."""
        self._shown = data
        lanes = self.query_one(Lanes)
        lanes.update(data.lanes)
        self.query_one("#legend", Static).update(legend(data.kinds, self.app.draws_ascii))
        self.query_one("#span", Static).update(
            span_line(data.lanes.timeline, data.length_ns, self._chosen)
        )
        self.query_one("#figures", Static).update(
            figures_lines(data.lanes.timeline.figures, data.steps, data.remote)
        )
        if data.detail is not None:
            self.query_one(StepPanel).show(data.detail)

    def _span_ns(self, session: RunSession) -> tuple[int, int]:
        """What is shown: what was zoomed to; of a living run that is followed, its newest 30 s."""
        if session.span_s is None and session.view.live and session.playhead.mode == "follow":
            end_ns = max(session.at_ns, LIVE_SPAN_NS // 3)
            return max(0, end_ns - LIVE_SPAN_NS), end_ns
        start_s, end_s = session.visible_s()
        start_ns = round(start_s * 1e9)
        return start_ns, max(start_ns + 1, round(end_s * 1e9))

    # -- moving ---------------------------------------------------------------------------------

    def action_zoom(self, factor: float) -> None:
        """Zooms about the selected step where it is in sight, else about the middle."""
        if self.session is not None:
            start_ns, end_ns = self._span_ns(self.session)
            middle_ns = (start_ns + end_ns) // 2
            chosen = self._shown.lanes.chosen if self._shown is not None else None
            if chosen is not None and start_ns <= chosen.start_ns <= end_ns:
                middle_ns = (chosen.start_ns + chosen.end_ns) // 2
            self._zoom(factor, middle_ns / 1e9)

    def action_pan(self, share: float) -> None:
        """Moves the span that is shown."""
        self._hold_span()
        super().action_pan(share)

    def action_go_to_edge(self, edge: int) -> None:
        """Moves the span to the run's beginning or end."""
        self.action_pan(-1e9 if edge == 0 else 1e9)

    def _zoom(self, factor: float, center_s: float) -> None:
        if self.session is not None:
            self._hold_span()
            self.session.zoom(factor, center_s)
            self.ask()

    def _hold_span(self) -> None:
        """What is shown of a followed run stays where it is."""
        session = self.session
        if session is not None and session.span_s is None:
            start_ns, end_ns = self._span_ns(session)
            session.span_s = (start_ns / 1e9, end_ns / 1e9)

    # -- steps and gaps -------------------------------------------------------------------------

    def action_next_step(self, places: int) -> None:
        """Selects the step after (before) the selected one, or the one in the middle."""
        index, session = self._index, self.session
        if index is None or session is None:
            return
        if self._chosen is None:
            start_ns, end_ns = self._span_ns(session)
            self._choose(index.step_at(min((start_ns + end_ns) // 2, session.at_ns), self._worker))
        else:
            self._choose(index.next_step(self._chosen, places, session.at_ns))

    def action_next_gap(self) -> None:
        """Goes to the largest host gap of the run, then to the next largest, and so on."""
        index, session = self._index, self.session
        if index is None or session is None:
            return
        if not self._gaps or self._gap + 1 >= len(self._gaps):
            self._gaps, self._gap = index.largest_gaps(0, session.at_ns, _LARGEST), -1
        if not self._gaps:
            self.app.notify("no host gap: the GPU never waited for the host", timeout=4)
            return
        self._gap += 1
        gap = self._gaps[self._gap]
        length_ns = max(round(gap.duration_ms * 1e6) * 8, 20_000_000)
        middle_ns = gap.start_ns + round(gap.duration_ms * 5e5)
        session.span_s = (
            max(0, middle_ns - length_ns // 2) / 1e9,
            (max(0, middle_ns - length_ns // 2) + length_ns) / 1e9,
        )
        self.app.notify(
            f"gap {self._gap + 1} of {len(self._gaps)}: {milliseconds(gap.duration_ms)} after "
            f"step {gap.after_step}",
            timeout=3,
        )
        self._chosen = gap.after_step
        self.ask()

    def action_next_worker(self) -> None:
        """Selects on the next worker's lane from now on, at the same time."""
        index, session = self._index, self.session
        if index is None or session is None:
            return
        workers = index.workers
        now = self._worker if self._worker in workers else workers[0]
        self._worker = workers[(workers.index(now) + 1) % len(workers)]
        bounds = None if self._chosen is None else index.bounds_ns(self._chosen)
        if bounds is not None:
            self._choose(index.step_at(bounds[0], self._worker))

    def action_read_step(self) -> None:
        """Opens the selected step; without one, selects the one in the middle first."""
        if self._chosen is None:
            self.action_next_step(0)
        if self._chosen is not None:
            self.query_one("#side").add_class("-step")
            self.query_one("#members", BigTable).focus()
            self.ask()

    def action_close_step(self) -> None:
        """Closes the panel, or drops the selection where it is closed."""
        if self._reads:
            self.query_one("#side").remove_class("-step")
            self.query_one(Lanes).focus()
        else:
            self._chosen = None
        self.ask()

    def action_copy_step(self) -> None:
        """Copies the step that is read."""
        from workbench.tui.widgets.step_panel import step_facts

        detail = self._shown.detail if self._shown is not None else None
        if detail is None:
            self.app.notify("press Enter on a step first", timeout=3)
            return
        members = [f"{m.request_id}\t{m.part}\t{m.tokens}" for m in detail.members]
        text = "\n".join((step_facts(detail), "request\tpart\ttokens", *members))
        self.app.copy(text + "\n", f"step-{detail.step}")

    @property
    def _index(self) -> StepIndex | None:
        return None if self._loader is None else self._loader.index

    @property
    def _reads(self) -> bool:
        return self.query_one("#side").has_class("-step")

    def _choose(self, step: int | None) -> None:
        """Selects a step, and moves the span where it is out of sight."""
        session, index = self.session, self._index
        if step is None or session is None or index is None:
            return
        self._chosen = step
        bounds, (start_ns, end_ns) = index.bounds_ns(step), self._span_ns(session)
        if bounds is not None:
            if bounds[0] >= end_ns:
                self.action_pan((bounds[1] - end_ns) / (end_ns - start_ns) + 0.25)
            elif bounds[1] <= start_ns:
                self.action_pan((bounds[0] - start_ns) / (end_ns - start_ns) - 0.25)
            elif session.view.live:
                self._hold_span()
        self.ask()

    @on(Lanes.Picked)
    def _picked(self, event: Lanes.Picked) -> None:
        if self._index is not None:
            self._worker = self._worker if event.worker is None else event.worker
            self._choose(self._index.step_at(event.time_ns, self._worker))

    @on(Lanes.Zoomed)
    def _zoomed(self, event: Lanes.Zoomed) -> None:
        self._zoom(event.factor, event.center_s)

    @on(BigTable.Selected, "#members")
    def _member(self, event: BigTable.Selected) -> None:
        if isinstance(event.key, tuple):
            self.app.open_request(int(event.key[0]))
