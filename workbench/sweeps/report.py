"""The end of a sweep: the table of its points, what was found, and the throughput–latency charts.

The same as JSON, with the paths of all runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from workbench.analysis.printable import plain
from workbench.analysis.quantities import MISSING, number
from workbench.sweeps.chart import ParetoChart, Spot
from workbench.sweeps.outcome import MaxGoodput, Outcome, has_few, outcome_of, typical
from workbench.sweeps.state import Sweep
from workbench.sweeps.verdicts import FAILED, MISSES, OK, SATURATED, UNDECIDED, Point

PARETO_SIGN, FEW_SIGN = "◆", "*"
_STYLES = {OK: "green", MISSES: "red", SATURATED: "yellow", UNDECIDED: "cyan", FAILED: "bold red"}
_IN_SECONDS_FROM_MS = 9_999.5
_OFFERED_FROM = 88


@dataclass(frozen=True, slots=True)
class SweepReport:
    """A sweep's report as a rich renderable; fits 80 columns."""

    sweep: Sweep

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        outcome = _outcome(self.sweep)
        yield _header(self.sweep)
        yield Text("")
        if not outcome.points:
            yield Text("No point was run.", "yellow")
            return
        yield points_table(outcome, options.max_width)
        yield Text(_legend(outcome), "dim")
        yield Text("")
        for line in findings(outcome):
            yield Text(line, "bold")
        for chart in _charts(outcome):
            yield Text("")
            yield chart
        if outcome.notes:
            yield Text("")
            yield _bullets(outcome.notes)


def findings(outcome: Outcome) -> list[str]:
    """What the sweep found, in sentences."""
    said = []
    if outcome.goodput is not None:
        said.append(_goodput_sentence(outcome.goodput))
    unit = "req/s" if outcome.axis == "rate" else "at a time"
    if outcome.saturates is not None:
        why = f" ({outcome.saturates.why})" if outcome.saturates.why else ""
        said.append(f"saturates at {outcome.saturates.value:.4g} {unit}{why}")
    return said


def as_json(sweep: Sweep, path: Path) -> dict[str, Any]:
    """Everything: the sweep, its points with all runs and their paths, and what was found."""
    outcome = _outcome(sweep)
    places = {(p.value, p.repeat): p for p in sweep.points if p.counts}
    points = []
    for point in outcome.points:
        runs = [
            run.as_dict() | {"run_id": at.run_id, "path": at.path, "state": at.state}
            for run in point.runs
            if (at := places.get((run.value, run.repeat))) is not None
        ]
        points.append(
            {
                "value": point.value,
                "verdict": point.verdict,
                "why": point.why,
                "measured": point.measured,
                "met": point.met,
                "attainment": point.attainment,
                "interval": point.interval,
                "pareto_ttft": point.value in outcome.pareto_ttft,
                "pareto_tpot": point.value in outcome.pareto_tpot,
                "runs": runs,
            }
        )
    whole = sweep.as_dict()
    keys = ("sweep_id", "name", "created", "state", "reason", "axis", "plan", "spec")
    return {"path": str(path)} | {key: whole[key] for key in keys} | {
        "target": outcome.target,
        "points": points,
        "max_goodput": None if outcome.goodput is None else asdict(outcome.goodput),
        "saturates_at": None if outcome.saturates is None else outcome.saturates.value,
        "findings": findings(outcome),
        "notes": outcome.notes,
    }  # fmt: skip


