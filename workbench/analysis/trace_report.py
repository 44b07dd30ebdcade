"""What a trace holds, for people: its facts, its lengths, and pictures of both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from workbench.analysis.chart import Chart, Line
from workbench.analysis.histogram import BINS_PER_DOUBLING, Histogram
from workbench.analysis.printable import plain
from workbench.analysis.quantities import count, counted, number, percent, quantity, seconds
from workbench.analysis.report_tables import Facts, facts_table
from workbench.analysis.series import Grid, Series
from workloads.traces.statistics import Arrivals, Lengths, TraceStatistics
from workloads.traces.trace import Trace

_PICTURES_FROM = 40
_ROUNDED_FROM = 0.5
_UNITS = {1_000_000_000: "whole s", 1_000_000: "whole ms", 1_000: "whole µs"}


class TraceReport:
    """A trace's report as a rich renderable; fits 80 columns.

    `sentences` say what was left out or changed before.
    """

    def __init__(
        self, trace: Trace, statistics: TraceStatistics, sentences: Sequence[str] = ()
    ) -> None:
        self._trace = trace
        self._statistics = statistics
        self._sentences = sentences

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        trace, statistics = self._trace, self._statistics
        parts: list[RenderableType] = [
            facts_table("Trace", _facts(trace, statistics)),
            _lengths_table(statistics),
        ]
        if options.max_width >= _PICTURES_FROM:
            parts += _pictures(trace, statistics, options.max_width)
        notes = [*self._sentences, *_advice(statistics)]
        if notes:
            parts.append(Text("\n".join(plain(note) for note in notes), "dim"))
        for part in parts:
            yield part
            yield Text("")


def _facts(trace: Trace, statistics: TraceStatistics) -> Facts:
    facts = [("File", plain(trace.path)), ("Format", plain(trace.format))]
    requests = count(statistics.rows)
    if statistics.failed:
        requests += f", {count(statistics.failed)} of them failed"
    facts.append(("Requests", requests))
    if trace.skipped:
        facts.append(("Broken rows", f"{count(trace.skipped)}: {plain(trace.first_skipped)}"))
    if trace.origin:
        facts.append(("First stamp", plain(trace.origin)))
    if statistics.arrivals is not None:
        facts += _arrival_facts(statistics.arrivals)
    elif trace.sessions_own_clock:
        facts.append(("Arrivals", "each session has its own clock"))
    sessions = statistics.sessions
    if sessions is not None:
        said = (
            f"{count(sessions.count)}, {number(sessions.turns_mean)} turns on average, "
            f"{count(sessions.turns_max)} at most"
        )
        if sessions.alone:
            said += f"; {counted(sessions.alone, 'request')} in none"
        facts.append(("Sessions", said))
    prefixes = statistics.prefixes
    if prefixes is not None:
        facts += [
            (
                "Blocks",
                f"{count(prefixes.blocks)} of {count(prefixes.block_tokens)} tokens, "
                f"{count(prefixes.unique_blocks)} different",
            ),
            (
                "Ideal hits",
                f"{percent(100 * prefixes.hit_share)} of blocks, "
                f"{percent(100 * prefixes.token_hit_share)} of prompt tokens, in a cache "
                "that never forgets",
            ),
        ]
    return facts


def _arrival_facts(arrivals: Arrivals) -> Facts:
    gaps = f"CV {number(arrivals.gap_cv)}, largest {seconds(arrivals.largest_gap_s)}"
    stamps = _UNITS.get(_unit_ns(arrivals.stamp_unit_ns), "finer than 1 µs")
    if arrivals.equal_share:
        stamps += f"; {percent(100 * arrivals.equal_share)} equal the one before"
        if arrivals.smallest_gap_s is not None:
            stamps += f", the others follow after {seconds(arrivals.smallest_gap_s)} or more"
    return [
        ("Span", f"{seconds(arrivals.span_s)}, {quantity(arrivals.rate_per_s, 'req/s')}"),
        ("Gaps", gaps),
        ("Stamps", stamps),
    ]


def _unit_ns(stamp_unit_ns: int) -> int:
    """The largest unit with a name that the stamps are whole multiples of; 0 for none."""
    return next((unit for unit in _UNITS if stamp_unit_ns % unit == 0), 0)


def _lengths_table(statistics: TraceStatistics) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column(Text("Tokens", "bold"), no_wrap=True)
    for name in ("mean", "p50", "p90", "p99", "max"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, lengths in (
        ("Input", statistics.input_tokens),
        ("Output", statistics.output_tokens),
    ):
        table.add_row(name, *_length_cells(lengths))
    return table


def _length_cells(lengths: Lengths | None) -> list[str]:
    if lengths is None:
        return [number(None)] * 5
    figures = (lengths.mean, lengths.p50, lengths.p90, lengths.p99)
    return [*(number(figure) for figure in figures), count(lengths.max)]


def _pictures(trace: Trace, statistics: TraceStatistics, width: int) -> list[RenderableType]:
    pictures: list[RenderableType] = []
    if statistics.arrivals is not None and statistics.arrivals.span_s:
        grid = Grid(int(trace.arrival_ns[-1]) / 1e9, (width - 8) // 2)
        edges_ns = np.linspace(0, trace.arrival_ns[-1], grid.intervals + 1)
        rates = np.histogram(trace.arrival_ns, edges_ns)[0] / grid.width_s
        series = Series(grid.middle_s(np.arange(grid.intervals)), rates.astype(np.float64))
        title = f"Arrivals, req/s, per {number(grid.width_s)} s"
        pictures.append(Chart(title, grid, (Line(series, "green"),)))
    for name, tokens, color in (
        ("Input", trace.input_tokens, "cyan"),
        ("Output", trace.output_tokens, "yellow"),
    ):
        answered = tokens[~trace.failed]
        if len(answered):
            title = f"{name} tokens, % of requests, {BINS_PER_DOUBLING} bins per doubling"
            pictures.append(Histogram(title, answered, color))
    return pictures


def _advice(statistics: TraceStatistics) -> list[str]:
    arrivals = statistics.arrivals
    if arrivals is None or arrivals.equal_share < _ROUNDED_FROM or not arrivals.median_gap_s:
        return []
    return [
        "The stamps were rounded: replayed as they are, requests come in bursts; "
        f"--jitter {arrivals.median_gap_s:.3g}s spreads them."
    ]
