"""Where the samples behind a run's figures lie, parted into cells of the run's time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import polars as pl

from workbench.analysis.lookup import at
from workbench.analysis.metrics import NS_PER_MS, PER_REQUEST, emission_gaps
from workbench.analysis.objectives import meets_every
from workbench.comparison.blocks import LEAST_SAMPLES, MOST_CELLS, Floats
from workbench.comparison.cells import DistributionCells, Ints, RatioCells
from workbench.comparison.compared_metrics import (
    BY_LIMITS,
    BY_REQUEST,
    BY_STATUS,
    Metric,
)
from workbench.comparison.measured import MeasuredRun
from workbench.comparison.time_grid import TimeGrid

_MOST_EMISSIONS = 500_000
_GAPS = ("itl_ms", "itl_per_token_ms")
_STEP_COLUMNS = {
    ("duration_ms", "all"): "duration_ms",
    ("schedule_ms",): "schedule_ms",
    ("host_gap_ms",): "gap_ms",
    ("gpu", "step_ms", "all"): "gpu_ms",
    ("gpu", "decode_idle_ms"): "decode_idle_ms",
    ("gpu", "host_ms"): "host_ms",
}
"""Columns of `timed_steps` by a figure's place under `steps`."""

Cells = DistributionCells | RatioCells


