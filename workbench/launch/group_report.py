"""The end of repeated runs: what each measured, and how far the runs lie apart."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from workbench.analysis.lookup import at
from workbench.analysis.quantities import MISSING, number
from workbench.comparison.intervals import Interval, t_interval

_COLUMNS = (
    ("TTFT p50\nms", ("latency", "ttft_ms", "p50")),
    ("TTFT p99\nms", ("latency", "ttft_ms", "p99")),
    ("TPOT p50\nms", ("latency", "tpot_ms", "p50")),
    ("TPOT p99\nms", ("latency", "tpot_ms", "p99")),
    ("output\ntok/s", ("throughput", "output_tokens_per_s")),
    ("goodput\nreq/s", ("objectives", "goodput_per_s")),
)


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over repeated runs, in its own unit.

    Attributes:
        n: runs that have it; deviation: sample standard deviation; None of a single run.
        interval: 95 % of the mean of such runs, by Student's t; None of a single run.
    """

    n: int
    mean: float
    deviation: float | None
    interval: Interval | None


def spread(values: Sequence[float | None]) -> Spread | None:
    """How a figure varies over runs; None where no run has it."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    n, mean = len(known), statistics.fmean(known)
    if n == 1:
        return Spread(n, mean, None, None)
    deviation = statistics.stdev(known)
    return Spread(n, mean, deviation, t_interval(mean, deviation / n**0.5, n - 1))


@dataclass(frozen=True, slots=True)
class GroupReport:
    """A group of `repeats` runs as a rich renderable, from the `run.json` of those that were begun;
    fits 80 columns. Only runs that finished have figures here."""

    group_id: str
    repeats: int
    contents: Sequence[Mapping[str, Any]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        finished = sum(content["state"] == "finished" for content in self.contents)
        yield Text(f"group {self.group_id}: {finished} of {self.repeats} runs finished", "bold")
        yield Text("")
        yield self._table()
        if finished:
            yield Text("sd: between runs; 95 %: of the mean, by Student's t over n runs", "dim")
        yield Text("")

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
        figures = [_figures(content) for content in self.contents]
        shown = [
            (heading, [own[place] for own in figures])
            for place, (heading, _) in enumerate(_COLUMNS)
            if any(own[place] is not None for own in figures)
        ]
        table.add_column("run", no_wrap=True)
        for heading, _ in shown:
            table.add_column(heading, justify="right", no_wrap=True)
        for place, content in enumerate(self.contents):
            state = "" if content["state"] == "finished" else f" {content['state']}"
            cells = [number(values[place]) for _, values in shown]
            table.add_row(f"{place + 1}{state}", *cells)
        if not shown:
            return table
        table.add_row()
        spreads = [spread(values) for _, values in shown]
        table.add_row("mean", *(number(each.mean if each else None) for each in spreads))
        table.add_row("sd", *(number(each.deviation if each else None) for each in spreads))
        table.add_row("95 % from", *(_end(each, "low") for each in spreads))
        table.add_row("95 % to", *(_end(each, "high") for each in spreads))
        table.add_row("n", *(str(each.n) if each else MISSING for each in spreads))
        return table


def _figures(content: Mapping[str, Any]) -> list[float | None]:
    if content["state"] != "finished":
        return [None for _ in _COLUMNS]
    return [at(content.get("summary"), *path) for _, path in _COLUMNS]


def _end(each: Spread | None, end: str) -> str:
    interval = None if each is None else each.interval
    return number(None if interval is None else getattr(interval, end))
