"""Resampling a series by blocks of neighbours, for samples that depend on those before them.

A run's samples lie in cells, in order of time. A replicate of the run is made of blocks of
neighbouring cells, drawn with replacement until it is as long as the run: the moving-block
bootstrap (Künsch 1989), its blocks lying on a circle so that every cell is drawn as often as any
other (Politis and Romano 1992).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float32]

MOST_CELLS = 256
REPLICATES = 400
LEAST_SAMPLES = 8
"""With fewer, nothing can be said of how much a figure would vary."""

_LEAST_BLOCKS = 4
_LONGER = 2.0


def block_length(series: npt.ArrayLike) -> int:
    """How many neighbouring cells a block takes, from 1 to a quarter of them.

    Twice what Politis and White (2004, corrected by Patton, Politis and White 2009) find for blocks
    on a circle: it grows with the autocorrelation of `series`, which has one figure a cell. Theirs
    makes the standard error's mean square error least, and the error itself too small; intervals
    hold the truth more often with longer blocks. NaN, of cells without samples, counts as the mean.
    """
    values = np.asarray(series, np.float64)
    known = np.isfinite(values)
    n = values.size
    if n < LEAST_SAMPLES or not known.any():
        return 1
    centred = np.where(known, values - values[known].mean(), 0.0)
    variance = float(centred @ centred) / n
    most = max(1, n // _LEAST_BLOCKS)
    if variance <= 0:
        return 1
    lags = min(n - 1, 2 * most)
    covariance = np.array([centred[: n - lag] @ centred[lag:] for lag in range(lags + 1)]) / n
    reach = min(lags, 2 * _last_significant_lag(covariance / variance, n))
    if reach == 0:
        return 1
    lag = np.arange(1, reach + 1)
    flat_top = np.minimum(1.0, 2 * (1 - lag / reach))
    spectrum = variance + 2 * float(flat_top @ covariance[1 : reach + 1])
    slope = 2 * float((flat_top * lag) @ covariance[1 : reach + 1])
    if spectrum <= 0:
        return most
    length = math.ceil(_LONGER * math.cbrt(1.5 * slope**2 / spectrum**2 * n))
    return min(most, max(1, length))


def _last_significant_lag(correlation: Floats, n: int) -> int:
    """The lag after which a run of correlations lies within the band of white noise."""
    band = 2 * math.sqrt(math.log10(n) / n)
    quiet = max(5, math.ceil(math.sqrt(math.log10(n))))
    within = np.abs(correlation[1:]) < band
    if within.size < quiet:
        return int(correlation.size - 1)
    runs = np.convolve(within, np.ones(quiet), "valid") == quiet
    return int(np.argmax(runs)) if runs.any() else int(correlation.size - 1)


def resampling_weights(cells: int, length: int, seed: int) -> Weights:
    """How often each replicate has each cell, [replicates, cells]; rows sum to `cells`."""
    rng = np.random.default_rng((seed, cells, length))
    blocks = -(-cells // length)
    starts = rng.integers(0, cells, (REPLICATES, blocks))
    lengths = np.full(blocks, length)
    lengths[-1] = cells - (blocks - 1) * length
    rows = np.arange(REPLICATES)[:, None] * (2 * cells + 1)
    size = REPLICATES * (2 * cells + 1)
    changes = np.bincount((rows + starts).ravel(), minlength=size).astype(np.float32)
    changes -= np.bincount((rows + starts + lengths).ravel(), minlength=size).astype(np.float32)
    unrolled = np.cumsum(changes.reshape(REPLICATES, 2 * cells + 1), axis=1)
    weights: Weights = unrolled[:, :cells] + unrolled[:, cells : 2 * cells]
    return weights
