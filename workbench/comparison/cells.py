"""A run's samples by cells of its time, ready to be resampled: what each replicate's figure is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from workbench.comparison.blocks import Floats, Weights, block_length

Ints = npt.NDArray[np.int64]

_EXACT_UP_TO = 1024
_BINS = 256
_TAIL_BINS = 256


@dataclass(frozen=True)
class RatioCells:
    """A figure that is one sum ÷ another, such as a mean or a rate: both sums by cell.

    Attributes:
        n: samples it stands on.
    """

    numerator: Floats
    denominator: Floats
    n: int

    @property
    def count(self) -> int:
        """How many cells."""
        return self.numerator.size

    @cached_property
    def block_length(self) -> int:
        """Cells of a block."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return block_length(self.numerator / self.denominator)

    def replicates(self, weights: Weights) -> Floats:
        """The figure of each replicate; NaN where it is undefined."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio: Floats = (weights @ self.numerator) / (weights @ self.denominator)
        return ratio


@dataclass(frozen=True)
class PercentileReplicates:
    """A percentile of each replicate, and how much more the share of samples below the run's own
    percentile varies than that of independent samples would (1: not at all)."""

    values: Floats
    inflation: float


@dataclass(frozen=True)
class DistributionCells:
    """Samples of a latency: how many of each cell lie in each bin of values.

    Up to 1,024 samples every one is a bin of its own, and percentiles are exact. Beyond, the bins
    hold equal shares, narrower ones towards the upper tail, and percentiles are interpolated.

    Attributes:
        counts: [cells, bins]; edges: [bins] sample values, or [bins + 1] where `exact` is False.
        sums, sizes: by cell, for the mean.
    """

    counts: npt.NDArray[np.float32]
    edges: Floats
    exact: bool
    sums: Floats
    sizes: Floats

    @classmethod
    def of(cls, cells: Ints, values: Floats, count: int) -> DistributionCells:
        """From each sample's cell, of `count`, and its value."""
        exact = values.size <= _EXACT_UP_TO
        if exact:
            order = np.argsort(values, kind="stable")
            edges, bins = values[order], np.empty(values.size, np.int64)
            bins[order] = np.arange(values.size)
            counts = np.zeros((count, values.size), np.float32)
            counts[cells, bins] = 1
        else:
            edges = _edges(values)
            counts = _counted(cells, values, count, edges)
        sizes = np.bincount(cells, minlength=count).astype(np.float64)
        sums = np.bincount(cells, values, count).astype(np.float64)
        return cls(counts, edges, exact, sums, sizes)

    @property
    def count(self) -> int:
        """How many cells."""
        return self.sums.size

    @property
    def n(self) -> int:
        """How many samples."""
        return int(self.sizes.sum())

    @property
    def mean(self) -> RatioCells:
        """The mean alone."""
        return RatioCells(self.sums, self.sizes, self.n)

    @cached_property
    def block_length(self) -> int:
        """Cells of a block: the longer of what means and what ranks ask for."""
        ranks = (np.arange(self.counts.shape[1]) + 0.5).astype(np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            by_rank = block_length((self.counts @ ranks) / self.sizes)
        return max(by_rank, self.mean.block_length)

    def percentiles(self, weights: Weights, qs: Sequence[float]) -> list[PercentileReplicates]:
        """The `qs`-th percentiles (0 to 100) of each replicate."""
        below = np.cumsum(weights @ self.counts, axis=1)
        own = np.cumsum(self.counts.sum(axis=0))
        return [self._percentile(below, own, q / 100) for q in qs]

    def _percentile(self, below: Weights, own: Weights, share: float) -> PercentileReplicates:
        total = below[:, -1:]
        place = min(int(np.searchsorted(own, share * self.n)), own.size - 1)
        at_own = float(own[place]) / self.n
        binomial = at_own * (1 - at_own) / self.n
        spread = float(np.var(below[:, place] / total[:, 0], ddof=1))
        inflation = spread / binomial if binomial > 0 else 1.0
        if not self.exact:
            return PercentileReplicates(self._interpolated(below, share * total), inflation)
        position = share * np.maximum(total - 1, 0)
        whole = np.floor(position)
        lower, upper = (
            self.edges[np.minimum((below <= rank).sum(axis=1), self.edges.size - 1)]
            for rank in (whole, np.minimum(whole + 1, total - 1))
        )
        part = (position - whole)[:, 0]
        return PercentileReplicates(lower + part * (upper - lower), inflation)

    def _interpolated(self, below: Weights, rank: Weights) -> Floats:
        bins = np.minimum((below < rank).sum(axis=1), below.shape[1] - 1)
        rows = np.arange(below.shape[0])
        before = np.where(bins > 0, below[rows, np.maximum(bins - 1, 0)], 0.0)
        inside = np.maximum(below[rows, bins] - before, 1e-12)
        part = np.clip((rank[:, 0] - before) / inside, 0.0, 1.0)
        found: Floats = self.edges[bins] + part * (self.edges[bins + 1] - self.edges[bins])
        return found

    def value_at(self, share: float) -> float:
        """The run's own value below which `share` (0 to 1) of its samples lie."""
        own = np.cumsum(self.counts.sum(axis=0))
        if self.exact:
            return float(np.interp(share * (self.n - 1), np.arange(self.n), self.edges))
        return float(np.interp(share * self.n, np.concatenate(([0.0], own)), self.edges))


def _edges(values: Floats) -> Floats:
    """Sample values that part the samples into bins."""
    tail = 1 - np.geomspace(0.2, 1e-4, _TAIL_BINS)
    shares = np.unique(np.concatenate((np.linspace(0, 1, _BINS + 1), tail)))
    places = np.rint(shares * (values.size - 1)).astype(np.int64)
    edges: Floats = np.unique(np.sort(values)[places])
    return edges if edges.size > 1 else np.append(edges, np.nextafter(edges[0], np.inf))


def _counted(cells: Ints, values: Floats, count: int, edges: Floats) -> npt.NDArray[np.float32]:
    """How many of each cell's samples lie in each bin: cell by cell, sorted, which is many times
    faster than to look for each sample's bin."""
    if (np.diff(cells) < 0).any():
        order = np.argsort(cells, kind="stable")
        cells, values = cells[order], values[order]
    bounds = np.searchsorted(cells, np.arange(count + 1))
    counts = np.empty((count, edges.size - 1), np.float32)
    for cell, (start, end) in enumerate(pairwise(bounds.tolist())):
        below = np.searchsorted(np.sort(values[start:end]), edges[1:-1], side="left")
        counts[cell] = np.diff(below, prepend=0, append=end - start)
    return counts
