"""Runs side by side: what each measured, how it differs from the first, and how sure that is.

A difference is stated with the intervals of both figures and whether they are apart. Whether it
would show again takes repeated runs, and is not said here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from engines.options import REMOTE
from workbench.analysis.compared_metrics import Metric, metrics_of
from workbench.analysis.intervals import (
    Interval,
    mean_interval,
    percentile_interval,
    share_interval,
)
from workbench.analysis.lookup import at
from workbench.analysis.metrics import Window, request_metrics
from workbench.analysis.settings_differences import Setting, setting_differences
from workbench.analysis.statistics import WEAK_BELOW, Samples
from workbench.analysis.summary import summarise

_MOST_KEYS = 3
"""How many keys of the traffic a note names; the settings list them all."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run to be compared: its `run.json`, the state that it really is in ("dead" where the
    runner is gone), and its tables, as far as they can be read."""

    run_id: str
    content: Mapping[str, Any]
    state: str
    tables: Mapping[str, pl.DataFrame]


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """Who stands in a column; `problem` says why its figures are not those of a finished run."""

    run_id: str
    name: str
    state: str
    problem: str
    requests: int | None
    window_s: float | None


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure of one run; None where it is undefined.

    Attributes:
        n: samples that it stands on, where these are requests or gaps.
        interval: 95 %, within the run, its requests taken as independent; None where there are
            too few, and for figures whose samples plainly depend on each other (ITL, steps).
        difference, ratio: value - baseline, and value ÷ baseline; None of the baseline itself.
        apart: whether this interval and the baseline's share no value; None where one lacks.
    """

    value: float | None
    n: int | None
    interval: Interval | None
    difference: float | None
    ratio: float | None
    apart: bool | None


@dataclass(frozen=True, slots=True)
class Row:
    """A metric and its cells, one of each run, the baseline first."""

    metric: Metric
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two or more runs side by side; the first is the baseline.

    Attributes:
        settings: what differs in the way they were set up, traffic first.
        notes: what a reader must know, in sentences; the weightiest first.
    """

    runs: tuple[ComparedRun, ...]
    settings: tuple[Setting, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def traffic_differs(self) -> bool:
        """Whether the runs were asked for different work."""
        return any(setting.traffic for setting in self.settings)


def compare(records: Sequence[RunRecord]) -> Comparison:
    """The runs side by side, the first as baseline. A run without a summary is summed up from the
    requests that have ended, where its tables hold any.

    Raises:
        ValueError: fewer than two runs.
    """
    if len(records) < 2:
        raise ValueError("a comparison takes two runs or more")
    summaries = [_summary(record) for record in records]
    samples = [
        _Samples(record, summary) for record, summary in zip(records, summaries, strict=True)
    ]
    settings = setting_differences([record.content for record in records])
    runs = tuple(
        _compared(record, summary) for record, summary in zip(records, summaries, strict=True)
    )
    rows = tuple(_row(metric, summaries, samples) for metric in metrics_of(summaries))
    return Comparison(runs, settings, rows, _notes(runs, settings, rows))


class _Samples:
    """The raw samples of a run's window, by column."""

    def __init__(self, record: RunRecord, summary: Mapping[str, Any] | None) -> None:
        requests = record.tables.get("requests")
        window = at(summary, "window")
        self._frame: pl.DataFrame | None = None
        if requests is not None and requests.height and window is not None:
            inside = Window(int(window["start_ns"]), int(window["end_ns"])).holds("scheduled_ns")
            self._frame = request_metrics(requests.filter(inside))

    def of(self, column: str) -> Samples | None:
        if self._frame is None or column not in self._frame.columns:
            return None
        values: Samples = self._frame[column].drop_nulls().cast(pl.Float64).to_numpy()
        return values[~np.isnan(values)]


