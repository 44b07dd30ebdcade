"""Blocks, cells and what is drawn from them."""

import numpy as np
import pytest
from scipy.signal import lfilter

from workbench.comparison.blocks import REPLICATES, block_length, resampling_weights
from workbench.comparison.cells import DistributionCells, RatioCells


def autocorrelated(rng, n, phi, spread=0.5):
    """Log-normal, the logarithm an AR(1) series."""
    noise = rng.normal(size=n + 300) * np.sqrt(1 - phi**2)
    return np.exp(spread * lfilter([1.0], [1.0, -phi], noise)[300:])


def parted(values, most=512):
    count = min(values.size, most)
    return DistributionCells.of(np.arange(values.size) * count // values.size, values, count)


def test_independent_samples_take_blocks_of_one():
    rng = np.random.default_rng(3)
    lengths = [block_length(rng.normal(size=400)) for _ in range(40)]
    assert np.median(lengths) <= 2


def test_blocks_grow_with_the_autocorrelation():
    rng = np.random.default_rng(4)
    medians = [
        np.median([block_length(autocorrelated(rng, 500, phi)) for _ in range(30)])
        for phi in (0.0, 0.5, 0.9)
    ]
    assert medians == sorted(medians) and medians[2] >= 5 * medians[0]


@pytest.mark.parametrize(
    "series", [np.ones(100), np.full(20, np.nan), np.arange(3.0), np.array([])]
)
def test_series_that_tell_nothing_take_blocks_of_one(series):
    assert block_length(series) == 1


def test_cells_without_samples_count_as_the_mean():
    rng = np.random.default_rng(5)
    series = autocorrelated(rng, 400, 0.9)
    holed = np.where(rng.random(400) < 0.1, np.nan, series)
    assert 2 < block_length(holed) <= 100


@pytest.mark.parametrize(("cells", "length"), [(512, 1), (512, 7), (100, 33), (9, 2), (8, 8)])
def test_every_replicate_is_as_long_as_the_run(cells, length):
    weights = resampling_weights(cells, length, 0)
    assert weights.shape == (REPLICATES, cells)
    assert (weights.sum(axis=1) == cells).all() and (weights >= 0).all()
    assert weights.mean(axis=0) == pytest.approx(1, abs=0.2 + 0.5 * length / cells)
    assert (weights == resampling_weights(cells, length, 0)).all()


def test_blocks_hold_neighbours():
    weights = resampling_weights(100, 10, 1)
    one, two = weights[:, 40], weights[:, 41]
    assert np.corrcoef(one, two)[0, 1] > 0.8
    assert abs(np.corrcoef(one, weights[:, 80])[0, 1]) < 0.3


@pytest.mark.parametrize("n", [9, 200, 1024])
def test_percentiles_of_replicates_are_those_of_the_samples(n):
    """Few samples: a replicate's percentile is numpy's of the samples that it drew."""
    values = np.random.default_rng(6).lognormal(size=n)
    cells = parted(values)
    weights = resampling_weights(cells.count, 2, 0)
    drawn = cells.percentiles(weights, [50, 99])
    place = np.arange(n) * cells.count // n
    for replicate in range(0, REPLICATES, 97):
        taken = np.repeat(values, weights[replicate][place].astype(int))
        expected = np.percentile(taken, [50, 99])
        assert [each.values[replicate] for each in drawn] == pytest.approx(expected, rel=1e-4)


def test_percentiles_of_many_samples_come_from_bins():
    values = np.random.default_rng(7).lognormal(size=50_000)
    cells = parted(values)
    p50, p99 = cells.percentiles(resampling_weights(512, 1, 0), [50, 99])
    assert p50.values.mean() == pytest.approx(np.percentile(values, 50), rel=2e-3)
    assert p99.values.mean() == pytest.approx(np.percentile(values, 99), rel=5e-3)
    assert cells.value_at(0.9) == pytest.approx(np.percentile(values, 90), rel=5e-3)
    assert cells.n == 50_000 and cells.sums.sum() == pytest.approx(values.sum())
    shuffled = np.random.default_rng(8).permutation(values.size)
    place = np.arange(values.size) * 512 // values.size
    again = DistributionCells.of(place[shuffled], values[shuffled], 512)
    assert (again.counts == cells.counts).all() and (again.edges == cells.edges).all()


@pytest.mark.parametrize("phi", [0.0, 0.8])
def test_standard_errors_are_those_that_repeated_draws_show(phi):
    """Over 120 runs of 600 requests: within 20 % of how much the figures really vary."""
    rng = np.random.default_rng(9)
    figures, errors = [], []
    for _ in range(120):
        values = autocorrelated(rng, 600, phi)
        cells = parted(values)
        weights = resampling_weights(cells.count, cells.block_length, 0)
        drawn = [*(each.values for each in cells.percentiles(weights, [50, 90]))]
        drawn.append(cells.mean.replicates(weights))
        figures.append(np.log([*np.percentile(values, [50, 90]), values.mean()]))
        errors.append([np.log(each).std(ddof=1) for each in drawn])
    ratio = np.mean(errors, axis=0) / np.std(figures, axis=0, ddof=1)
    assert (np.abs(ratio - 1) < 0.2).all(), ratio


def test_dependent_samples_are_worth_fewer():
    rng = np.random.default_rng(10)
    alone, dependent = (parted(autocorrelated(rng, 3000, phi)) for phi in (0.0, 0.95))
    inflation = [
        cells.percentiles(resampling_weights(cells.count, cells.block_length, 0), [50])[0].inflation
        for cells in (alone, dependent)
    ]
    assert inflation[0] == pytest.approx(1, abs=0.3) and inflation[1] > 8


def test_a_rate_is_drawn_by_its_cells():
    cells = RatioCells(np.array([1.0, 3.0] * 50), np.ones(100), 200)
    drawn = cells.replicates(resampling_weights(100, 1, 0))
    assert drawn.mean() == pytest.approx(2, abs=0.02)
    assert drawn.std() == pytest.approx(0.1, rel=0.15)
    assert np.isnan(RatioCells(np.zeros(9), np.zeros(9), 0).replicates(np.ones((4, 9)))).all()
