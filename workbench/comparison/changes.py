"""How a figure changed against the baseline, and how sure that is: between repeated runs where
there are any, else between one run and another, as far as two single runs can tell."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench.comparison.blocks import Floats
from workbench.comparison.compared_metrics import Metric
from workbench.comparison.comparison import Basis, Change, Effect
from workbench.comparison.estimates import COUNTS, SHARES, Estimate
from workbench.comparison.intervals import (
    Interval,
    count_test,
    share_interval,
    t_interval,
    t_tail,
)

LEAST_PAIRS = 4
"""With fewer pairs of repeated runs, what pairing takes of the degrees of freedom is worth more
than what it takes of the noise."""
PAIRED_WEIGHT = 0.25
"""Runs of the same seeds are tested paired and unpaired: pairing takes out what the requests do,
which is most of a queue's noise and nothing of a step's. So much of the probability of error is the
paired test's; where it helps at all it helps much."""
_NOTHING_KNOWN = 3.0
"""An interval that reaches twenty times up and down (the logarithm of that) is left out."""


@dataclass(frozen=True, slots=True)
class Figures:
    """A side's values of one metric, of each run that has one.

    Attributes:
        seeds: of these runs; estimate: where it is one run alone.
        allowance: of one run alone, how much another run of the same spec may differ for reasons
            that no single run shows: a standard deviation of the logarithm.
    """

    values: tuple[float, ...]
    seeds: tuple[int, ...]
    estimate: Estimate | None
    allowance: float = 0.0

    @property
    def mean(self) -> float:
        """Geometric where all are above 0, which ratios ask for; else arithmetic."""
        if min(self.values) == max(self.values):
            return self.values[0]
        if min(self.values) > 0:
            return math.exp(math.fsum(map(math.log, self.values)) / len(self.values))
        return math.fsum(self.values) / len(self.values)


def interval_of(figures: Figures) -> Interval | None:
    """The 95 % interval of the side's own figure: between its runs, or within its only one."""
    if figures.estimate is not None and len(figures.values) == 1:
        return figures.estimate.interval
    n = len(figures.values)
    if n < 2:
        return None
    log = min(figures.values) > 0
    values = np.log(figures.values) if log else np.array(figures.values)
    error = float(values.std(ddof=1)) / math.sqrt(n)
    found = t_interval(float(values.mean()), error, n - 1)
    return Interval(math.exp(found.low), math.exp(found.high)) if log else found


def change(metric: Metric, base: Figures, other: Figures, paired: bool) -> Change:
    """The other side against the baseline.

    Args:
        paired: runs of the same seed on both sides, or the two single runs, got the same requests.
    """
    one_each = len(base.values) == len(other.values) == 1
    if one_each and metric.name in COUNTS:
        return _of_counts(base, other)
    if one_each and metric.name in SHARES:
        return _of_shares(metric, base, other)
    found: tuple[Effect, Basis] | None
    if one_each:
        found = _within(base, other, paired)
    else:
        found = _between(base, other, paired)
    if found is None:
        return Change(other.mean - base.mean, _ratio(base.mean, other.mean))
    return _change(base.mean, other.mean, *found)


def tail(effect: Effect, threshold: float) -> float:
    """The probability of an effect so far above `threshold`, on the effect's own scale, where the
    true one is the threshold itself."""
    distance = effect.estimate - threshold
    if effect.error <= 0:
        return 0.0 if distance > 0 else 1.0
    return min(1.0, t_tail(distance / effect.error, effect.degrees) / effect.weight)


def _change(base: float, other: float, effect: Effect, basis: Basis) -> Change:
    interval = t_interval(effect.estimate, effect.error, effect.degrees, effect.weight)
    differences, ratios = None, None
    if not effect.log:
        # No figure falls below 0, whatever the normal distribution says.
        differences = Interval(max(interval.low, -max(base, 0.0)), interval.high)
        if base > 0:
            ratios = Interval(1 + differences.low / base, 1 + differences.high / base)
    elif interval.high - effect.estimate < _NOTHING_KNOWN:
        ratios = Interval(math.exp(interval.low), math.exp(interval.high))
        differences = Interval(base * (ratios.low - 1), base * (ratios.high - 1))
    # What never varied and is the same on both sides is no test that could have found anything.
    constant = effect.error <= 0 and effect.estimate == 0
    p = None if constant else _two_sided(effect)
    return Change(
        other - base, _ratio(base, other), differences, ratios, p, basis=basis, effect=effect
    )


def _two_sided(effect: Effect) -> float:
    upwards = dataclasses.replace(effect, estimate=abs(effect.estimate))
    return min(1.0, 2 * tail(upwards, 0.0))


def _ratio(base: float, other: float) -> float | None:
    return other / base if base else None


# -- one run of each side -----------------------------------------------------------------------


