"""A series to draw: values over the seconds of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Style = Literal["line", "step", "points"]


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """One named series; two of them are equal when they would be drawn alike.

    Attributes:
        x: seconds, ascending; y: values, NaN where there is none (lines are broken there).
        style: "line" joins the samples, "step" holds each until the next, "points" does neither.
        color: a theme variable such as "$series-1", or a colour.
    """

    name: str
    x: Floats
    y: Floats
    style: Style = "line"
    color: str = "$series-1"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Trace):
            return NotImplemented
        said = (self.name, self.style, self.color) == (other.name, other.style, other.color)
        return said and _same(self.x, other.x) and _same(self.y, other.y)

    __hash__ = None  # type: ignore[assignment]


def value_at(trace: Trace, time_s: float) -> float | None:
    """The trace's last value at or before a time; None before its first, and in a gap."""
    index = int(np.searchsorted(trace.x, time_s, side="right")) - 1
    return _known(trace.y[index]) if index >= 0 else None


def last_value(trace: Trace, x0_s: float, x1_s: float) -> float | None:
    """The last value that is known between two times; None without one."""
    start = int(np.searchsorted(trace.x, x0_s, side="left"))
    end = int(np.searchsorted(trace.x, x1_s, side="right"))
    known = np.flatnonzero(np.isfinite(trace.y[start:end]))
    return float(trace.y[start + known[-1]]) if known.size else None


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _same(one: Floats, other: Floats) -> bool:
    return one is other or (one.shape == other.shape and np.array_equal(one, other, equal_nan=True))
