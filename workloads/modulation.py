"""How the rate changes over a run, on top of any renewal process.

A modulation is a rate factor over time, given by its integral. Arrivals at rate 1 are carried
through the inverse of that integral, so a gamma process keeps its burstiness and a constant one
its even spacing, both measured in expected arrivals instead of seconds (the inversion method of
Gerhardt and Nelson, INFORMS Journal on Computing 21, 2009; for Poisson it is Çinlar's).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from workloads.errors import WorkloadError

Floats: TypeAlias = npt.NDArray[np.float64]

SHORTEST_PERIOD_S: Final = 1e-3


class Modulation(ABC):
    """The rate over a run, as a factor of the base rate (of requests/s if `absolute`).

    Times are seconds since the run's start, from 0 to `duration_s`, the whole length of the run.
    Arrays `[n]` go in and come out, n from 0 on.
    """

    __slots__ = ()

    absolute: ClassVar[bool] = False
    """True if factors are requests/s themselves, so that a base rate of 1 leaves them alone."""

    @abstractmethod
    def cumulative(self, t_s: Floats, duration_s: float) -> Floats:
        """Arrivals expected before each time at base rate 1, the factor's integral in seconds."""

    @abstractmethod
    def inverse(self, expected: Floats, duration_s: float) -> Floats:
        """The latest time, in seconds, at which no more than `expected` arrivals are expected.

        Infinite where no later arrival is ever expected. Exact but for rounding, or solved to
        1 ns. Only where the rate all but vanishes do the 53 bits of a float tell times apart
        less finely than that.
        """


@dataclass(frozen=True, slots=True)
class Steady(Modulation):
    """The base rate throughout."""

    def cumulative(self, t_s: Floats, duration_s: float) -> Floats:
        """See `Modulation`."""
        return t_s

    def inverse(self, expected: Floats, duration_s: float) -> Floats:
        """See `Modulation`."""
        return expected


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """A factor that is linear within each piece; the last piece has no end."""

    starts_s: Floats
    ends_s: Floats
    factors: Floats  # at each start
    slopes_per_s: Floats
    totals: Floats  # arrivals expected before each start

    @classmethod
    def of(
        cls, starts_s: npt.ArrayLike, factors: npt.ArrayLike, slopes_per_s: npt.ArrayLike
    ) -> Pieces:
        starts, first, slopes = (
            np.asarray(x, dtype=np.float64) for x in (starts_s, factors, slopes_per_s)
        )
        lengths = np.diff(starts)
        counts = lengths * (first[:-1] + slopes[:-1] * lengths / 2.0)
        totals = np.append(0.0, np.cumsum(counts))
        return cls(starts, np.append(starts[1:], math.inf), first, slopes, totals)

    def cumulative(self, t_s: Floats) -> Floats:
        i = np.searchsorted(self.starts_s, t_s, side="right") - 1
        elapsed_s = t_s - self.starts_s[i]
        mean = self.factors[i] + self.slopes_per_s[i] * elapsed_s / 2.0
        total: Floats = self.totals[i] + elapsed_s * mean
        return total

    def inverse(self, expected: Floats) -> Floats:
        # Of pieces with the same total the last: silence is skipped.
        i = np.searchsorted(self.totals, expected, side="right") - 1
        count, factor = expected - self.totals[i], self.factors[i]
        squared = factor**2 + 2.0 * self.slopes_per_s[i] * count
        # The quadratic's root in the form that subtracts nothing and also holds for slope 0.
        divisor = factor + np.sqrt(np.maximum(squared, 0.0))
        # A divisor of 0 is the foot of a slope or a last piece of silence.
        at_zero = np.where(self.slopes_per_s[i] > 0, 0.0, math.inf)
        elapsed_s = np.divide(2.0 * count, divisor, out=at_zero, where=divisor > 0)
        t_s: Floats = np.minimum(self.starts_s[i] + elapsed_s, self.ends_s[i])
        return t_s


class Piecewise(Modulation):
    """A modulation made of pieces."""

    __slots__ = ()

    def cumulative(self, t_s: Floats, duration_s: float) -> Floats:
        """See `Modulation`."""
        return self.pieces(duration_s).cumulative(t_s)

    def inverse(self, expected: Floats, duration_s: float) -> Floats:
        """See `Modulation`."""
        return self.pieces(duration_s).inverse(expected)

    @abstractmethod
    def pieces(self, duration_s: float) -> Pieces:
        """The pieces of a run of this duration, seconds."""


