"""Token counts as a filled histogram: lengths spread over decades, so their axis is logarithmic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import plotext

from workbench.analysis.picture import Picture, empty_figure
from workbench.analysis.rounding import round_up

BINS_PER_DOUBLING = 4
"""Fewer where lengths are so short that whole tokens lie further apart."""

_LABELS = 9


@dataclass(frozen=True, slots=True)
class Histogram(Picture):
    """How many percent of the lengths are in each bin, at `BINS_PER_DOUBLING`."""

    title: str
    tokens: npt.NDArray[np.int64]
    color: str
    rows: int = 8

    def draw(self, width: int, colorless: bool = False) -> str:
        """The picture in `width` columns and `rows` rows, with ANSI colours unless `colorless`."""
        lengths = np.maximum(self.tokens, 1)
        low = math.floor(math.log2(lengths.min()))
        high = math.floor(math.log2(lengths.max())) + 1
        edges, percent = _binned(lengths, low, high)
        # A value for each of some fine steps along the axis makes bins look like bins.
        x = np.linspace(low, high, 4 * width, endpoint=False)
        y = percent[np.searchsorted(edges, x, side="right") - 1]
        figure = empty_figure(width, self.rows, self.title)
        signal = figure.signal(
            x.tolist(), y.tolist(), marker=plotext.marker("hd", pixel=self.color)
        )
        signal.fillx()
        figure.draw(signal)
        top = round_up(float(percent.max()))
        _rule("y", 0, top, [0, top], [f"{value:g} %" for value in (0, top)])
        step = -(-(high - low + 1) // _LABELS)
        powers = list(range(low, high + 1, step))
        _rule("x", low, high, powers, [_binary(1 << power) for power in powers])
        return str(figure.build().string(colorless=colorless))


def _binned(
    lengths: npt.NDArray[np.int64], low: int, high: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Bin edges as powers of 2, and percent of the lengths in each bin."""
    powers = np.arange((high - low) * BINS_PER_DOUBLING + 1) / BINS_PER_DOUBLING + low
    # Bins narrower than a token would be empty or not by chance: their edges are whole tokens.
    tokens = np.unique(np.rint(np.exp2(powers)))
    return np.log2(tokens), 100 * np.histogram(lengths, tokens)[0] / len(lengths)


def _rule(axis: str, low: float, high: float, ticks: Sequence[float], labels: list[str]) -> None:
    ruler = plotext.figure.ruler(axis)
    ruler.lim(low, high)
    ruler.ticks(list(ticks), labels)


def _binary(tokens: int) -> str:
    """512, 16k, 1M: powers of 2 as people say them."""
    if tokens >= 1 << 20:
        return f"{tokens >> 20}M"
    return f"{tokens >> 10}k" if tokens >= 1 << 10 else str(tokens)