def _summary(record: RunRecord) -> Mapping[str, Any] | None:
    """The run's summary as saved, or of what there is so far; None where there is nothing."""
    saved: Mapping[str, Any] | None = record.content.get("summary")
    requests = record.tables.get("requests")
    if saved is not None or requests is None or not requests.height:
        return saved
    warmup_ns = int(float(record.content.get("warmup_s") or 0) * 1e9)
    last = requests["scheduled_ns"].max()
    window = Window(warmup_ns, max(warmup_ns, int(last) if isinstance(last, int) else 0))
    engine, slo = at(record.content, "engine"), at(record.content, "spec", "slo") or {}
    return summarise(
        record.tables,
        window,
        slo={name: limit for name, limit in slo.items() if name != "require_attainment"},
        usable_blocks=at(engine, "num_blocks"),
        block_size=at(engine, "block_size"),
        remote=at(engine, "name") == REMOTE,
    ).as_dict()


def _compared(record: RunRecord, summary: Mapping[str, Any] | None) -> ComparedRun:
    reason = str(record.content.get("reason") or "")
    problem = ""
    if summary is None:
        problem = f"is {record.state} and has no figures" + (f": {reason}" if reason else "")
    elif record.content.get("summary") is None:
        ended = at(summary, "requests", "recorded")
        problem = f"is {record.state} and has no summary: figures of the {ended} requests ended"
    elif record.state != "finished":
        problem = f"is {record.state}" + (f": {reason}" if reason else "")
    return ComparedRun(
        run_id=record.run_id,
        name=str(record.content.get("name") or ""),
        state=record.state,
        problem=problem,
        requests=at(summary, "requests", "measured"),
        window_s=at(summary, "window_s"),
    )


def is_weak(row: Row, cell: Cell) -> bool:
    """Whether a p99 stands on fewer than 100 samples."""
    return row.metric.figure == "p99" and cell.n is not None and cell.n < WEAK_BELOW


def _row(
    metric: Metric, summaries: Sequence[Mapping[str, Any] | None], samples: Sequence[_Samples]
) -> Row:
    cells: list[Cell] = []
    for summary, raw in zip(summaries, samples, strict=True):
        own = Cell(
            value=metric.value(summary),
            n=at(summary, *metric.path[:-1], "n"),
            interval=_interval(metric, summary, raw),
            difference=None,
            ratio=None,
            apart=None,
        )
        cells.append(_against(cells[0], own) if cells else own)
    return Row(metric, tuple(cells))


def _against(base: Cell, cell: Cell) -> Cell:
    difference = ratio = apart = None
    if cell.value is not None and base.value is not None:
        difference = cell.value - base.value
        ratio = cell.value / base.value if base.value else None
    if cell.interval is not None and base.interval is not None:
        apart = cell.interval.apart_from(base.interval)
    return dataclasses.replace(cell, difference=difference, ratio=ratio, apart=apart)


def _interval(
    metric: Metric, summary: Mapping[str, Any] | None, samples: _Samples
) -> Interval | None:
    if metric.path == ("objectives", "attainment"):
        met, n = at(summary, "objectives", "met"), at(summary, "requests", "measured")
        share = share_interval(met, n) if met is not None and n else None
        return None if share is None else Interval(100 * share.low, 100 * share.high)
    values = samples.of(metric.sample) if metric.sample else None
    if values is None or metric.value(summary) is None:
        return None
    if metric.figure == "mean":
        return mean_interval(values)
    return percentile_interval(values, float(metric.figure.removeprefix("p")))


def _notes(
    runs: Sequence[ComparedRun], settings: Sequence[Setting], rows: Sequence[Row]
) -> tuple[str, ...]:
    notes = []
    traffic = [setting.key for setting in settings if setting.traffic]
    if traffic:
        keys = ", ".join(traffic[:_MOST_KEYS])
        if len(traffic) > _MOST_KEYS:
            keys += f" and {len(traffic) - _MOST_KEYS} more"
        notes.append(f"THE TRAFFIC DIFFERS ({keys}): the runs were not asked for the same.")
    notes += [f"{run.name or run.run_id} {run.problem}." for run in runs if run.problem]
    if any(is_weak(row, cell) for row in rows for cell in row.cells if cell.value is not None):
        notes.append(f"* p99 of fewer than {WEAK_BELOW} samples: little more than the largest one.")
    notes.append(
        "Intervals: 95 %, within each run, its requests taken as independent. They say nothing "
        "about what a repeated run would give."
    )
    return tuple(notes)
