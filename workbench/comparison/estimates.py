"""A run's own figures, and how well the run fixes each of them.

Within one run all that can be known is how its figures would vary if its time were drawn again, by
blocks. What another run would give, on a machine in another mood, takes repeated runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.comparison.blocks import Floats, Weights, resampling_weights
from workbench.comparison.cells import DistributionCells, RatioCells
from workbench.comparison.compared_metrics import BY_REQUEST, BY_STATUS, Metric
from workbench.comparison.intervals import (
    Interval,
    order_statistic_shares,
    share_interval,
    t_interval,
    t_reach,
)
from workbench.comparison.measured import MeasuredRun
from workbench.comparison.sources import Cells, CellSource

COUNTS = (*BY_STATUS, *BY_REQUEST)
SHARES = ("attainment",)
_WEAK_TAIL = 10.0
"""Where fewer samples than this, as independent ones, lie beyond a percentile, its bootstrap knows
too few values: its interval then comes from order statistics."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure of one run, in its metric's unit; None where it can't be had.

    Attributes:
        value: as the run's summary has it.
        error: standard error of the value; log_error: of its logarithm, None where it isn't above
            0; both from blocks. degrees: of freedom: independent blocks - 1.
        interval: 95 %.
        n: samples; inflation: how many dependent ones are worth one independent.
        block: the length of a block, as a share of the run.
        replicates: the figure of each resampled run; None where order statistics took its place.
    """

    value: float
    error: float | None = None
    log_error: float | None = None
    degrees: float = math.inf
    interval: Interval | None = None
    n: int = 0
    inflation: float = 1.0
    block: float | None = None
    replicates: Floats | None = None


class Resampler:
    """Draws a run's cells anew by blocks; the same draws for every run, so that runs of the same
    requests are drawn together."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._weights: dict[tuple[int, int], Weights] = {}

    def weights(self, cells: int, length: int) -> Weights:
        """See `blocks.resampling_weights`."""
        key = cells, length
        if key not in self._weights:
            self._weights[key] = resampling_weights(cells, length, self._seed)
        return self._weights[key]


def block_lengths(source: CellSource, metrics: Sequence[Metric]) -> dict[str, int]:
    """By metric, how many cells of this run a block must take at least."""
    found = {metric.name: source.cells(metric) for metric in metrics}
    return {name: cells.block_length for name, cells in found.items() if cells is not None}


