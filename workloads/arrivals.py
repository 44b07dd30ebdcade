"""Arrival processes: when requests come, whatever the engine does meanwhile (open loop).

All are renewal processes of a mean rate. Gaps are drawn for rate 1 and then divided by the rate,
so one seed gives one pattern: another rate stretches it, a longer duration continues it. A rate
that changes over time is the work of `workloads.modulation`, on top of any process here.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from workloads.errors import WorkloadError
from workloads.names import unknown_name

NS_PER_S: Final = 1_000_000_000
MAX_ARRIVALS: Final = 20_000_000
"""Most arrivals that one run may plan (160 MB of stamps); more is refused as a slip of the pen."""


class ArrivalProcess(Protocol):
    """When requests arrive.

    `times_ns` returns the arrivals as int64 nanoseconds since the run's start, ascending, each
    before `duration_s`; equal generators give equal stamps. It raises `WorkloadError` for a rate
    or duration that is not a finite positive number, and for more than `MAX_ARRIVALS` arrivals.
    """

    def times_ns(
        self, rate_per_s: float, duration_s: float, rng: np.random.Generator
    ) -> npt.NDArray[np.int64]: ...


class RenewalProcess(ABC):
    """An `ArrivalProcess` of independent, equally distributed gaps, given by its times at rate 1.

    A process with random gaps starts as if an arrival had just passed: with gaps of coefficient
    of variation c, a long run has on average (c² − 1)/2 arrivals more than rate · time.
    """

    __slots__ = ()

    @abstractmethod
    def unit_times(self, until: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Arrival times at one arrival per unit of time, ascending: all before `until` and at
        least one that is not. The same generator and a larger `until` continue the same times.

        Raises `WorkloadError` where that takes more than twice `MAX_ARRIVALS` draws.
        """

    def times_ns(
        self, rate_per_s: float, duration_s: float, rng: np.random.Generator
    ) -> npt.NDArray[np.int64]:
        """See `ArrivalProcess`."""
        end_ns = duration_ns(duration_s)
        expected = expected_arrivals(rate_per_s, end_ns / NS_PER_S)
        return stamps_ns(self.unit_times(expected, rng) / rate_per_s, end_ns)


