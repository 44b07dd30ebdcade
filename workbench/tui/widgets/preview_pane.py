"""What a spec comes to: its command, memory and traffic; and the specs of earlier runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from workbench.analysis.quantities import counted, size_text
from workbench.spec import RunSpec
from workbench.tui.drawing.chart_data import ChartData
from workbench.tui.drawing.clip import clipped
from workbench.tui.drawing.trace import Trace
from workbench.tui.launch_data import LaunchData, Recent
from workbench.tui.widgets.line_chart import LineChart

if TYPE_CHECKING:
    from workbench.launch.preview import Arrivals

_DRAWN = re.compile(r"[^\x00-\x7f]+")
_MOST_SOURCE = 220
_LEAST_COLUMNS = 30


class PreviewPane(VerticalScroll):
    """Shows `LaunchData`; Enter on an earlier spec asks to load it."""

    DEFAULT_CSS = """
    PreviewPane { padding: 0 1; scrollbar-gutter: stable; scrollbar-size-vertical: 1; }
    PreviewPane Static { height: auto; margin-bottom: 1; }
    PreviewPane.-stale #command, PreviewPane.-stale #fit, PreviewPane.-stale #traffic,
    PreviewPane.-stale LineChart { opacity: 50%; }
    PreviewPane LineChart { height: 7; margin-bottom: 1; }
    PreviewPane #recent-title { margin-bottom: 0; }
    PreviewPane OptionList {
        height: auto; max-height: 12; border: none; padding: 0; background: transparent;
        text-wrap: nowrap;
    }
    PreviewPane OptionList:blur > .option-list--option-highlighted { background: transparent; }
    """

    class Chosen(Message):
        """An earlier spec was chosen."""

        def __init__(self, spec: RunSpec) -> None:
            super().__init__()
            self.spec = spec

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._recent: tuple[Recent, ...] = ()

    @property
    def columns(self) -> int:
        """Columns that pictures may have."""
        return max(_LEAST_COLUMNS, self.scrollable_content_region.width)

    def compose(self) -> ComposeResult:
        yield Static(id="command")
        yield Static(id="fit")
        yield Static(id="traffic")
        yield LineChart("arrivals", id="arrivals")
        yield Static(id="recent-title")
        yield OptionList(id="recent", markup=False)

    def on_mount(self) -> None:
        """Leaves out what there is nothing of yet."""
        self.query_one("#recent").display = False
        self.query_one("#arrivals").display = False

    def on_resize(self) -> None:
        """Fits the lines of the earlier runs to the width."""
        listed = self.query_one("#recent", OptionList)
        for at, each in enumerate(self._recent):
            listed.replace_option_prompt_at_index(at, self._line(each))

    def show(self, data: LaunchData) -> None:
        """Takes what would be run."""
        with self.app.batch_update():
            self.query_one("#command", Static).update(self._command(data))
            self.query_one("#fit", Static).update(self._fit(data))
            self.query_one("#traffic", Static).update(self._traffic(data))
            self._show_arrivals(None if data.preview is None else data.preview.arrivals)

    def _show_arrivals(self, arrivals: Arrivals | None) -> None:
        chart = self.query_one("#arrivals", LineChart)
        chart.display = arrivals is not None
        if arrivals is None:
            return
        what = "shape only" if arrivals.shape_only else f"{arrivals.begins}/s"
        chart.title = f"arrivals, {what}: {arrivals.said}"
        trace = Trace("", arrivals.middle_s, arrivals.per_s, "step", "$series-3")
        chart.update(ChartData((trace,), 0.0, arrivals.duration_s))

    def show_recent(self, recent: Sequence[Recent]) -> None:
        """Takes the specs of earlier runs, newest first."""
        self._recent = tuple(recent)
        listed = self.query_one("#recent", OptionList)
        listed.clear_options()
        listed.add_options(
            Option(self._line(each), id=str(at)) for at, each in enumerate(self._recent)
        )
        listed.highlighted = 0 if self._recent else None
        listed.display = bool(self._recent)
        said = "Earlier runs (Enter takes the spec)" if self._recent else "No run yet"
        self.query_one("#recent-title", Static).update(self._titled(said))

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(self.Chosen(self._recent[int(event.option_id or 0)].spec))

    def _line(self, each: Recent) -> Text:
        return Text(clipped(each.said, self.columns))

    def _titled(self, title: str, rest: str = "") -> Text:
        return Text.assemble((title, f"bold {self.app.theme_variables['primary']}"), rest)

    def _command(self, data: LaunchData) -> Text:
        text = self._titled("Command", f"\n{data.command.text}")
        if data.command.needs_spec:
            keys = ", ".join(data.command.needs_spec)
            warn = self.app.theme_variables["warn"]
            text.append(f"\nonly a spec file says {keys}: save it and use --spec", warn)
        return text

    def _fit(self, data: LaunchData) -> Text:
        colors, fit, model = self.app.theme_variables, data.fit, data.fit.model
        sign, color = {True: ("✓", "good"), False: ("✗", "bad"), None: ("–", "muted")}[fit.fits]
        about = "" if model is None else (
            f"  {model.name}, {model.parameters / 1e6:,.3g} M parameters, {model.dtype} on "
            f"{model.device}"
        )  # fmt: skip
        text = self._titled("Memory", about)
        text.append(f"\n{sign} ", colors[color]).append(fit.why)
        if fit.pool is None:
            return text
        for need in fit.needs:
            text.append(
                f"\n  p{need.percentile} request: {counted(need.tokens, 'token')}, "
                f"{size_text(need.bytes)} of KV; {need.at_once:,} fit at once",
                colors["muted"],
            )
        pool = fit.pool
        text.append(
            f"\n  KV pool {size_text(pool.bytes)}, {pool.blocks:,} blocks of {pool.block_size}; "
            f"max_num_seqs {pool.max_num_seqs:,}, step {pool.max_num_batched_tokens:,} tokens",
            colors["muted"],
        )
        if model is not None and model.parts:
            text.append(f"\n  {model.parts}", colors["muted"])
        return text

    def _traffic(self, data: LaunchData) -> Text:
        colors = self.app.theme_variables
        title, source = data.about
        text = self._titled("Traffic", f"  {title}")
        text.append(f"\n{clipped(source, _MOST_SOURCE)}", colors["muted"])
        if data.problem is not None:
            text.append(f"\n✗ {data.problem}", colors["bad"])
        for note in () if data.preview is None else data.preview.notes:
            text.append(f"\n• {note}", colors["warn"])
        for number, picture in enumerate(data.histograms, 1):
            text.append("\n\n").append(self._drawn(picture, colors[f"series-{number}"]))
        return text

    def _drawn(self, picture: str, color: str) -> Text:
        text = Text("\n".join(line.rstrip() for line in picture.splitlines()))
        text.highlight_regex(_DRAWN, color)
        return text
