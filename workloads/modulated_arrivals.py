"""Arrivals of any renewal process at a rate that changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workloads.arrivals import (
    NS_PER_S,
    RenewalProcess,
    duration_ns,
    expected_arrivals,
    stamps_ns,
)
from workloads.modulation import Modulation


@dataclass(frozen=True, slots=True)
class ModulatedArrivals:
    """A renewal process whose rate is modulated: an `ArrivalProcess`.

    With an absolute modulation (`RateFile`) the `rate_per_s` of `times_ns` is a pure factor: 1
    gives the file's own rates, 2 twice as many requests.

    One seed gives one pattern, counted in expected arrivals. Another rate stretches it in that
    count and leaves the modulation where it is in time. A longer duration continues a shorter
    one, but for `Ramp` and `Steps`, which are stretched over the duration themselves.
    """

    process: RenewalProcess
    modulation: Modulation

    def times_ns(
        self, rate_per_s: float, duration_s: float, rng: np.random.Generator
    ) -> npt.NDArray[np.int64]:
        """See `ArrivalProcess`. Stretches of rate 0 hold no arrivals."""
        end_ns = duration_ns(duration_s)
        end_s = end_ns / NS_PER_S
        expected = expected_arrivals(rate_per_s, self._total(end_s))
        units = self.process.unit_times(expected, rng)
        times_s = self.modulation.inverse(units / rate_per_s, end_s)
        # What rounding swapped by less than a nanosecond is put in order again.
        return stamps_ns(np.maximum.accumulate(times_s), end_ns)

    def mean_factor(self, duration_s: float) -> float:
        """The mean rate over the duration per unit of `rate_per_s`; for a `RateFile`, requests/s.

        Raises `WorkloadError` unless the duration is finite and positive.
        """
        end_s = duration_ns(duration_s) / NS_PER_S
        return self._total(end_s) / end_s

    def _total(self, end_s: float) -> float:
        return float(self.modulation.cumulative(np.array([end_s]), end_s)[0])
