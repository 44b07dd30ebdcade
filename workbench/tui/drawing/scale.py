"""The value axis's range: from 0 to a round top that does not flicker, or whole decades."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from workbench.analysis.rounding import round_up
from workbench.tui.drawing.trace import Floats

_SHRINK_BELOW = 0.5
_LOG_SPARE = 20.0


@dataclass(frozen=True, slots=True)
class Scale:
    """Values between `bottom` and `top`; logarithmic ones begin above 0."""

    bottom: float
    top: float
    log: bool = False

    def rows(self, values: Floats, height: int) -> Floats:
        """Rows from the top, of `height`, as whole floats; NaN for what cannot be placed.

        What lies above or below the scale is placed at its edge.
        """
        if self.log:
            positive = np.where(values > 0, values, np.nan)
            share = np.log(positive / self.bottom) / math.log(self.top / self.bottom)
        else:
            share = (values - self.bottom) / (self.top - self.bottom)
        placed: Floats = (height - 1) - np.rint(np.clip(share, 0.0, 1.0) * (height - 1))
        return placed

    def row(self, value: float, height: int) -> int:
        """The row of one value, which has to be above 0 on a logarithmic scale."""
        return int(self.rows(np.array([value]), height)[0])


def linear_scale(peak: float, previous: Scale | None = None) -> Scale:
    """From 0 to a round number; it grows at once, and shrinks only when less than half is used."""
    if previous is not None and not previous.log:
        top = previous.top
        if _SHRINK_BELOW * top <= peak <= top:
            return previous
    return Scale(0.0, round_up(peak))


def log_scale(least: float, peak: float, previous: Scale | None = None) -> Scale:
    """Whole decades around the values; a decade is given up only when it is far from them."""
    bottom = 10.0 ** math.floor(math.log10(least))
    top = 10.0 ** math.ceil(math.log10(peak))
    if previous is not None and previous.log:
        if bottom > previous.bottom and least <= previous.bottom * _LOG_SPARE:
            bottom = previous.bottom
        if top < previous.top and peak >= previous.top / _LOG_SPARE:
            top = previous.top
    return Scale(bottom, top if top > bottom else bottom * 10, log=True)


def limit_in_view(limit: float, peak: float, previous: Scale | None) -> bool:
    """Whether a limit is near enough to the values to be given room; once in view it stays long."""
    shown = previous is not None and limit <= previous.top
    return limit <= peak * (8 if shown else 3)
