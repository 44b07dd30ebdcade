"""What the compare screen shows, made in the loader thread: the marked runs, read once for each
version of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workbench.runs.annotations import read_annotations
from workbench.tui.drawing.chart_data import ChartData
from workbench.tui.drawing.scatter_picture import ScatterData, ScatterPoint
from workbench.tui.drawing.trace import Trace

if TYPE_CHECKING:
    import polars as pl

    from workbench.analysis.differences import Comparison, RunRecord
    from workbench.runs.store import RunStore
    from workbench.viewing.view import RunView

SERIES = 6
OVERLAID = (("ttft", "TTFT", "ms"), ("tpot", "TPOT", "ms"), ("tokens", "Output", "tok/s"))
DISTRIBUTIONS = (("ttft_ms", "TTFT"), ("tpot_ms", "TPOT"), ("e2e_ms", "E2E"))
_CDF_POINTS = 400


@dataclass(frozen=True, slots=True)
class CompareQuestion:
    """What is asked: at which moment of the system's clock (in parts of a few seconds), which run
    is the baseline, the percentile of overlaid latencies, and the columns of a chart."""

    moment: int
    baseline: str | None
    percentile: str
    columns: int


@dataclass(frozen=True, slots=True, eq=False)
class CompareData:
    """The answer; `comparison` is None while fewer than two runs are marked.

    Attributes:
        marked: labels of the marked runs; problems: why some of them can't be read.
    """

    marked: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    comparison: Comparison | None = None
    overlaid: dict[str, ChartData] = field(default_factory=dict)
    distributions: dict[str, ChartData] = field(default_factory=dict)
    front: ScatterData = field(default_factory=ScatterData)


class CompareLoader:
    """Reads the marked runs of a store, and keeps what it has read. Loader thread only."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._views: dict[str, RunView] = {}
        self._made_for: Any = None
        self._made = CompareData()

    def load(self, store: RunStore, question: CompareQuestion) -> CompareData:
        """The marked runs side by side."""
        views, problems = self._marked(store, question.baseline)
        made_for = (
            tuple((path, view.version) for path, view in views.items()),
            question.baseline,
            question.percentile,
            question.columns,
            problems,
        )
        if made_for != self._made_for:
            self._made = _compare_data(list(views.values()), problems, question)
            self._made_for = made_for
        return self._made

    def _marked(
        self, store: RunStore, baseline: str | None
    ) -> tuple[dict[str, RunView], tuple[str, ...]]:
        from workbench.errors import StoreError
        from workbench.runs.folder import RunFolder
        from workbench.viewing.view import open_view

        views: dict[str, RunView] = {}
        problems = []
        try:
            paths = sorted(path for path in store.root.iterdir() if path.is_dir())
        except FileNotFoundError:
            paths = []
        except OSError as error:
            raise StoreError(f"{store.root} can't be read: {error.strerror or error}") from None
        for path in paths:
            try:
                if not read_annotations(RunFolder(path)).marked:
                    continue
                key = str(path)
                view = self._views.get(key) or open_view(RunFolder(path), self._clock)
                view.refresh()
                views[key] = view
            except StoreError as error:
                problems.append(str(error))
        self._views = views
        first = [key for key, view in views.items() if view.content["run_id"] == baseline]
        order = first + [key for key in views if key not in first]
        return {key: views[key] for key in order}, tuple(problems)


def run_color(number: int) -> str:
    """The colour of the run in a place of the comparison."""
    return f"$series-{number % SERIES + 1}"


def _compare_data(
    views: list[RunView], problems: tuple[str, ...], question: CompareQuestion
) -> CompareData:
    from workbench.analysis.differences import compare

    labels = tuple(str(view.content.get("name") or view.content["run_id"]) for view in views)
    if len(views) < 2:
        return CompareData(labels, problems)
    comparison = compare([_record(view) for view in views])
    labels = unlike(labels)
    return CompareData(
        labels,
        problems,
        comparison,
        _overlaid(views, labels, question),
        _distributions(views, labels),
        _front(comparison, labels),
    )


def unlike(labels: tuple[str, ...]) -> tuple[str, ...]:
    """The labels, numbered where one stands for several runs."""
    return tuple(
        f"{label} ({labels[: place + 1].count(label)})" if labels.count(label) > 1 else label
        for place, label in enumerate(labels)
    )


def _record(view: RunView) -> RunRecord:
    from workbench.analysis.differences import RunRecord

    frames = view.frames
    tables: dict[str, pl.DataFrame] = {"requests": frames.requests}
    if view.content.get("summary") is None:
        tables |= {
            "steps": frames.steps,
            "events": frames.events,
            "devices": frames.devices,
            "server": frames.server,
            "emissions": view.emissions(0, view.end_ns),
        }
    return RunRecord(str(view.content["run_id"]), view.content, view.state, tables)


def _overlaid(
    views: list[RunView], labels: tuple[str, ...], question: CompareQuestion
) -> dict[str, ChartData]:
    longest_s = max(1.0, *(view.end_ns / 1e9 for view in views))
    lines = [view.charts(view.end_ns, 0.0, longest_s, question.columns) for view in views]
    charts = {}
    for panel, _, unit in OVERLAID:
        wanted = "output" if panel == "tokens" else question.percentile
        traces = tuple(
            Trace(label, line.x_s, line.y, line.style, run_color(number))
            for number, (label, of_run) in enumerate(zip(labels, lines, strict=True))
            for line in of_run.get(panel, ())
            if line.name == wanted
        )
        said = unit if panel == "tokens" else f"{wanted}, {unit}"
        charts[panel] = ChartData(traces, 0.0, longest_s, unit=said, empty="no run has any")
    return charts


def _distributions(views: list[RunView], labels: tuple[str, ...]) -> dict[str, ChartData]:
    """The share of requests, %, that took at most so many seconds."""
    import numpy as np

    frames = [view.requests(view.end_ns) for view in views]
    charts = {}
    for column, _ in DISTRIBUTIONS:
        traces, furthest_s = [], 0.0
        for number, (label, requests) in enumerate(zip(labels, frames, strict=True)):
            values = np.sort(requests[column].drop_nulls().to_numpy()) / 1e3
            if values.size:
                share = 100 * np.arange(1, values.size + 1) / values.size
                picked = np.unique(np.linspace(0, values.size - 1, _CDF_POINTS).astype(int))
                x, y = np.append(0.0, values[picked]), np.append(0.0, share[picked])
                traces.append(Trace(label, x, y, "step", run_color(number)))
                furthest_s = max(furthest_s, float(values[-1]))
        charts[column] = ChartData(
            tuple(traces), 0.0, furthest_s or 1.0, y_top=100.0, unit="% of requests",
            empty="no run has any",
        )  # fmt: skip
    return charts


def _front(comparison: Comparison, labels: tuple[str, ...]) -> ScatterData:
    from workbench.analysis.pareto import pareto

    found = pareto(comparison)
    if found is None or not found.points:
        return ScatterData(note="no run has both output throughput and TTFT p99")
    points = tuple(
        ScatterPoint(labels[point.run], point.x, point.y, point.on_front, run_color(point.run))
        for point in found.points
    )
    note = "◆ no other run has more throughput at as low a latency   ◇ another run beats it"
    if found.left_out:
        note += f"   without figures: {', '.join(found.left_out)}"
    x, y = found.x, found.y
    return ScatterData(points, f"{x.label}, {x.unit}", f"{y.label}, {y.unit}", note)
