"""One small chart as a rich renderable: drawn by plotext, as wide as it is allowed to be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotext

from workbench.analysis.picture import Picture, empty_figure
from workbench.analysis.rounding import round_up
from workbench.analysis.series import Grid, Series

_MAX_ROWS = 12


@dataclass(frozen=True, slots=True)
class Line:
    """A series as a line of braille dots, or as single `points`, which tell it apart unpainted."""

    series: Series
    color: str
    points: bool = False


@dataclass(frozen=True, slots=True)
class Chart(Picture):
    """Lines over the seconds of a run, from zero up; colours as the console has them (NO_COLOR)."""

    title: str
    grid: Grid
    lines: Sequence[Line]
    rows: int = 10

    def draw(self, width: int, colorless: bool = False) -> str:
        """The chart in `width` columns and `rows` rows, with ANSI colours unless `colorless`."""
        figure = empty_figure(width, min(self.rows, _MAX_ROWS), self.title)
        for line in self.lines:
            marker = plotext.marker("dot" if line.points else "braille", pixel=line.color)
            x, y = line.series.middle_s.tolist(), line.series.values.tolist()
            figure.draw(figure.signal(x, y, marker=marker).lines(not line.points))
        top = round_up(max(float(line.series.values.max()) for line in self.lines))
        self._rule("y", top, [0, top / 2, top])
        end_s = max(self.grid.end_s, 1e-3)
        self._rule("x", end_s, _ticks(end_s), " s")
        return str(figure.build().string(colorless=colorless))

    def _rule(self, axis: str, high: float, ticks: Sequence[float], unit: str = "") -> None:
        ruler = plotext.figure.ruler(axis)
        ruler.lim(0, high)
        ruler.ticks(list(ticks), [f"{tick:,g}{unit}" for tick in ticks])


def _ticks(end_s: float) -> list[float]:
    """Round times from 0 to the end, at most eight."""
    power = 10.0 ** math.floor(math.log10(end_s / 7))
    step_s = next(step * power for step in (1, 2, 5, 10) if step * power >= end_s / 7)
    return [step_s * index for index in range(math.floor(end_s / step_s) + 1)]
