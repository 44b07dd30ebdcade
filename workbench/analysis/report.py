"""The end report of a run: what it was, how fast it was, and what to keep in mind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from engines.options import REMOTE
from workbench.analysis.chart import Chart, Line
from workbench.analysis.device_facts import device_facts
from workbench.analysis.engine_parts import engine_parts
from workbench.analysis.lookup import at
from workbench.analysis.printable import plain
from workbench.analysis.quantities import MISSING, count, number, quantity
from workbench.analysis.report_tables import (
    duration,
    engine_facts,
    facts_table,
    has_weak_p99,
    latency_table,
    server_facts,
    throughput_facts,
    weak_footnote,
)
from workbench.analysis.series import Grid, output_tokens_over_time, ttft_over_time

_SIDE_BY_SIDE_FROM = 120
_CHART_FROM = 40
_STATE_STYLES = {"finished": "green", "failed": "red", "killed": "red", "interrupted": "yellow"}


class Report:
    """A run's report as a rich renderable; fits 80 columns, and uses 120 and more."""

    def __init__(self, run: Mapping[str, Any], tables: Mapping[str, pl.DataFrame | None]) -> None:
        self._run = run
        self._tables = tables

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        for part in self._parts(width):
            yield part
            yield Text("")

    def _parts(self, width: int) -> list[RenderableType]:
        run = self._run
        summary = run.get("summary")
        parts: list[RenderableType] = [_header(run)]
        if not isinstance(summary, Mapping) or not summary:
            return [*parts, Text("No summary was saved with this run.", "yellow")]
        latency = at(summary, "latency") or {}
        parts.append(latency_table(latency))
        if has_weak_p99(latency):
            parts[-1] = Group(parts[-1], weak_footnote())
        parts.append(
            _beside(
                facts_table("Throughput", throughput_facts(summary)),
                _served_by(run, summary),
                width,
            )
        )
        devices = device_facts(at(summary, "devices") or {}, at(run, "telemetry", "reasons") or {})
        if devices:
            parts.append(facts_table("Devices", devices))
        charts = self._charts(width // 2 if width >= _SIDE_BY_SIDE_FROM else width)
        if charts:
            parts.append(_beside(charts[0], charts[1], width) if len(charts) == 2 else charts[0])
        notes = at(summary, "notes")
        if notes:
            parts.append(_notes(notes))
        return parts

    def _charts(self, width: int) -> list[Chart]:
        """TTFT and output tokens over time, where there are any; an interval for two columns."""
        if width < _CHART_FROM:
            return []
        requests, emissions = self._tables.get("requests"), self._tables.get("emissions")
        stamps = [
            frame[column].max()
            for frame, column in ((requests, "scheduled_ns"), (emissions, "time_ns"))
            if frame is not None
        ]
        end_ns = max((stamp for stamp in stamps if isinstance(stamp, int)), default=0)
        grid = Grid(end_ns / 1e9, (width - 8) // 2)
        per = f"per {number(grid.width_s)} s"
        charts = []
        if requests is not None and (ttft := ttft_over_time(requests, grid)):
            unit = "ms"
            if max(series.values.max() for series in ttft) >= 10_000:
                unit, ttft = "s", tuple(series.scaled(1e-3) for series in ttft)
            p50, p99 = ttft
            lines = (Line(p99, "yellow", points=True), Line(p50, "cyan"))
            title = f"TTFT, {unit}, by arrival: p50 (line), p99 (•) {per}"
            charts.append(Chart(title, grid, lines))
        if emissions is not None and (tokens := output_tokens_over_time(emissions, grid)):
            charts.append(Chart(f"Output, tok/s, {per}", grid, (Line(tokens, "green"),)))
        return charts


def report(run: Mapping[str, Any], tables: Mapping[str, pl.DataFrame | None]) -> Report:
    """The end report of a run.

    Args:
        run: what `run.json` holds; keys may be missing.
        tables: the run's tables by name; `requests` and `emissions` give the charts.
    """
    return Report(run, tables)


def _header(run: Mapping[str, Any]) -> RenderableType:
    state = plain(run.get("state") or "of unknown state")
    title = Text("Run ", "bold").append(plain(run.get("run_id") or ""))
    if run.get("name"):
        title.append(f"  {plain(run['name'])}")
    title.append(f"  {state}", _STATE_STYLES.get(state, "yellow"))
    if run.get("reason"):
        title.append(f": {plain(run['reason'])}", "not bold")
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, said in (
        ("Model", _model(run)),
        ("Engine", _engine(run)),
        ("Machine", _machine(at(run, "environment", "hardware"))),
        ("Traffic", _traffic(run)),
        ("Window", _window(run)),
        ("Requests", _requests(at(run, "summary"))),
    ):
        if said:
            facts.add_row(name, Text(plain(said)))
    return Group(title, facts)


def _model(run: Mapping[str, Any]) -> str:
    """The model, and the type and device that "auto" came to be."""
    engine, model = at(run, "engine"), at(run, "spec", "model")
    if at(engine, "name") == REMOTE:
        return _listed(at(engine, "model"))
    kind = [str(at(engine, key) or at(model, key) or "") for key in ("dtype", "device")]
    return _listed(at(model, "name"), " on ".join(word for word in kind if word))


def _served_by(run: Mapping[str, Any], summary: Mapping[str, Any]) -> RenderableType:
    if at(run, "engine", "name") != REMOTE:
        return facts_table("Engine", engine_facts(summary))
    facts = server_facts(summary)
    reason = at(run, "engine", "metrics")
    if not facts:
        facts = [("Metrics", f"not told: {plain(reason)}" if reason else MISSING)]
    return facts_table("Server", facts)


def _engine(run: Mapping[str, Any]) -> str:
    engine = at(run, "engine")
    if at(engine, "name") == REMOTE:
        processes = at(run, "spec", "target", "processes") or 1
        return _listed(
            f"{at(engine, 'url')} over HTTP",
            at(engine, "api"),
            f"from {processes} processes" if processes > 1 else "",
        )
    limits = [
        f"{key} {count(at(engine, key))}"
        for key in ("max_num_seqs", "max_num_batched_tokens")
        if isinstance(at(engine, key), int)
    ]
    return _listed(at(run, "spec", "engine", "name"), *limits, engine_parts(engine or {}))


def _machine(hardware: Any) -> str:
    gpus = [str(at(gpu, "name")) for gpu in at(hardware, "gpus") or [] if at(gpu, "name")]
    cores = at(hardware, "usable_cores")
    named = {name: gpus.count(name) for name in gpus}
    said = [f"{copies} × {name}" if copies > 1 else name for name, copies in named.items()]
    return _listed(*said, at(hardware, "cpu_model"), f"{cores} cores" if cores else "")


def _traffic(run: Mapping[str, Any]) -> str:
    traffic = at(run, "spec", "traffic")
    rate, concurrency = run.get("rate_per_s"), at(traffic, "concurrency")
    seed = at(run, "spec", "seed")
    auto = " (set by calibration)" if run.get("calibration") else ""
    planned = at(run, "traffic")
    return _listed(
        at(planned, "what") or at(traffic, "workload"),
        at(planned, "arrival") or at(traffic, "arrival"),
        f"{quantity(rate, 'req/s')}{auto}" if isinstance(rate, int | float) else "",
        f"{concurrency} at a time" if concurrency and not planned else "",
        f"seed {seed}" if seed is not None else "",
    )


def _window(run: Mapping[str, Any]) -> str:
    drain, start_ns = at(run, "summary", "drain_s"), at(run, "summary", "window", "start_ns")
    length = at(run, "summary", "window_s")
    if length is None:
        return ""
    said = f"{duration(length)} measured"
    if start_ns:
        said += f" after {duration(start_ns / 1e9)} of warm-up"
    return said if drain is None else f"{said}, drained in {duration(drain)}"


def _requests(summary: Any) -> str:
    requests = at(summary, "requests")
    if requests is None:
        return ""
    by_status = at(requests, "by_status") or {}
    statuses = ", ".join(f"{count(n)} {status}" for status, n in by_status.items() if n)
    said = f"{count(at(requests, 'measured'))} in the window"
    said += f" ({statuses})" if statuses else ""
    lengths = [
        f"{name} p50 {count(at(figures, 'p50'))}, mean {count(at(figures, 'mean'))} tokens"
        for name, key in (("input", "input_tokens"), ("output", "output_tokens"))
        if at(figures := at(summary, "lengths", key), "n")
    ]
    return "; ".join((said, *lengths))


def _listed(*parts: Any) -> str:
    return ", ".join(str(part) for part in parts if part)


def _beside(left: RenderableType, right: RenderableType, width: int) -> RenderableType:
    if width < _SIDE_BY_SIDE_FROM:
        return Group(left, Text(""), right)
    grid = Table.grid(padding=(0, 2), expand=True)
    grid.add_column(ratio=1)
    grid.add_column(ratio=1)
    grid.add_row(left, right)
    return grid


def _notes(notes: list[Any]) -> RenderableType:
    rows: list[RenderableType] = [Text("Notes", "bold")]
    rows += [_bullet(plain(note)) for note in notes]
    return Group(*rows)


def _bullet(note: str) -> RenderableType:
    """A note whose later lines stand under its first word."""
    grid = Table.grid(padding=(0, 1))
    grid.add_row(Text("•"), Text(note))
    return grid
