"""Length distributions, in tokens.

Each is given by its quantile function, so that a request's length is a function of one uniform
number, and so that tables can show its percentiles without sampling.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from workloads.errors import WorkloadError

_NORMAL: Final = NormalDist()


class LengthDistribution(ABC):
    """How many tokens: whole numbers, at least 1."""

    __slots__ = ()

    @abstractmethod
    def quantile(self, u: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Lengths in tokens at the cumulative probabilities `u` (each strictly between 0 and 1),
        in the shape of `u`. Rising in `u`."""

    @abstractmethod
    def mean(self) -> float:
        """Mean length in tokens, after clipping and before rounding to whole tokens."""

    def sample(self, rng: np.random.Generator, n: int) -> npt.NDArray[np.int64]:
        """`n` independent lengths in tokens, int64 `[n]`."""
        # 1 − [0, 1) is (0, 1]; the smallest step below 1 keeps the quantile finite.
        return self.quantile(np.clip(1.0 - rng.random(n), 2.0**-53, 1.0 - 2.0**-53))


@dataclass(frozen=True, slots=True)
class Fixed(LengthDistribution):
    """Always `tokens`."""

    tokens: int

    def __post_init__(self) -> None:
        _check_bounds(self.tokens, self.tokens)

    def quantile(self, u: npt.ArrayLike) -> npt.NDArray[np.int64]:
        return np.full(np.shape(u), self.tokens, dtype=np.int64)

    def mean(self) -> float:
        return float(self.tokens)


@dataclass(frozen=True, slots=True)
class Uniform(LengthDistribution):
    """Every whole number from `minimum` to `maximum` (both included) equally likely."""

    minimum: int
    maximum: int

    def __post_init__(self) -> None:
        _check_bounds(self.minimum, self.maximum)

    def quantile(self, u: npt.ArrayLike) -> npt.NDArray[np.int64]:
        width = self.maximum - self.minimum + 1
        steps = np.floor(np.asarray(u, dtype=np.float64) * width).astype(np.int64)
        return self.minimum + np.minimum(steps, width - 1)

    def mean(self) -> float:
        return (self.minimum + self.maximum) / 2.0


