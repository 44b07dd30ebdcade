"""The panels of a run over time: the lines that its charts draw, up to one moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from workbench.viewing.by_request import BIN_NS
from workbench.viewing.emissions import Emissions
from workbench.viewing.growing import Floats, Ints, Stamped
from workbench.viewing.intervals import percentiles_by_interval, round_width_ns
from workbench.viewing.record import RunRecord

Style = Literal["line", "step", "points"]

PANELS = ("ttft", "tpot", "tokens", "queue", "kv", "gpu", "power", "cpu")


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One line of a chart; `x_s`, seconds since the run's start, never falls.

    A "step" holds its value until the next one.
    """

    name: str
    x_s: Floats
    y: Floats
    style: Style = "line"


@dataclass(frozen=True, slots=True)
class Span:
    """What a chart shows: the intervals that overlap `start_ns` to `end_ns`, as far as `at_ns`.

    Attributes:
        ended: nothing comes after `at_ns` any more, so the last interval is as whole as it gets.
    """

    at_ns: int
    start_ns: int
    end_ns: int
    width_ns: int
    ended: bool

    @property
    def first(self) -> int:
        return max(0, self.start_ns // self.width_ns)

    @property
    def from_ns(self) -> int:
        """The first interval's beginning."""
        return self.first * self.width_ns

    @property
    def until_ns(self) -> int:
        """The last stamp that is shown: of the last interval's end, or `at_ns`."""
        last = (self.end_ns // self.width_ns + 1) * self.width_ns - 1
        return min(last, self.at_ns)

    def edges_ns(self) -> Ints:
        """The edges of the whole intervals; of an ended run, the last one may be cut short."""
        whole = (self.until_ns + 1) // self.width_ns
        edges: Ints = np.arange(self.first, max(whole, self.first) + 1) * self.width_ns
        if self.ended and self.until_ns == self.at_ns and self.at_ns > edges[-1]:
            edges = np.append(edges, self.at_ns)
        return edges

    def middles_s(self, intervals: Ints) -> Floats:
        result: Floats = (intervals.astype(np.float64) + 0.5) * (self.width_ns / 1e9)
        return result


def span_of(at_ns: int, start_s: float, end_s: float, columns: int, ended: bool) -> Span:
    """The span that `columns` columns show of `start_s` to `end_s`."""
    start_s, end_s = max(0.0, start_s), max(start_s, end_s, 0.0)
    width_ns = round_width_ns(end_s - start_s, columns)
    return Span(at_ns, int(start_s * 1e9), int(end_s * 1e9), width_ns, ended)


def panels(
    record: RunRecord, emissions: Emissions, span: Span, usable_blocks: int | None
) -> dict[str, tuple[Line, ...]]:
    """The lines of every one of `PANELS`, in their order; () where there is nothing to draw."""
    draw: dict[str, Callable[[], tuple[Line, ...]]] = {
        "ttft": lambda: _latency(record.firsts, "ttft_ms", span),
        "tpot": lambda: _latency(record.ends, "tpot_ms", span),
        "tokens": lambda: _tokens(record, emissions, span),
        "queue": lambda: _queue(record, span),
        "kv": lambda: _kv(record, span, usable_blocks),
        "gpu": lambda: _gpu(record, span),
        "power": lambda: _device_lines(record, span, "power_watts"),
        "cpu": lambda: _cpu(record, span),
    }
    return {panel: draw[panel]() for panel in PANELS}


def _latency(samples: Stamped, name: str, span: Span) -> tuple[Line, ...]:
    """p50 and p99 of each interval's samples."""
    if not samples.upto(span.at_ns):
        return ()
    start, end = samples.upto(span.from_ns - 1), samples.upto(span.until_ns)
    intervals = samples.times_ns[start:end] // span.width_ns
    found, (p50, p99) = percentiles_by_interval(
        intervals, samples.column(name)[start:end], (50.0, 99.0)
    )
    x_s = span.middles_s(found)
    return Line("p50", x_s, p50), Line("p99", x_s, p99)


def _tokens(record: RunRecord, emissions: Emissions, span: Span) -> tuple[Line, ...]:
    """Output and prompt tokens per second of each whole interval."""
    edges_ns = span.edges_ns()
    seconds = np.diff(edges_ns) / 1e9
    x_s = (edges_ns[:-1] + edges_ns[1:]) / 2e9
    lines = []
    if record.firsts.upto(span.at_ns):
        output = np.diff(_output_before(record, emissions, edges_ns, span.width_ns))
        lines.append(Line("output", x_s, output / seconds))
    if record.rows_upto("steps", span.at_ns):
        computed = record.summed("steps", "prefill_tokens")
        before = np.searchsorted(record.column("steps", "end_ns"), edges_ns, side="left")
        lines.append(Line("prompt", x_s, np.diff(computed[before]) / seconds))
    return tuple(lines)


def _output_before(record: RunRecord, emissions: Emissions, edges_ns: Ints, width_ns: int) -> Ints:
    """Output tokens before each edge, less those before some moment."""
    if width_ns % BIN_NS == 0:
        return record.token_counts.before(edges_ns)
    found = emissions.between(int(edges_ns[0]), int(edges_ns[-1]) - 1)
    sums = np.append(0, np.cumsum(found["tokens"].to_numpy()))
    return sums[np.searchsorted(found["time_ns"].to_numpy(), edges_ns, side="left")]


def _queue(record: RunRecord, span: Span) -> tuple[Line, ...]:
    names = ("running", "waiting")
    if record.rows_upto("steps", span.at_ns):
        return tuple(_state(record, "steps", "end_ns", name, name, span) for name in names)
    return tuple(
        _state(record, "server", "time_ns", name, name, span)
        for name in names
        if _is_told(record, name, span)
    )


def _kv(record: RunRecord, span: Span, usable_blocks: int | None) -> tuple[Line, ...]:
    if record.rows_upto("steps", span.at_ns) and usable_blocks:
        share = 100 / usable_blocks
        return (
            _state(record, "steps", "end_ns", "live_blocks", "live", span, share),
            _state(record, "steps", "end_ns", "cached_blocks", "cached", span, share),
        )
    if not _is_told(record, "kv_usage", span):
        return ()
    return (_state(record, "server", "time_ns", "kv_usage", "live", span, 100.0),)


def _is_told(record: RunRecord, name: str, span: Span) -> bool:
    told = record.column("server", name)[: record.rows_upto("server", span.at_ns)]
    return not np.isnan(told).all()


def _state(
    record: RunRecord,
    table: str,
    order: str,
    column: str,
    name: str,
    span: Span,
    scale: float = 1.0,
) -> Line:
    """A state that holds until the next row: all rows, or each interval's least and most."""
    times_ns, values = record.column(table, order), record.column(table, column)
    start = max(0, int(np.searchsorted(times_ns, span.from_ns, side="right")) - 1)
    end = int(np.searchsorted(times_ns, span.until_ns, side="right"))
    times_ns, values = times_ns[start:end], values[start:end].astype(np.float64) * scale
    if np.isnan(values).any():
        known = ~np.isnan(values)
        times_ns, values = times_ns[known], values[known]
    if not values.size:
        return Line(name, np.empty(0), np.empty(0), "step")
    last = values[-1]
    if values.size > 4 * ((span.until_ns - span.from_ns) // span.width_ns + 1):
        times_ns, values = _least_and_most(times_ns, values, span.width_ns)
    x_s = np.maximum(times_ns, span.from_ns) / 1e9
    until_s = min(span.until_ns, span.at_ns) / 1e9
    return Line(name, np.append(x_s, max(until_s, x_s[-1])), np.append(values, last), "step")


def _least_and_most(times_ns: Ints, values: Floats, width_ns: int) -> tuple[Ints, Floats]:
    intervals = times_ns // width_ns
    starts = np.flatnonzero(np.append(True, intervals[1:] != intervals[:-1]))
    least, most = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    begins_ns = times_ns[starts]
    ends_ns = times_ns[np.append(starts[1:], values.size) - 1]
    pairs_ns = np.column_stack((begins_ns, (begins_ns + ends_ns) // 2)).ravel()
    return pairs_ns, np.column_stack((least, most)).ravel()


def _gpu(record: RunRecord, span: Span) -> tuple[Line, ...]:
    """How busy each is and how full; of the only one, how busy its units are where it tells."""
    busy = _device_lines(record, span, "utilization_percent")
    only = len(busy) == 1
    memory = []
    for device, rows in record.by_device.items():
        share = 100 * rows["memory_used_bytes"] / rows["memory_total_bytes"]
        name = "memory" if only else f"{device} memory"
        line = _means(name, rows["time_ns"], share, span)
        memory += [line] if line is not None else []
    return (*busy, *memory, *(_units(record, span) if only else ()))


def _units(record: RunRecord, span: Span) -> tuple[Line, ...]:
    lines = (
        _means(name, rows["time_ns"], rows[column], span)
        for rows in record.by_device.values()
        for name, column in (
            ("tensor", "tensor_active_percent"),
            ("DRAM", "dram_bandwidth_percent"),
        )
    )
    return tuple(line for line in lines if line is not None)


def _cpu(record: RunRecord, span: Span) -> tuple[Line, ...]:
    rows = record.by_device.get("host")
    if rows is None:
        return ()
    lines = (
        _means("process", rows["time_ns"], rows["process_cpu_percent"], span),
        _means("host", rows["time_ns"], rows["host_cpu_percent"], span),
    )
    return tuple(line for line in lines if line is not None)


def _device_lines(record: RunRecord, span: Span, column: str) -> tuple[Line, ...]:
    lines = (
        _means(device, rows["time_ns"], rows[column], span)
        for device, rows in record.by_device.items()
    )
    return tuple(line for line in lines if line is not None)


def _means(name: str, times: pl.Series, values: pl.Series, span: Span) -> Line | None:
    """The mean of each interval's samples; None where there is not one in the whole run."""
    if values.null_count() == len(values):
        return None
    times_ns = times.to_numpy()
    start = int(np.searchsorted(times_ns, span.from_ns, side="left"))
    end = int(np.searchsorted(times_ns, span.until_ns, side="right"))
    shown = values[start:end].to_numpy()
    known = ~np.isnan(shown)
    shown, intervals = shown[known], times_ns[start:end][known] // span.width_ns
    if not shown.size:
        return Line(name, np.empty(0), np.empty(0))
    starts = np.flatnonzero(np.append(True, intervals[1:] != intervals[:-1]))
    sizes = np.diff(np.append(starts, shown.size))
    return Line(name, span.middles_s(intervals[starts]), np.add.reduceat(shown, starts) / sizes)
