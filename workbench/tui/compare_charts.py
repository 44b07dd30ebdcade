"""The compare screen's pictures: latencies over time, their distributions, and the front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.comparison.pareto import pareto
from workbench.tui.compare_data import DISTRIBUTIONS, OVERLAID, side_color
from workbench.tui.drawing.chart_data import ChartData
from workbench.tui.drawing.scatter_picture import ScatterData, ScatterPoint
from workbench.tui.drawing.trace import Floats, Trace

if TYPE_CHECKING:
    from workbench.comparison.comparison import Comparison
    from workbench.comparison.measured import MeasuredRun
    from workbench.tui.compare_sides import MarkedSide
    from workbench.viewing.history import Line

_CDF_POINTS = 400


def overlaid(sides: Sequence[MarkedSide], percentile: str, columns: int) -> dict[str, ChartData]:
    """Latencies and output over the time since the start: a line for each side, which for several
    runs is their median."""
    longest_s = max(1.0, *(view.end_ns / 1e9 for side in sides for view in side.views))
    panels = [
        [view.charts(view.end_ns, 0.0, longest_s, columns) for view in side.views] for side in sides
    ]
    several = ", median of its runs" if any(len(side.views) > 1 for side in sides) else ""
    charts = {}
    for panel, _, unit in OVERLAID:
        wanted = "output" if panel == "tokens" else percentile
        traces = []
        for place, (side, runs) in enumerate(zip(sides, panels, strict=True)):
            lines = [line for run in runs for line in run.get(panel, ()) if line.name == wanted]
            if lines:
                x, y = _median(lines)
                traces.append(Trace(side.label, x, y, lines[0].style, side_color(place)))
        said = (unit if panel == "tokens" else f"{wanted}, {unit}") + several
        charts[panel] = ChartData(tuple(traces), 0.0, longest_s, unit=said, empty="no run has any")
    return charts


def _median(lines: Sequence[Line]) -> tuple[Floats, Floats]:
    """At every moment of one of them, over the lines that have begun and not yet ended."""
    if len(lines) == 1:
        return lines[0].x_s, lines[0].y
    known = [
        (line.x_s[seen], line.y[seen]) for line in lines if (seen := np.isfinite(line.y)).any()
    ]
    if not known:
        return lines[0].x_s, lines[0].y
    x = np.unique(np.concatenate([own_x for own_x, _ in known]))
    each = [np.interp(x, own_x, y, left=np.nan, right=np.nan) for own_x, y in known]
    return x, np.nanmedian(each, axis=0)


def distributions(
    labels: Sequence[str], measured: Sequence[Sequence[MeasuredRun]]
) -> dict[str, ChartData]:
    """The share of the windows' requests, %, that took at most so many seconds; a side's runs
    together."""
    charts = {}
    for column, _ in DISTRIBUTIONS:
        traces, furthest_s = [], 0.0
        for place, (label, runs) in enumerate(zip(labels, measured, strict=True)):
            values = _seconds(runs, column)
            if values.size:
                share = 100 * np.arange(1, values.size + 1) / values.size
                picked = np.unique(np.linspace(0, values.size - 1, _CDF_POINTS).astype(int))
                x, y = np.append(0.0, values[picked]), np.append(0.0, share[picked])
                traces.append(Trace(label, x, y, "step", side_color(place)))
                furthest_s = max(furthest_s, float(values[-1]))
        charts[column] = ChartData(
            tuple(traces), 0.0, furthest_s or 1.0, y_top=100.0, unit="% of requests",
            empty="no run has any",
        )  # fmt: skip
    return charts


def _seconds(runs: Sequence[MeasuredRun], column: str) -> Floats:
    found = [run.requests[column].drop_nulls().to_numpy() for run in runs]
    return np.sort(np.concatenate(found)) / 1e3


def front(comparison: Comparison) -> ScatterData:
    """Output throughput against TTFT p99."""
    found = pareto(comparison)
    if found is None or not found.points:
        return ScatterData(note="no run has both output throughput and TTFT p99")
    points = tuple(
        ScatterPoint(point.label, point.x, point.y, point.on_front, side_color(point.run))
        for point in found.points
    )
    note = "◆ no other side has more throughput at as low a latency   ◇ another side beats it"
    if found.left_out:
        note += f"   without figures: {', '.join(found.left_out)}"
    x, y = found.x, found.y
    return ScatterData(points, f"{x.label}, {x.unit}", f"{y.label}, {y.unit}", note)
