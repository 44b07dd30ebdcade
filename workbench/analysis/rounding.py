"""Round numbers at which axes end."""

from __future__ import annotations

import math

_ROUND = (1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10)


def round_up(value: float) -> float:
    """The next round number that is not below `value`; 1 for 0."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in _ROUND if step * power >= value * 0.999)
