"""How long it takes from an answer to the next turn, in seconds."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from workloads.errors import WorkloadError

_NORMAL: Final = NormalDist()


class Gap(ABC):
    """A time from 0 up, given by its quantile function."""

    __slots__ = ()

    @abstractmethod
    def quantile_s(self, u: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Seconds at the cumulative probabilities `u` (each strictly between 0 and 1), in the
        shape of `u`. Never falling in `u`."""

    @abstractmethod
    def mean_s(self) -> float:
        """Mean in seconds."""


@dataclass(frozen=True, slots=True)
class ConstantGap(Gap):
    """Always `seconds`. Raises `WorkloadError` unless that is finite and from 0 up."""

    seconds: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise WorkloadError(f"gap is {self.seconds} s: give a number from 0 up")

    def quantile_s(self, u: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """See `Gap`."""
        return np.full(np.shape(u), self.seconds, dtype=np.float64)

    def mean_s(self) -> float:
        """See `Gap`."""
        return self.seconds


@dataclass(frozen=True, slots=True)
class ExponentialGap(Gap):
    """Exponential of this mean. Raises `WorkloadError` unless it is finite and from 0 up."""

    mean: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and self.mean >= 0):
            raise WorkloadError(f"mean gap is {self.mean} s: give a number from 0 up")

    def quantile_s(self, u: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """See `Gap`."""
        return -np.log1p(-np.asarray(u, dtype=np.float64)) * self.mean

    def mean_s(self) -> float:
        """See `Gap`."""
        return self.mean


@dataclass(frozen=True, slots=True)
class LognormalGap(Gap):
    """The lognormal through two percentiles, in seconds: most gaps short, a few very long.

    Raises `WorkloadError` unless 0 < median < p90, both finite.
    """

    median: float
    p90: float

    def __post_init__(self) -> None:
        if not (0 < self.median < self.p90 and math.isfinite(self.p90)):
            raise WorkloadError(
                f"gap of median {self.median} s and p90 {self.p90} s: give 0 < median < p90"
            )

    @property
    def sigma(self) -> float:
        """Standard deviation of the logarithm."""
        return math.log(self.p90 / self.median) / _NORMAL.inv_cdf(0.9)

    def quantile_s(self, u: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """See `Gap`."""
        values = np.asarray(u, dtype=np.float64)
        z = np.fromiter(map(_NORMAL.inv_cdf, values.ravel().tolist()), np.float64, values.size)
        gaps: npt.NDArray[np.float64] = self.median * np.exp(self.sigma * z.reshape(values.shape))
        return gaps

    def mean_s(self) -> float:
        """See `Gap`."""
        return self.median * math.exp(self.sigma**2 / 2.0)


USER_GAP: Final = ExponentialGap(15.0)
"""A user reads and types. Chosen here, so that runs of minutes hold whole conversations: ServeGen
(Xiang et al., 2025) reports about 100 s between the turns of its production traces."""

TOOL_GAP: Final = LognormalGap(median=0.5, p90=2.0)
"""A tool runs. Chosen here: a database or web call; what a build or a test takes is far longer."""