class CellSource:
    """A run's samples by cells. Requests are parted by number, in order of arrival, into cells of
    equally many; gaps, steps and what flows, by time into cells of equal length."""

    def __init__(self, run: MeasuredRun) -> None:
        self._run = run
        self._made: dict[str, Cells | None] = {}

    def cells(self, metric: Metric) -> Cells | None:
        """What the metric is made of; None where the run's record can't tell."""
        name, make = self._maker(metric)
        window = self._run.window
        if make is None or window is None or window.length_s <= 0:
            return None
        if self._run.requests.height < LEAST_SAMPLES:
            return None
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def columns(self, metrics: Sequence[Metric]) -> list[Metric]:
        """One metric of each set of samples that the metrics are made of."""
        return list({self._maker(metric)[0]: metric for metric in reversed(metrics)}.values())[::-1]

    def prepare(self, metric: Metric) -> None:
        """Makes the metric's cells, in any thread."""
        cells = self.cells(metric)
        if cells is not None:
            _ = cells.block_length

    def _maker(self, metric: Metric) -> tuple[str, Callable[[], Cells | None] | None]:
        column = metric.column
        if metric.path[0] == "latency" and column in PER_REQUEST:
            return column, lambda: self._of_requests(column)
        if metric.path[0] == "latency" and column in _GAPS:
            return column, lambda: self._of_gaps(column)
        step_column = _STEP_COLUMNS.get(metric.path[1:-1])
        if metric.path[0] == "steps" and step_column is not None:
            return step_column, lambda: self._of_steps(step_column)
        flows: dict[str, Callable[[], Cells | None]] = {
            "output_throughput": self._output_rate,
            "request_throughput": self._request_rate,
            "prefix_hits": self._prefix_hits,
        }
        if metric.name in BY_LIMITS:
            return "met", self._met
        if metric.name in BY_STATUS:
            return metric.name, partial(self._with_status, metric.name)
        if metric.name in BY_REQUEST:
            return metric.name, partial(self._summed, metric.name)
        return metric.name, flows.get(metric.name)

    # -- by request -----------------------------------------------------------------------------

    @property
    def _request_cells(self) -> tuple[Ints, int]:
        height = self._run.requests.height
        count = min(height, MOST_CELLS)
        return np.arange(height, dtype=np.int64) * count // height, count

    def _of_requests(self, column: str) -> Cells | None:
        cells, count = self._request_cells
        values = self._run.requests[column].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        return _distribution(cells, values, count)

    def _per_request(self, numerator: pl.Expr, denominator: pl.Expr) -> RatioCells:
        cells, count = self._request_cells
        both = self._run.requests.select(
            above=numerator.cast(pl.Float64).fill_null(0.0),
            below=denominator.cast(pl.Float64).fill_null(0.0),
        )
        sums = [
            np.bincount(cells, both[name], count).astype(np.float64) for name in ("above", "below")
        ]
        return RatioCells(sums[0], sums[1], int(both["below"].sum()))

    def _met(self) -> Cells | None:
        limits = at(self._run.summary, "objectives", "limits_ms") or {}
        if not limits or "itl" in limits:
            return None  # the longest gap of each request takes every emission
        return self._per_request(meets_every(limits), pl.lit(1))

    def _with_status(self, status: str) -> RatioCells:
        return self._per_request(pl.col("status") == status, pl.lit(1))

    def _summed(self, column: str) -> RatioCells:
        return self._per_request(pl.col(column), pl.lit(1))

    def _prefix_hits(self) -> RatioCells:
        known = pl.col("started_ns").is_not_null() | pl.col("first_token_ns").is_not_null()
        return self._per_request(
            pl.when(known).then("cached_tokens"), pl.when(known).then("prompt_tokens")
        )

    # -- by time --------------------------------------------------------------------------------

    def _grid(self, most: int = MOST_CELLS) -> TimeGrid:
        window = self._run.window
        assert window is not None
        return TimeGrid(window, min(self._run.requests.height, most))

    def _output_rate(self) -> RatioCells | None:
        tokens = self._grid().output_tokens(self._run.every_request)
        return RatioCells(tokens, np.ones(tokens.size), tokens.size) if tokens.any() else None

    def _request_rate(self) -> RatioCells | None:
        window = self._run.window
        assert window is not None
        ended = self._run.requests.filter(window.holds("finished_ns") & (pl.col("status") == "ok"))
        if not ended.height:
            return None
        grid = self._grid()
        cells = grid.cells_of(ended["finished_ns"].to_numpy())
        per_cell = np.bincount(cells, minlength=grid.edges_ns.size - 1).astype(np.float64)
        return RatioCells(per_cell, np.ones(per_cell.size), ended.height)

    def _of_steps(self, column: str) -> Cells | None:
        steps = self._run.steps
        if not steps.height:
            return None
        grid = self._grid(min(steps.height, MOST_CELLS))
        values = steps[column].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        cells = grid.cells_of(steps["end_ns"].to_numpy())
        return _distribution(cells, values, grid.edges_ns.size - 1)

    def _of_gaps(self, column: str) -> Cells | None:
        """From every emission, or from stretches of them where they are many."""
        parts = self._run.emission_parts(_MOST_EMISSIONS)
        ids = self._run.requests["request_id"]
        first, last = ids.min(), ids.max()
        gaps = [
            emission_gaps(part.filter(pl.col("request_id").is_between(first, last)))
            for part in parts
            if part.height
        ]
        gaps = [gap for gap in gaps if gap.height]
        if not gaps:
            return None
        count = max(1, min(self._run.requests.height, MOST_CELLS) // len(gaps))
        cells, values = [], []
        for number, gap in enumerate(gaps):
            times_ns = gap["time_ns"].to_numpy()
            begin, end = int(times_ns.min()), int(times_ns.max())
            inside = (times_ns - begin) * count // max(1, end - begin + 1)
            gap_ms = gap["gap_ns"] / NS_PER_MS
            cells.append(number * count + inside)
            values.append((gap_ms / gap["tokens"] if column != "itl_ms" else gap_ms).to_numpy())
        return _distribution(np.concatenate(cells), np.concatenate(values), count * len(gaps))


def _distribution(cells: Ints, values: Floats, count: int) -> DistributionCells | None:
    known = np.isfinite(values)
    if known.sum() < LEAST_SAMPLES:
        return None
    if not known.all():
        cells, values = cells[known], values[known]
    return DistributionCells.of(cells, values, count)