@dataclass(frozen=True, slots=True)
class Ramp(Piecewise):
    """A factor that goes from `start` to `end` in a straight line over the whole duration.

    Not normalised: the mean factor is (start + end)/2. Raises `WorkloadError` for negative
    factors and if both are 0.
    """

    start: float = 0.0
    end: float = 2.0

    def __post_init__(self) -> None:
        _check_factors("ramp", {"from": self.start, "to": self.end})

    def pieces(self, duration_s: float) -> Pieces:
        slope = (self.end - self.start) / duration_s
        return Pieces.of([0.0, duration_s], [self.start, self.end], [slope, 0.0])


@dataclass(frozen=True, slots=True)
class Steps(Piecewise):
    """Equally long steps over the duration, each with its own factor.

    Not normalised: the mean factor is the mean of `factors`. Raises `WorkloadError` for no
    factors, negative ones, and if all are 0.
    """

    factors: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_factors("steps", {f"factor {i}": f for i, f in enumerate(self.factors, 1)})

    def pieces(self, duration_s: float) -> Pieces:
        starts_s = np.arange(len(self.factors)) * (duration_s / len(self.factors))
        return Pieces.of(starts_s, self.factors, np.zeros(len(self.factors)))


class _Periodic(Modulation):
    """A shape that repeats, of mean factor 1: only what happens within one period is left open.

    The run starts `begin_s` into the first period.
    """

    __slots__ = ()

    period_s: float
    begin_s: float

    def cumulative(self, t_s: Floats, duration_s: float) -> Floats:
        """See `Modulation`."""
        return self._since_period(t_s + self.begin_s) - self._before_run()

    def inverse(self, expected: Floats, duration_s: float) -> Floats:
        """See `Modulation`."""
        periods, within = np.divmod(expected + self._before_run(), self.period_s)
        inside_s = np.minimum(self._inverse(within), self.period_s)
        return np.maximum(periods * self.period_s + inside_s - self.begin_s, 0.0)

    def _since_period(self, t_s: Floats) -> Floats:
        periods, within_s = np.divmod(t_s, self.period_s)
        return periods * self.period_s + self._cumulative(within_s)

    def _before_run(self) -> Floats:
        return self._since_period(np.array([self.begin_s])) if self.begin_s else np.zeros(1)

    @abstractmethod
    def _cumulative(self, within_s: Floats) -> Floats: ...

    @abstractmethod
    def _inverse(self, within: Floats) -> Floats: ...

    def _check_period(self, name: str) -> None:
        if not (math.isfinite(self.period_s) and self.period_s >= SHORTEST_PERIOD_S):
            raise WorkloadError(
                f"{name}: period is {self.period_s} s: give at least {SHORTEST_PERIOD_S} s"
            )
        if not 0 <= self.begin_s < self.period_s:
            raise WorkloadError(
                f"{name}: begin is {self.begin_s} s: give a time from 0 to below its period"
            )


@dataclass(frozen=True, slots=True)
class Square(_Periodic):
    """Calm, then a burst, in every period: `low`, and then `high` for the last `duty` of it.

    Both are normalised to a mean factor of 1, so only their ratio matters; the defaults are the
    factors themselves. Raises `WorkloadError` unless 0 <= low <= high, high > 0, and duty is
    from 0.001 to 0.999.
    """

    period_s: float = 60.0
    low: float = 0.5
    high: float = 3.0
    duty: float = 0.2
    begin_s: float = 0.0

    def __post_init__(self) -> None:
        self._check_period("square")
        _check_factors("square", {"low": self.low, "high": self.high})
        if self.low > self.high:
            raise WorkloadError(f"square: low {self.low} is above high {self.high}: swap them")
        if not 0.001 <= self.duty <= 0.999:
            raise WorkloadError(
                f"square: duty is {self.duty}: give a share of the period from 0.001 to 0.999"
            )

    def _cumulative(self, within_s: Floats) -> Floats:
        return self.pieces().cumulative(within_s)

    def _inverse(self, within: Floats) -> Floats:
        return self.pieces().inverse(within)

    def pieces(self) -> Pieces:
        mean = (1.0 - self.duty) * self.low + self.duty * self.high
        burst_s = (1.0 - self.duty) * self.period_s
        return Pieces.of([0.0, burst_s], [self.low / mean, self.high / mean], [0.0, 0.0])