@dataclass(frozen=True, slots=True)
class Constant(RenewalProcess):
    """One arrival every 1/rate seconds, the first at 0: ceil(rate · duration) in all."""

    def unit_times(self, until: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """See `RenewalProcess`; `rng` is not used."""
        # One more than needed: rounding decides whether the last falls before the end.
        return np.arange(math.ceil(until) + 1, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Poisson(RenewalProcess):
    """Independent users: exponential gaps of mean 1/rate, coefficient of variation 1."""

    def unit_times(self, until: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """See `RenewalProcess`."""
        return _renewals(rng.standard_exponential, until)


@dataclass(frozen=True, slots=True)
class Gamma(RenewalProcess):
    """Gamma gaps of mean 1/rate, for traffic burstier or smoother than Poisson.

    `burstiness` has the meaning that vLLM's `bench serve --burstiness` gives it: the shape k of
    the gamma distribution. The gaps' coefficient of variation is 1/sqrt(k): 1 is Poisson, less
    is burstier, more is smoother. The default 0.25 gives a CV of 2. `from_cv` takes the CV.

    Raises `WorkloadError` unless `burstiness` is finite and positive.
    """

    burstiness: float = 0.25

    def __post_init__(self) -> None:
        if not (math.isfinite(self.burstiness) and self.burstiness > 0):
            raise WorkloadError(
                f"burstiness is {self.burstiness}: give a positive number "
                "(1 is Poisson, less is burstier, more is smoother)"
            )

    @classmethod
    def from_cv(cls, cv: float) -> Gamma:
        """The process whose gaps have this coefficient of variation (k = 1/cv²)."""
        if not (math.isfinite(cv) and cv > 0):
            raise WorkloadError(f"cv is {cv}: give a positive number (1 is Poisson)")
        return cls(burstiness=1.0 / cv**2)

    @property
    def cv(self) -> float:
        """Coefficient of variation of the gaps, a pure number."""
        return 1.0 / math.sqrt(self.burstiness)

    def unit_times(self, until: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """See `RenewalProcess`."""
        k = self.burstiness
        return _renewals(lambda n: rng.standard_gamma(k, n) / k, until)


@dataclass(frozen=True, slots=True)
class Weibull(RenewalProcess):
    """Weibull gaps of mean 1/rate: below shape 1, with longer quiet spells than gamma's.

    ServeGen (Xiang et al., 2025) finds that no one law fits the gaps of production LLM traffic,
    and that gamma and Weibull often fit better than the exponential. With shape k the scale is
    1/(rate · Γ(1 + 1/k)) and the gaps' coefficient of variation sqrt(Γ(1 + 2/k)/Γ(1 + 1/k)² − 1):
    shape 1 is Poisson, less is burstier, more is smoother. The default 0.5 gives a CV of 2.24.

    Raises `WorkloadError` unless `shape` is finite and at least 0.1 (a CV of 430).
    """

    shape: float = 0.5

    def __post_init__(self) -> None:
        if not (math.isfinite(self.shape) and self.shape >= 0.1):
            raise WorkloadError(
                f"shape is {self.shape}: give a number of at least 0.1 "
                "(1 is Poisson, less is burstier, more is smoother)"
            )

    @property
    def cv(self) -> float:
        """Coefficient of variation of the gaps, a pure number."""
        log_ratio = math.lgamma(1.0 + 2.0 / self.shape) - 2.0 * math.lgamma(1.0 + 1.0 / self.shape)
        # Rounding takes the ratio of an almost constant gap below 1.
        return math.sqrt(max(0.0, math.expm1(log_ratio)))

    def unit_times(self, until: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """See `RenewalProcess`."""
        mean = math.gamma(1.0 + 1.0 / self.shape)
        return _renewals(lambda n: rng.weibull(self.shape, n) / mean, until)


_AnyProcess: TypeAlias = type[Poisson] | type[Constant] | type[Gamma] | type[Weibull]

ARRIVAL_PROCESSES: Final[Mapping[str, _AnyProcess]] = MappingProxyType(
    {"poisson": Poisson, "constant": Constant, "gamma": Gamma, "weibull": Weibull}
)
"""Every arrival process by the name that `--arrival` takes."""


def arrival_process(name: str, **options: float) -> RenewalProcess:
    """The process called `name`, with its options (gamma: `burstiness`, weibull: `shape`).

    Raises `WorkloadError` for an unknown name (all names are listed, the nearest first), for an
    option that the process doesn't have, and for an impossible value.
    """
    process = ARRIVAL_PROCESSES.get(name)
    if process is None:
        raise unknown_name("arrival process", name, ARRIVAL_PROCESSES)
    allowed = [field.name for field in dataclasses.fields(process)]
    for option in options:
        if option not in allowed:
            has = f"its options are {', '.join(allowed)}" if allowed else "it has no options"
            raise WorkloadError(f"arrival process {name!r} has no option {option!r}: {has}")
    return process(**options)


def duration_ns(duration_s: float) -> int:
    """The duration in whole nanoseconds; `WorkloadError` unless it is finite and positive."""
    if not (math.isfinite(duration_s) and duration_s > 0):
        raise WorkloadError(f"duration is {duration_s} s: give a positive number of seconds")
    return max(1, round(duration_s * NS_PER_S))


def expected_arrivals(rate_per_s: float, seconds: float) -> float:
    """How many arrivals to expect of `seconds` at the full rate, a checked number.

    Raises `WorkloadError` unless the rate is finite and positive, and for more arrivals than
    `MAX_ARRIVALS`.
    """
    if not (math.isfinite(rate_per_s) and rate_per_s > 0):
        raise WorkloadError(f"rate is {rate_per_s} requests/s: give a positive number")
    expected = rate_per_s * seconds
    if not expected <= MAX_ARRIVALS:
        raise WorkloadError(
            f"{expected:,.0f} arrivals are expected and {MAX_ARRIVALS:,} are the most: "
            "lower the rate or the duration"
        )
    return expected


def stamps_ns(times_s: npt.NDArray[np.float64], end_ns: int) -> npt.NDArray[np.int64]:
    """Those of the times (seconds, any order) that come before the end, in whole nanoseconds."""
    times_ns = times_s[times_s * NS_PER_S < end_ns] * NS_PER_S
    return times_ns.astype(np.int64)


def _renewals(
    unit_gaps: Callable[[int], npt.NDArray[np.float64]], until: float
) -> npt.NDArray[np.float64]:
    gaps = unit_gaps(int(until + 6.0 * math.sqrt(until)) + 16)
    times = np.cumsum(gaps)
    while times[-1] < until:
        # Doubled and summed anew, so that the times don't depend on where a draw ended.
        gaps = np.concatenate([gaps, unit_gaps(len(gaps))])
        if len(gaps) > 2 * MAX_ARRIVALS:
            raise WorkloadError(
                f"{until:,.0f} expected arrivals of so bursty a process take more than "
                f"{2 * MAX_ARRIVALS:,} draws: lower the rate, the duration or the burstiness"
            )
        times = np.cumsum(gaps)
    return times