def _within(base: Figures, other: Figures, paired: bool) -> tuple[Effect, Basis] | None:
    one, two = base.estimate, other.estimate
    if one is None or two is None or one.error is None or two.error is None:
        return None
    basis: Basis = "paired requests" if paired else "requests"
    log = one.log_error is not None and two.log_error is not None
    errors = (one.log_error, two.log_error) if log else (one.error, two.error)
    parts = [
        (error**2, each.degrees) for error, each in zip(errors, (one, two), strict=True) if error
    ]
    if paired and one.replicates is not None and two.replicates is not None:
        joint = _joint_error(one, two, log)
        if joint is not None:
            parts = [(joint**2, min(one.degrees, two.degrees))]
    elif paired:
        basis = "requests"
    for side, each in ((base, one), (other, two)):
        unseen = side.allowance * (1.0 if log else abs(each.value))
        parts.append((unseen**2, math.inf))
    total = sum(part for part, _ in parts)
    if total <= 0:
        return None
    degrees = total**2 / sum(part**2 / df for part, df in parts) if _finite(parts) else math.inf
    estimate = math.log(two.value / one.value) if log else two.value - one.value
    return Effect(log, estimate, math.sqrt(total), degrees), basis


def _finite(parts: Sequence[tuple[float, float]]) -> bool:
    return any(part > 0 and math.isfinite(df) for part, df in parts)


def _joint_error(one: Estimate, two: Estimate, log: bool) -> float | None:
    """Of the change, from replicates that drew the same blocks of both runs."""
    assert one.replicates is not None and two.replicates is not None
    drawn = [one.replicates, two.replicates]
    if drawn[0].size != drawn[1].size:
        return None
    known = np.isfinite(drawn[0]) & np.isfinite(drawn[1])
    if log:
        known &= (drawn[0] > 0) & (drawn[1] > 0)
    if known.sum() < drawn[0].size // 2:
        return None
    first, second = (np.log(each[known]) if log else each[known] for each in drawn)
    degrees = min(one.degrees, two.degrees)
    return float((second - first).std(ddof=1)) * math.sqrt((degrees + 1) / degrees)


def _of_counts(base: Figures, other: Figures) -> Change:
    (first,), (second,) = base.values, other.values
    plain = Change(second - first, _ratio(first, second))
    one, two = base.estimate, other.estimate
    if one is None or two is None or not one.n or not two.n:
        return plain
    clump = max(one.inflation, two.inflation)
    p = count_test(first / clump, second / clump, one.n, two.n) if first or second else None
    return Change(plain.difference, plain.ratio, p=p, basis="counts")


def _of_shares(metric: Metric, base: Figures, other: Figures) -> Change:
    (first,), (second,) = base.values, other.values
    plain = Change(second - first, _ratio(first, second))
    one, two = base.estimate, other.estimate
    if one is None or two is None or not one.n or not two.n:
        return plain
    shares = [value / metric.scale for value in (first, second)]
    worth = [estimate.n / max(one.inflation, two.inflation) for estimate in (one, two)]
    pooled = share_interval(
        sum(share * n for share, n in zip(shares, worth, strict=True)), sum(worth)
    )
    middle = (pooled.low + pooled.high) / 2
    variance = middle * (1 - middle) * sum(1 / n for n in worth)
    variance += sum(
        (side.allowance * share) ** 2 for side, share in zip((base, other), shares, strict=True)
    )
    error = math.sqrt(variance) * metric.scale
    effect = Effect(False, second - first, error, min(one.degrees, two.degrees))
    found = _change(first, second, effect, "requests")
    assert found.interval is not None
    possible = Interval(found.interval.low, min(found.interval.high, metric.scale - first))
    return dataclasses.replace(found, interval=possible)


# -- repeated runs ------------------------------------------------------------------------------


def _between(base: Figures, other: Figures, paired: bool) -> tuple[Effect, Basis] | None:
    log = min(*base.values, *other.values) > 0
    one, two = (
        np.log(each.values) if log else np.array(each.values, np.float64) for each in (base, other)
    )
    estimate = float(two.mean() - one.mean())
    if min(one.size, two.size) == 1:
        # Nobody knows how much the single one's runs differ: as much as the other's.
        many = one if one.size > 1 else two
        error = float(many.std(ddof=1)) * math.sqrt(1 / one.size + 1 / two.size)
        return Effect(log, estimate, error, many.size - 1), "runs"
    apart = Effect(log, estimate, *_welch(one, two))
    if not (paired and one.size == two.size >= LEAST_PAIRS and _same_seeds(base, other)):
        return apart, "runs"
    differences = two[np.argsort(other.seeds)] - one[np.argsort(base.seeds)]
    error = float(differences.std(ddof=1)) / math.sqrt(one.size)
    together = Effect(log, estimate, error, one.size - 1, PAIRED_WEIGHT)
    apart = dataclasses.replace(apart, weight=1 - PAIRED_WEIGHT)
    if _two_sided(together) < _two_sided(apart):
        return together, "paired runs"
    return apart, "runs"


def _welch(one: Floats, two: Floats) -> tuple[float, float]:
    """Standard error and degrees of freedom of a difference of means (Welch 1947)."""
    parts = [(float(each.var(ddof=1)) / each.size, each.size - 1) for each in (one, two)]
    total = sum(part for part, _ in parts)
    if total <= 0:
        return 0.0, float(one.size + two.size - 2)
    return math.sqrt(total), total**2 / sum(part**2 / df for part, df in parts)


def _same_seeds(base: Figures, other: Figures) -> bool:
    return sorted(base.seeds) == sorted(other.seeds) and len(set(base.seeds)) == len(base.seeds)