class _Smooth(_Periodic):
    """A period whose integral has no closed inverse; phases and shares of it run from 0 to 1."""

    __slots__ = ()

    @abstractmethod
    def _factor(self, phase: Floats) -> Floats:
        """The rate's factor."""

    @abstractmethod
    def _share(self, phase: Floats) -> Floats:
        """The share of a period's arrivals that comes before the phase."""

    def _cumulative(self, within_s: Floats) -> Floats:
        return self.period_s * self._share(within_s / self.period_s)

    def _inverse(self, within: Floats) -> Floats:
        shares = within / self.period_s
        # In blocks that the cache holds.
        blocks = np.array_split(shares, len(shares) // 16_384 + 1)
        return self.period_s * np.concatenate([self._phase(block) for block in blocks])

    def _phase(self, share: Floats) -> Floats:
        """The phase at which each share is reached: Newton's method, kept within a bracket."""
        grid = np.linspace(0.0, 1.0, 1025)
        on_grid = self._share(grid)
        cell = np.clip(np.searchsorted(on_grid, share, side="right") - 1, 0, len(grid) - 2)
        low, high = grid[cell], grid[cell + 1]
        phase = np.interp(share, on_grid, grid)
        settled = np.zeros(len(share), dtype=np.bool_)
        for _ in range(64):
            excess = self._share(phase) - share
            low = np.where(excess > 0, low, phase)
            high = np.where(excess > 0, phase, high)
            step = excess / np.maximum(self._factor(phase), 1e-300)
            # A quarter of a nanosecond, or as near as the share itself is known. Who has settled
            # stays: a stamp must not depend on the others that are solved beside it.
            settled |= (np.abs(step) * self.period_s <= 0.25e-9) | (np.abs(excess) <= 2.0**-52)
            if settled.all():
                break
            newton = phase - step
            inside = (low <= newton) & (newton <= high)
            better = np.where(inside, newton, (low + high) / 2.0)
            phase = np.where(settled, phase, better)
        return phase


@dataclass(frozen=True, slots=True)
class Sine(_Smooth):
    """The factor 1 + amplitude · sin(2πt/period): it starts at the mean and rises.

    Raises `WorkloadError` unless the amplitude is from 0 to 1.
    """

    period_s: float = 60.0
    amplitude: float = 0.8
    begin_s: float = 0.0

    def __post_init__(self) -> None:
        self._check_period("sine")
        if not 0.0 <= self.amplitude <= 1.0:
            raise WorkloadError(f"sine: amplitude is {self.amplitude}: give a number from 0 to 1")

    def _factor(self, phase: Floats) -> Floats:
        return 1.0 + self.amplitude * np.sin(2.0 * math.pi * phase)

    def _share(self, phase: Floats) -> Floats:
        return phase + self.amplitude / math.pi * np.sin(math.pi * phase) ** 2


@dataclass(frozen=True, slots=True)
class Diurnal(_Smooth):
    """A day: a broad peak around 15:00, a narrow trough at 03:00; the run starts at
    00:00, or at `begin_s`.

    The factor is trough + (peak − trough) · (3 − c)(1 + c)/4 with c = cos(2π(t − 15 h)/24 h), the
    flattest peak that two harmonics of the day allow while rising and falling once. It is
    normalised to a mean of 1, so only the ratio of peak to trough matters; the defaults are the
    factors themselves. With another `period_s` the whole day is stretched.

    Studies of production services report traffic that follows the day (ServeGen, Xiang et al.,
    2025; SageServe, Jaiswal et al., 2025). The curve and its default ratio are ours and fitted
    to none of them: for the day of one service, use a rate file.

    Raises `WorkloadError` unless 0 <= trough <= peak and peak > 0.
    """

    period_s: float = 86_400.0
    trough: float = 0.25
    peak: float = 1.45
    begin_s: float = 0.0

    def __post_init__(self) -> None:
        self._check_period("diurnal")
        _check_factors("diurnal", {"trough": self.trough, "peak": self.peak})
        if self.trough > self.peak:
            raise WorkloadError(
                f"diurnal: trough {self.trough} is above peak {self.peak}: swap them"
            )

    def _factor(self, phase: Floats) -> Floats:
        angle = self._angle(phase)
        return 1.0 + self._swing() * (np.cos(angle) / 2.0 - np.cos(2.0 * angle) / 8.0)

    def _share(self, phase: Floats) -> Floats:
        waves = self._waves(phase) - self._waves(np.zeros(1))
        return phase + self._swing() / (2.0 * math.pi) * waves

    def _waves(self, phase: Floats) -> Floats:
        angle = self._angle(phase)
        return np.sin(angle) / 2.0 - np.sin(2.0 * angle) / 16.0

    def _angle(self, phase: Floats) -> Floats:
        return 2.0 * math.pi * (phase - 15.0 / 24.0)

    def _swing(self) -> float:
        # (3 − c)(1 + c)/4 = 5/8 + cos/2 − cos 2·/8, of mean 5/8.
        return (self.peak - self.trough) / (self.trough + 5.0 / 8.0 * (self.peak - self.trough))


def _check_factors(name: str, factors: Mapping[str, float]) -> None:
    for what, factor in factors.items():
        if not (math.isfinite(factor) and factor >= 0):
            raise WorkloadError(f"{name}: {what} is {factor}: give a number of at least 0")
    if not any(factors.values()):
        raise WorkloadError(f"{name}: no factor is above 0: give at least one that is")
