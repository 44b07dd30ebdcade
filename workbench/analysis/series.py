"""Metrics over the time of a run, in equal intervals: what its charts draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.analysis.metrics import request_metrics

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Grid:
    """A run's time in equal intervals, from its start to `end_s`, seconds."""

    end_s: float
    intervals: int

    @property
    def width_s(self) -> float:
        return max(self.end_s, 1e-3) / self.intervals

    def index(self, times_ns: pl.Series) -> npt.NDArray[np.int64]:
        """The interval of each stamp, ns; the last one holds the grid's end, too."""
        index = (times_ns.to_numpy() / 1e9 / self.width_s).astype(np.int64)
        return np.clip(index, 0, self.intervals - 1)

    def middle_s(self, index: npt.NDArray[np.int64]) -> Floats:
        """The middles of intervals, seconds since the run's start."""
        return (index.astype(np.float64) + 0.5) * self.width_s


@dataclass(frozen=True, slots=True)
class Series:
    """A figure per interval, at its middle; intervals in which it is undefined are left out."""

    middle_s: Floats
    values: Floats

    def scaled(self, factor: float) -> Series:
        """The same in another unit."""
        return Series(self.middle_s, self.values * factor)


def ttft_over_time(
    requests: pl.DataFrame, grid: Grid, percentiles: tuple[float, ...] = (50, 99)
) -> tuple[Series, ...]:
    """A series for each percentile of TTFT, ms, of the requests scheduled in an interval.

    None at all where no request has a first token.
    """
    timed = request_metrics(requests).select("scheduled_ns", "ttft_ms").drop_nulls()
    if not timed.height:
        return ()
    grouped = (
        timed.with_columns(interval=pl.Series(grid.index(timed["scheduled_ns"])))
        .group_by("interval")
        .agg(
            pl.col("ttft_ms").quantile(q / 100, interpolation="linear").alias(str(q))
            for q in percentiles
        )
        .sort("interval")
    )
    middle_s = grid.middle_s(grouped["interval"].to_numpy())
    return tuple(Series(middle_s, grouped[str(q)].to_numpy()) for q in percentiles)


def output_tokens_over_time(emissions: pl.DataFrame, grid: Grid) -> Series | None:
    """Output tokens per second in each interval, tok/s; None where there were none at all."""
    if not emissions.height:
        return None
    tokens = np.bincount(
        grid.index(emissions["time_ns"]),
        weights=emissions["tokens"].cast(pl.Float64).to_numpy(),
        minlength=grid.intervals,
    )
    values = (tokens / grid.width_s).astype(np.float64)
    return Series(grid.middle_s(np.arange(grid.intervals)), values)