def estimates(
    run: MeasuredRun,
    source: CellSource,
    metrics: Sequence[Metric],
    lengths: Mapping[str, int],
    resampler: Resampler,
) -> dict[str, Estimate]:
    """By metric's name; a metric that can't be told from one run is absent, and so is one that the
    run has no value for.

    Args:
        lengths: cells of a block by metric, as `block_lengths` has them, or longer.
    """
    found: dict[str, Estimate] = {}
    for column in _by_cells(source, metrics):
        cells = source.cells(column[0])
        valued = [
            (metric, value) for metric in column if (value := metric.value(run.summary)) is not None
        ]
        if cells is None:
            found |= {metric.name: Estimate(value) for metric, value in valued if _told(metric)}
            continue
        length = min(max(lengths[metric.name] for metric in column), max(1, cells.count // 2))
        weights = resampler.weights(cells.count, length)
        if isinstance(cells, DistributionCells):
            found |= _of_distribution(cells, valued, weights, length)
        else:
            found |= {
                metric.name: _of_ratio(metric, value, cells, weights, length)
                for metric, value in valued
            }
    return found


def _told(metric: Metric) -> bool:
    """Whether runs tell of it in samples, and this one has only too few."""
    return metric.path[0] == "latency"


def _by_cells(source: CellSource, metrics: Sequence[Metric]) -> list[list[Metric]]:
    """The metrics that come from the same samples together."""
    columns: dict[int, list[Metric]] = {}
    alone = []
    for metric in metrics:
        cells = source.cells(metric)
        if cells is None:
            alone.append([metric])
        else:
            columns.setdefault(id(cells), []).append(metric)
    return [*columns.values(), *alone]


def _blocks(cells: Cells, length: int) -> tuple[float, float]:
    """Degrees of freedom, and what makes up for the blocks' own mean being drawn from them."""
    blocks = max(2.0, cells.count / length)
    return blocks - 1, math.sqrt(blocks / (blocks - 1))


def _of_distribution(
    cells: DistributionCells,
    valued: Sequence[tuple[Metric, float]],
    weights: Weights,
    length: int,
) -> dict[str, Estimate]:
    found = {}
    ranked = [(metric, value) for metric, value in valued if metric.figure != "mean"]
    qs = [float(metric.figure.removeprefix("p")) for metric, _ in ranked]
    for (metric, value), q, drawn in zip(
        ranked, qs, cells.percentiles(weights, qs) if qs else [], strict=True
    ):
        inflation = max(1.0, drawn.inflation)
        worth = cells.n / inflation
        if worth * min(q, 100 - q) / 100 < _WEAK_TAIL:
            found[metric.name] = _by_order(cells, value, q / 100, inflation, length)
        else:
            found[metric.name] = _resampled(value, drawn.values, cells, length, inflation)
    for metric, value in valued:
        if metric.figure == "mean":
            found[metric.name] = _resampled(value, cells.mean.replicates(weights), cells, length)
    return found


def _resampled(
    value: float, drawn: Floats, cells: Cells, length: int, inflation: float = 1.0
) -> Estimate:
    known = drawn[np.isfinite(drawn)]
    if known.size < drawn.size // 2:
        return Estimate(value, n=cells.n)
    degrees, correction = _blocks(cells, length)
    scale = value / float(known.mean()) if value and known.mean() else 1.0
    error = float(known.std(ddof=1)) * correction * abs(scale)
    log_error = None
    if value > 0 and known.min() > 0:
        log_error = float(np.log(known).std(ddof=1)) * correction
    return Estimate(
        value,
        error,
        log_error,
        degrees,
        _interval(value, error, log_error, degrees),
        cells.n,
        inflation,
        length / cells.count,
        drawn,
    )


def _interval(value: float, error: float, log_error: float | None, degrees: float) -> Interval:
    if log_error is None:
        plain = t_interval(value, error, degrees)
        return Interval(max(0.0, plain.low), plain.high)  # nothing that is measured is below 0
    logs = t_interval(math.log(value), log_error, degrees)
    return Interval(math.exp(logs.low), math.exp(logs.high))


def _by_order(
    cells: DistributionCells, value: float, share: float, inflation: float, length: int
) -> Estimate:
    """From order statistics; the standard errors are what its interval is worth."""
    n, degrees = cells.n, _blocks(cells, length)[0]
    shares = order_statistic_shares(share, n / inflation)
    if shares is None:
        return Estimate(value, n=n, inflation=inflation)
    low, high = (cells.value_at(each) for each in shares)
    reach = 2 * t_reach(math.inf)
    log_error = math.log(high / low) / reach if low > 0 else None
    return Estimate(
        value, (high - low) / reach, log_error, degrees, Interval(low, high), n, inflation,
        length / cells.count,
    )  # fmt: skip


def _of_ratio(
    metric: Metric, value: float, cells: RatioCells, weights: Weights, length: int
) -> Estimate:
    drawn = cells.replicates(weights)
    if metric.name not in (*COUNTS, *SHARES):
        return _resampled(value, drawn, cells, length)
    n = cells.n
    share = float(cells.numerator.sum()) / n
    independent = share * (1 - share) / n if metric.name in SHARES else share / n
    spread = float(np.var(drawn, ddof=1))
    inflation = max(1.0, spread / independent) if independent > 0 else 1.0
    interval = None
    if metric.name in SHARES:
        wilson = share_interval(share * n / inflation, n / inflation)
        interval = Interval(wilson.low * metric.scale, wilson.high * metric.scale)
    return Estimate(
        value, None, None, _blocks(cells, length)[0], interval, n, inflation, length / cells.count
    )
