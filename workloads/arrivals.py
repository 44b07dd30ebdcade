"""Arrival processes: when requests come, whatever the engine does meanwhile (open loop).

All are renewal processes of a mean rate. Gaps are drawn for rate 1 and then divided by the rate,
so one seed gives one pattern: another rate stretches it, a longer duration continues it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol

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


@dataclass(frozen=True, slots=True)
class Constant:
    """One arrival every 1/rate seconds, the first at 0: ceil(rate · duration) in all."""

    def times_ns(
        self, rate_per_s: float, duration_s: float, rng: np.random.Generator
    ) -> npt.NDArray[np.int64]:
        """See `ArrivalProcess`; `rng` is not used."""
        expected, end_ns = _plan(rate_per_s, duration_s)
        # One more than needed: rounding decides whether the last falls before the end.
        indices = np.arange(math.ceil(expected) + 1, dtype=np.float64)
        return _before(indices / rate_per_s, end_ns)


@dataclass(frozen=True, slots=True)
class Poisson:
    """Independent users: exponential gaps of mean 1/rate, coefficient of variation 1."""

    def times_ns(
        self, rate_per_s: float, duration_s: float, rng: np.random.Generator
    ) -> npt.NDArray[np.int64]:
        """See `ArrivalProcess`."""
        return _renewals(rng.standard_exponential, rate_per_s, duration_s)


@dataclass(frozen=True, slots=True)
class Gamma:
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

    def times_ns(
        self, rate_per_s: float, duration_s: float, rng: np.random.Generator
    ) -> npt.NDArray[np.int64]:
        """See `ArrivalProcess`."""
        k = self.burstiness
        return _renewals(lambda n: rng.standard_gamma(k, n) / k, rate_per_s, duration_s)


ARRIVAL_PROCESSES: Final[Mapping[str, type[Poisson] | type[Constant] | type[Gamma]]] = (
    MappingProxyType({"poisson": Poisson, "constant": Constant, "gamma": Gamma})
)
"""Every arrival process by the name that `--arrival` takes."""


def arrival_process(name: str, **options: float) -> ArrivalProcess:
    """The process called `name`, with its options (gamma: `burstiness`).

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


def _plan(rate_per_s: float, duration_s: float) -> tuple[float, int]:
    """The expected number of arrivals, and the end in nanoseconds."""
    end_ns = duration_ns(duration_s)
    if not (math.isfinite(rate_per_s) and rate_per_s > 0):
        raise WorkloadError(f"rate is {rate_per_s} requests/s: give a positive number")
    expected = rate_per_s * duration_s
    if expected > MAX_ARRIVALS:
        raise _too_many(f"{rate_per_s} requests/s for {duration_s} s")
    return expected, end_ns


def _renewals(
    unit_gaps: Callable[[int], npt.NDArray[np.float64]], rate_per_s: float, duration_s: float
) -> npt.NDArray[np.int64]:
    expected, end_ns = _plan(rate_per_s, duration_s)
    gaps = unit_gaps(int(expected + 6.0 * math.sqrt(expected)) + 16)
    times_s = np.cumsum(gaps) / rate_per_s
    while times_s[-1] < duration_s:
        # Doubled and summed anew, so that the stamps don't depend on where a draw ended.
        gaps = np.concatenate([gaps, unit_gaps(len(gaps))])
        if len(gaps) > 2 * MAX_ARRIVALS:
            raise _too_many(f"this burstiness at {rate_per_s} requests/s for {duration_s} s")
        times_s = np.cumsum(gaps) / rate_per_s
    return _before(times_s, end_ns)


def _before(times_s: npt.NDArray[np.float64], end_ns: int) -> npt.NDArray[np.int64]:
    times_ns = times_s[times_s * NS_PER_S < end_ns] * NS_PER_S
    return times_ns.astype(np.int64)


def _too_many(what: str) -> WorkloadError:
    return WorkloadError(
        f"{what} is more than {MAX_ARRIVALS:,} arrivals: lower the rate or the duration"
    )
