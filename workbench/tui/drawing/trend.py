"""Many values as one row of bars."""

from __future__ import annotations

import numpy as np

from workbench.tui.drawing.trace import Floats


def trend(values: Floats, width: int, levels: str) -> str:
    """The newest value rightmost, from 0 to the greatest value; blanks where there is none.

    Of several values in one column, the one that is farthest from the mean stands for it, so that
    a single spike or dip stays visible.
    """
    if width <= 0:
        return ""
    picked = _picked(values, width)
    known = np.isfinite(picked)
    if not known.any():
        return " " * width
    top = max(float(picked[known].max()), 0.0)
    share = np.clip(picked / top, 0.0, 1.0) if top > 0 else np.zeros_like(picked)
    index = np.rint(np.where(known, share, 0.0) * (len(levels) - 1)).astype(int)
    drawn = np.where(known, np.array(list(levels))[index], " ")
    return "".join(drawn.tolist()).rjust(width)


def _picked(values: Floats, width: int) -> Floats:
    if values.size <= width:
        return values
    starts = np.arange(width) * values.size // width
    low, high = np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)
    known = values[np.isfinite(values)]
    mean = known.mean() if known.size else 0.0
    return np.where(high - mean >= mean - low, high, low)
