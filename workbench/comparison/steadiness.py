"""Whether a run settled: if its latencies, its output rate or its requests in flight moved within
the measured window, its figures depend on how long it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from workbench.analysis.metrics import Window
from workbench.analysis.quantities import milliseconds, number
from workbench.comparison.drift import LEAST_SAMPLES, Drift, Floats, drift
from workbench.comparison.measured import MeasuredRun
from workbench.comparison.time_grid import Ints, TimeGrid

ALPHA = 0.01
"""Of all series of a run together (Bonferroni)."""

_MOST_CELLS = 1024
_QUEUE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class _Series:
    """What is looked at: `values` in order of time, the stamps `times_ns` of each.

    `unit` "ms" is written as a duration; `many`: its name is a plural.
    """

    name: str
    unit: str
    values: Floats
    times_ns: Ints | Floats
    many: bool = False


def unsettled(run: MeasuredRun) -> tuple[str, ...]:
    """A sentence on each of TTFT, TPOT (E2E where there is none), the output rate and the requests
    in flight that had a trend or changed its level within the window, without the run's name.

    A series counts if `drift.drift` finds it at p < 0.01, corrected for the number of series
    (Bonferroni), and if it moved by a tenth of its level or more. None of a run with fewer than 40
    requests in its window.
    """
    if run.window is None or run.window.length_s <= 0:
        return ()
    requests = run.requests
    if requests.height < LEAST_SAMPLES:
        return ()
    series = [_latency(requests, "ttft_ms", "TTFT"), _latency(requests, "tpot_ms", "TPOT")]
    if series[1].values.size < LEAST_SAMPLES:
        series[1] = _latency(requests, "e2e_ms", "E2E")
    series += _over_time(run, run.window)
    series = [each for each in series if each.values.size >= LEAST_SAMPLES]
    found = ((each, drift(each.values, ALPHA / len(series))) for each in series)
    return tuple(
        _sentence(each, moved, _cause(each, moved, requests))
        for each, moved in found
        if moved is not None
    )


def _latency(requests: pl.DataFrame, column: str, name: str) -> _Series:
    known = requests.select("scheduled_ns", column).drop_nulls()
    return _Series(name, "ms", known[column].to_numpy(), known["scheduled_ns"].to_numpy())


def _over_time(run: MeasuredRun, window: Window) -> list[_Series]:
    """Output rate and requests in flight in cells of equal length; of all requests, since those of
    the warm-up are still in flight when the window starts."""
    grid = TimeGrid(window, min(_MOST_CELLS, run.requests.height))
    present, tokens = grid.in_flight(run.every_request), grid.output_tokens(run.every_request)
    series = [_Series("Requests in flight", "", present, grid.edges_ns[:-1], many=True)]
    if tokens.sum() > 0:
        rate = tokens / (grid.cell_ns / 1e9)
        series.insert(0, _Series("The output rate", "tok/s", rate, grid.edges_ns[:-1]))
    return series


def _cause(series: _Series, moved: Drift, requests: pl.DataFrame) -> str:
    """That the queue grew, where at least half of what TTFT rose by is time before the start."""
    if series.name != "TTFT" or moved.after <= moved.before:
        return ""
    waits = requests.select(wait=pl.col("wait_ms") + pl.col("queue_ms")).to_series().drop_nulls()
    if waits.len() < LEAST_SAMPLES:
        return ""
    at = waits.len() * moved.at // series.values.size
    early, late = (waits[:at], waits[at:]) if moved.shape == "step" else _ends(waits)
    rise = _median(late) - _median(early)
    return " (the queue grew)" if rise >= _QUEUE_SHARE * (moved.after - moved.before) else ""


def _ends(values: pl.Series) -> Sequence[pl.Series]:
    quarter = values.len() // 4
    return values[:quarter], values[-quarter:]


def _median(values: pl.Series) -> float:
    return float(np.median(values.to_numpy()))


def _sentence(series: _Series, moved: Drift, cause: str) -> str:
    before, after = (_figure(value, series.unit) for value in (moved.before, moved.after))
    they, own = ("they", "their level") if series.many else ("it", "level")
    if moved.shape == "step":
        at_s = number(float(series.times_ns[moved.at]) / 1e9)
        return (
            f"{series.name} changed {own} {at_s} s into the run: {before} before, {after} "
            f"after{cause}."
        )
    went = "rose" if moved.after > moved.before else "fell"
    return (
        f"{series.name} never settled: {they} {went} from {before} to {after} over the "
        f"window{cause}; the run's figures depend on how long it was."
    )


def _figure(value: float, unit: str) -> str:
    return milliseconds(value) if unit == "ms" else f"{number(value)} {unit}".rstrip()
