"""Throughput against latency, a point for each load, as a rich renderable drawn by plotext."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import plotext

from workbench.analysis.picture import Picture, empty_figure
from workbench.analysis.rounding import round_up

_MAX_WIDTH = 100
_ROWS = 14
_LOG_FROM = 30


@dataclass(frozen=True, slots=True)
class Spot:
    """One point: output throughput in tok/s, a latency, and the load that labels it."""

    output_tokens_per_s: float
    latency: float
    label: str
    pareto: bool


@dataclass(frozen=True, slots=True)
class _Ruler:
    """The latency axis: heights from `low` to `high`, logarithmic where latencies differ widely."""

    logarithmic: bool
    low: float
    high: float
    ticks: tuple[float, ...]

    def height(self, latency: float) -> float:
        return math.log10(latency) if self.logarithmic else latency


@dataclass(frozen=True, slots=True)
class ParetoChart(Picture):
    """Spots, those on the Pareto front as ◆ joined by a line, the others as •.

    Up is slower, right is more: the best place is the lower right. Latencies that differ by a
    factor of 30 or more are drawn on a logarithmic axis.
    """

    title: str
    spots: Sequence[Spot]

    max_width: ClassVar[int | None] = _MAX_WIDTH

    def draw(self, width: int, colorless: bool = False) -> str:
        """The chart in `width` columns, with ANSI colours unless `colorless`."""
        ruler = _ruler([spot.latency for spot in self.spots])
        title = self.title + (" (log)" if ruler.logarithmic else "")
        figure = empty_figure(width, _ROWS, title)
        front = sorted((spot for spot in self.spots if spot.pareto), key=_output)
        _draw(front, ruler, plotext.marker("braille", pixel="cyan"), line=True)
        others = [spot for spot in self.spots if not spot.pareto]
        _draw(others, ruler, plotext.marker("•", pixel="yellow"))
        _draw(front, ruler, plotext.marker("◆", pixel="green"))
        right = round_up(1.1 * max(_output(spot) for spot in self.spots))
        for x, y, label in _labels(self.spots, ruler, right, width):
            figure.draw(figure.text(x, y, label))
        across, up = figure.ruler("x"), figure.ruler("y")
        across.lim(0, right)
        marks = [right * i / 4 for i in range(5)]
        across.ticks(marks, [_tick(mark) for mark in marks])
        up.lim(ruler.low, ruler.high)
        up.ticks([ruler.height(tick) for tick in ruler.ticks], [_tick(t) for t in ruler.ticks])
        return str(figure.build().string(colorless=colorless))


def _output(spot: Spot) -> float:
    return spot.output_tokens_per_s


def _draw(spots: Sequence[Spot], ruler: _Ruler, marker: object, line: bool = False) -> None:
    if spots:
        x, y = [_output(spot) for spot in spots], [ruler.height(spot.latency) for spot in spots]
        plotext.figure.draw(plotext.figure.signal(x, y, marker=marker).lines(line))


def _ruler(latencies: Sequence[float]) -> _Ruler:
    low, high = min(latencies), max(latencies)
    if low <= 0 or high / low < _LOG_FROM:
        top = round_up(1.1 * high)
        return _Ruler(False, 0.0, top, (0.0, top / 2, top))
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(1.2 * high))
    ticks = tuple(10.0**power for power in range(first, last + 1))
    return _Ruler(True, float(first), float(last), ticks)


def _tick(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _labels(
    spots: Sequence[Spot], ruler: _Ruler, right: float, width: int
) -> list[tuple[float, float, str]]:
    """Labels a row above their spots; one that would cover another is left out."""
    row, column = (ruler.high - ruler.low) / _ROWS, right / width
    taken: list[tuple[float, float, float]] = []
    placed = []
    # From the highest load down: what lies above the knee is told apart first.
    for spot in reversed(spots):
        x, y = _output(spot), min(ruler.height(spot.latency) + 1.5 * row, ruler.high - row)
        reach = (len(spot.label) + 1) * column
        if all(abs(x - a) >= max(reach, b) or abs(y - c) >= 1.2 * row for a, c, b in taken):
            taken.append((x, y, reach))
            placed.append((x, y, spot.label))
    return placed