@dataclass(frozen=True, slots=True)
class Lognormal(LengthDistribution):
    """A lognormal, clipped to [`minimum`, `maximum`] (values outside take the bound's value).

    `median` in tokens is exp(mu) and `sigma` the standard deviation of the logarithm. Build it
    from published figures with `from_mean_and_median` or `from_median_and_p90`.
    """

    median: float
    sigma: float
    minimum: int
    maximum: int

    def __post_init__(self) -> None:
        _check_bounds(self.minimum, self.maximum)
        if not self.minimum <= self.median <= self.maximum:
            raise WorkloadError(
                f"median is {self.median} tokens: it must lie within "
                f"[{self.minimum}, {self.maximum}]"
            )
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise WorkloadError(f"sigma is {self.sigma}: give a finite positive number")

    @classmethod
    def from_mean_and_median(
        cls, mean: float, median: float, minimum: int, maximum: int
    ) -> Lognormal:
        """The lognormal that has this mean and median, in tokens, *after* clipping.

        Unclipped, sigma would be sqrt(2 ln(mean / median)), from mean = exp(mu + sigma²/2) and
        median = exp(mu). Clipping moves the mean (by up to 5 % for the traces used here) and
        leaves the median, so sigma is solved for by bisection until the clipped mean is `mean`.

        Raises `WorkloadError` where no lognormal fits: a mean not above the median, or one too
        near the maximum.
        """
        if not 0 < median < mean:
            raise WorkloadError(
                f"mean {mean} and median {median} tokens fit no lognormal: the mean must be above "
                "the median; use another distribution"
            )
        low, high = 0.0, math.sqrt(2.0 * math.log(mean / median))
        while cls(median, high, minimum, maximum).mean() < mean:
            low, high = high, high * 1.25
            if high > 8.0:
                raise WorkloadError(
                    f"mean {mean} and median {median} tokens fit no lognormal clipped to "
                    f"[{minimum}, {maximum}]: raise the maximum"
                )
        for _ in range(60):
            middle = (low + high) / 2.0
            if cls(median, middle, minimum, maximum).mean() < mean:
                low = middle
            else:
                high = middle
        return cls(median, high, minimum, maximum)

    @classmethod
    def from_median_and_p90(
        cls, median: float, p90: float, minimum: int, maximum: int
    ) -> Lognormal:
        """The lognormal through two percentiles, in tokens: sigma = ln(p90 / median) / 1.2816.

        Both hold after clipping as long as they lie within the bounds. Raises `WorkloadError`
        where they don't, and for a p90 not above the median.
        """
        if not 0 < median < p90 <= maximum:
            raise WorkloadError(
                f"median {median} and p90 {p90} tokens fit no lognormal within [{minimum}, "
                f"{maximum}]: p90 must be above the median and at most the maximum"
            )
        return cls(median, math.log(p90 / median) / _NORMAL.inv_cdf(0.9), minimum, maximum)

    def quantile(self, u: npt.ArrayLike) -> npt.NDArray[np.int64]:
        values = np.asarray(u, dtype=np.float64)
        # The standard library's inverse (Wichura's AS 241) costs 0.2 µs a value; numpy has none.
        z = np.fromiter(map(_NORMAL.inv_cdf, values.ravel().tolist()), np.float64, values.size)
        lengths = np.rint(self.median * np.exp(self.sigma * z.reshape(values.shape)))
        return np.clip(lengths, self.minimum, self.maximum).astype(np.int64)

    def mean(self) -> float:
        low = math.log(self.minimum / self.median) / self.sigma
        high = math.log(self.maximum / self.median) / self.sigma
        inside = _NORMAL.cdf(high - self.sigma) - _NORMAL.cdf(low - self.sigma)
        return (
            self.minimum * _NORMAL.cdf(low)
            + self.maximum * _NORMAL.cdf(-high)
            + self.median * math.exp(self.sigma**2 / 2.0) * inside
        )


class Empirical(LengthDistribution):
    """The lengths that were seen, each equally likely.

    Raises `WorkloadError` for an empty list and for lengths below 1.
    """

    __slots__ = ("_sorted",)

    def __init__(self, lengths: Sequence[int] | npt.NDArray[np.int64]) -> None:
        self._sorted = np.sort(np.asarray(lengths, dtype=np.int64))
        if self._sorted.ndim != 1 or len(self._sorted) == 0:
            raise WorkloadError("an empirical length distribution needs at least one length")
        _check_bounds(int(self._sorted[0]), int(self._sorted[-1]))

    def quantile(self, u: npt.ArrayLike) -> npt.NDArray[np.int64]:
        ranks = np.floor(np.asarray(u, dtype=np.float64) * len(self._sorted)).astype(np.int64)
        chosen: npt.NDArray[np.int64] = self._sorted[np.minimum(ranks, len(self._sorted) - 1)]
        return chosen

    def mean(self) -> float:
        return float(self._sorted.mean())


def _check_bounds(minimum: int, maximum: int) -> None:
    if not 1 <= minimum <= maximum:
        raise WorkloadError(
            f"lengths from {minimum} to {maximum} tokens: give whole numbers with "
            "1 <= minimum <= maximum"
        )


def length_distribution(text: str) -> LengthDistribution:
    """Lengths in tokens as a command line writes them: `512`, or `100..200`, all as likely.

    Raises `WorkloadError` for anything else.
    """
    low, dots, high = (part.strip() for part in text.partition(".."))
    if low.isdecimal() and (high.isdecimal() or not dots):
        return Uniform(int(low), int(high)) if dots else Fixed(int(low))
    raise WorkloadError(f"{text!r}: give a number of tokens, such as 512, or a range, 100..200")