def points_table(outcome: Outcome, width: int) -> Table:
    """A row for each point, by ascending load.

    Its rate is the nominal one; what the arrivals made of it in the window is shown as well where
    `width` allows.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    points, late = outcome.points, _latency_unit(outcome.points)
    table.add_column("", no_wrap=True)
    columns: list[tuple[str, Callable[[Point], str]]] = [
        ("rate\nreq/s", lambda p: number(p.value)),
        ("of-\nfered\nreq/s", _figure("offered_per_s")),
        ("achie-\nved\nreq/s", _figure("achieved_per_s")),
    ]
    if width < _OFFERED_FROM:
        del columns[1]
    if outcome.axis == "concurrency":
        columns = [("at a\ntime", lambda p: f"{p.value:,.0f}")]
    columns += [("out-\nput\ntok/s", _figure("output_tokens_per_s"))]
    for name, figure in (
        ("TTFT\np50", "ttft_p50_ms"),
        ("TTFT\np99", "ttft_p99_ms"),
        ("TPOT\np50", "tpot_p50_ms"),
        ("TPOT\np99", "tpot_p99_ms"),
        ("ITL\np99", "itl_p99_ms"),
    ):
        unit, scale = late[figure]
        columns.append((f"{name}\n{unit}", _figure(figure, scale)))
    if any(point.met is not None for point in points):
        columns += [
            ("SLO\nmet", lambda p: _percent(p.attainment, 100)),
            ("good-\nput\nreq/s", _figure("goodput_per_s")),
        ]
    columns.append(("KV\npeak", lambda p: _percent(typical(p, "kv_peak_percent"))))
    for heading, _ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for point in points:
        sign = PARETO_SIGN if point.value in outcome.pareto_ttft else " "
        sign += FEW_SIGN if has_few(point) else ""
        cells = [Text(say(point)) for _, say in columns]
        table.add_row(Text(sign), *cells, Text(point.verdict, _STYLES[point.verdict]))
    return table


def _outcome(sweep: Sweep) -> Outcome:
    return outcome_of(sweep.axis, sweep.plan, sweep.results, sweep.state == "finished")


def _header(sweep: Sweep) -> Text:
    title = Text("Sweep ", "bold").append(plain(sweep.sweep_id))
    if sweep.name:
        title.append(f"  {plain(sweep.name)}")
    title.append(f"  {sweep.state}", "green" if sweep.state == "finished" else "yellow")
    if sweep.reason:
        title.append(f": {plain(sweep.reason)}", "not bold")
    spec = sweep.spec
    about = f"{spec.what} on {spec.engine.name}, {spec.model.name}; {len(sweep.points)} runs"
    limits = ", ".join(f"{name.upper()} ≤ {ms:,g} ms" for name, ms in spec.slo.limits.items())
    if limits:
        about += f"; SLO {limits}"
    return title.append("\n").append(plain(about), "not bold")


def _goodput_sentence(found: MaxGoodput) -> str:
    if found.rate_per_s is None:
        return f"max goodput: no rate passes (attainment ≥ {found.target:.4g})"
    upper = f"{found.failing_per_s:.4g}" if found.failing_per_s is not None else "more"
    sentence = (
        f"max goodput {found.rate_per_s:.4g} req/s (between {found.rate_per_s:.4g} and {upper}; "
        f"attainment ≥ {100 * found.target:.4g} % of {found.requests:,} requests"
    )
    return sentence + (")" if found.decided else "; undecided, see the notes)")


def _legend(outcome: Outcome) -> str:
    said = [f"{PARETO_SIGN} no other point has as much output at a lower TTFT p99"]
    if any(has_few(point) for point in outcome.points):
        said.append(f"{FEW_SIGN} few requests")
    return "; ".join(said)


def _charts(outcome: Outcome) -> list[ParetoChart]:
    charts = []
    for name, figure, front in (
        ("TTFT", "ttft_p99_ms", outcome.pareto_ttft),
        ("TPOT", "tpot_p99_ms", outcome.pareto_tpot),
    ):
        unit, scale = _latency_unit(outcome.points)[figure]
        spots = [
            Spot(done, late * scale, f"{point.value:.3g}", point.value in front)
            for point in outcome.points
            if (done := typical(point, "output_tokens_per_s")) is not None
            and (late := typical(point, figure)) is not None
        ]
        if len(spots) > 1:
            load = "req/s" if outcome.axis == "rate" else "concurrency"
            title = f"{name} p99, {unit}, over output tok/s, by {load}"
            charts.append(ParetoChart(title, spots))
    return charts


def _latency_unit(points: Sequence[Point]) -> dict[str, tuple[str, float]]:
    """ms, or s where a column would grow too wide; with the factor from ms."""
    units = {}
    for name in ("ttft_p50_ms", "ttft_p99_ms", "tpot_p50_ms", "tpot_p99_ms", "itl_p99_ms"):
        most = max((typical(point, name) or 0.0 for point in points), default=0.0)
        units[name] = ("s", 1e-3) if most >= _IN_SECONDS_FROM_MS else ("ms", 1.0)
    return units


def _figure(name: str, scale: float = 1.0) -> Callable[[Point], str]:
    def say(point: Point) -> str:
        value = typical(point, name)
        if value is None:
            return MISSING
        return number(value * scale) if value * scale < 9_999.5 else f"{value * scale / 1e3:.1f}k"

    return say


def _percent(value: float | None, scale: float = 1.0) -> str:
    if value is None:
        return MISSING
    share = scale * value
    return "99.9%" if 99.95 <= share < 100 else f"{share:.1f}%" if share < 100 else "100%"


def _bullets(notes: Sequence[str]) -> RenderableType:
    """Notes whose later lines stand under their first word."""
    grid = Table.grid(padding=(0, 1))
    for note in notes:
        grid.add_row(Text("•"), Text(plain(note)))
    return grid
