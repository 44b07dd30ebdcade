"""Intervals of 95 %, and the distributions that they and the tests are made from.

SciPy is imported when the first of them is asked for: that takes as long as to read a run of a
million requests, which goes on meanwhile in another thread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

CONFIDENCE = 0.95
_TAIL = (1 - CONFIDENCE) / 2
POWER = 0.8


@dataclass(frozen=True, slots=True)
class Interval:
    """From `low` to `high`, in the unit of the figure."""

    low: float
    high: float


def t_reach(degrees: float, tail: float = _TAIL) -> float:
    """How many standard errors Student's t exceeds with probability `tail`, for these degrees of
    freedom."""
    from scipy import special

    return -float(special.stdtrit(degrees, tail))


def t_tail(t: float, degrees: float) -> float:
    """The probability that Student's t with these degrees of freedom exceeds `t`."""
    from scipy import special

    return float(special.stdtr(degrees, -t))


def t_interval(value: float, error: float, degrees: float, weight: float = 1.0) -> Interval:
    """value ± t · error, as wide as a `weight` (0 to 1) of the probability of error asks."""
    reach = t_reach(degrees, _TAIL * weight) * error
    return Interval(value - reach, value + reach)


def detectable(error: float, degrees: float, tests: float) -> float:
    """The smallest effect that is found with a probability of 80 %, in the unit of `error`, where
    it is one of `tests` effects that are tested together."""
    return (t_reach(degrees, _TAIL / max(1.0, tests)) + t_reach(degrees, 1 - POWER)) * error


def order_statistic_shares(share: float, n: float) -> tuple[float, float] | None:
    """Between which shares of the samples a percentile lies, from 0 to 1.

    The number of samples below the true percentile is binomial, whatever their distribution
    (Conover, Practical Nonparametric Statistics, 3.2); Clopper and Pearson's (1934) interval of
    that share, which takes an `n` that is no whole number too: as many independent samples as the
    dependent ones are worth. None where it reaches beyond the samples.
    """
    from scipy import special

    if n * min(share, 1 - share) <= 0:
        return None
    met = share * n
    low = float(special.betaincinv(met, n - met + 1, _TAIL))
    high = float(special.betaincinv(met + 1, n - met, 1 - _TAIL))
    return (low, high) if low > 0.5 / n and high < 1 - 0.5 / n else None


def share_interval(met: float, n: float) -> Interval:
    """The interval of a share of `n` > 0 requests, 0 to 1, by Wilson's (1927) score."""
    z = t_reach(math.inf)
    share, z2 = met / n, z * z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return Interval(max(0.0, middle - reach), min(1.0, middle + reach))


def count_test(base: float, other: float, base_exposure: float, other_exposure: float) -> float:
    """The probability of counts at least this unlike each other where both come at the same rate
    per exposure: exact, of the binomial that one count is of both; two-sided, 1 at most."""
    from scipy import special

    both = base + other
    if both <= 0:
        return 1.0
    chance = other_exposure / (base_exposure + other_exposure)
    at_least = 1.0 if other <= 0 else float(special.betainc(other, base + 1, chance))
    at_most = 1.0 if base <= 0 else 1 - float(special.betainc(other + 1, base, chance))
    return min(1.0, 2 * min(at_least, at_most))
