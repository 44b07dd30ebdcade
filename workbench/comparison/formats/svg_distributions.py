"""How many requests took at most so long: a curve for each side, over a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench.analysis.quantities import number
from workbench.analysis.statistics import Samples
from workbench.comparison.formats.svg import (
    Scale,
    chart,
    legend,
    legend_height,
    line,
    log_ticks,
    path,
    text,
)

_WIDTH, _LEFT, _RIGHT = 400.0, 46.0, 384.0
_PLOT = 210.0
_POINTS = 250
_SHARES = (0, 25, 50, 75, 100)


@dataclass(frozen=True, slots=True)
class Curve:
    """The samples of one side, sorted, in the metric's unit; at least one of them above 0."""

    side: int
    label: str
    samples: Samples


def distributions(name: str, label: str, unit: str, curves: Sequence[Curve]) -> str:
    """The drawing of one metric; `name` is its id in the page. At least one curve."""
    low = min(float(curve.samples[curve.samples > 0][0]) for curve in curves)
    high = max(float(curve.samples[-1]) for curve in curves)
    if high <= low:
        low, high = low / 2, high * 2
    labels = [(curve.side, curve.label) for curve in curves]
    top = legend_height([each for _, each in labels]) + 12
    bottom = top + _PLOT
    across = Scale(low, high, _LEFT, _RIGHT, log=True)
    up = Scale(0, 100, bottom, top)
    drawn = [legend(labels, _LEFT, 0, lines=True), _axes(across, up, f"{label}, {unit}")]
    drawn += [path(_points(curve, across, up), curve.side) for curve in curves]
    told = "; ".join(
        f"{curve.label}: half within {number(_percentile(curve, 50))} {unit}, "
        f"99 % within {number(_percentile(curve, 99))} {unit}"
        for curve in curves
    )
    title = f"Distribution of {label}: share of requests that took at most so long"
    return chart(name, title, told, (_WIDTH, bottom + 48), "".join(drawn))


def _axes(across: Scale, up: Scale, label: str) -> str:
    top, bottom = up.end, up.start
    drawn = []
    for share in _SHARES:
        drawn.append(line(_LEFT, up(share), _RIGHT, up(share), "axis" if share == 0 else "grid"))
        drawn.append(text(_LEFT - 6, up(share) + 4, f"{share} %", "muted", "end"))
    for tick in log_ticks(across.low, across.high):
        drawn.append(line(across(tick), top, across(tick), bottom, "grid"))
        drawn.append(text(across(tick), bottom + 18, f"{tick:,g}", "muted", "middle"))
    drawn.append(text((_LEFT + _RIGHT) / 2, bottom + 40, label, "muted", "middle"))
    return "".join(drawn)


def _points(curve: Curve, across: Scale, up: Scale) -> list[tuple[float, float]]:
    shares = np.linspace(0, 100, min(_POINTS, max(2, curve.samples.size)))
    return [(across(_percentile(curve, share)), up(share)) for share in shares.tolist()]


def _percentile(curve: Curve, q: float) -> float:
    """As `statistics.percentiles`, but of what is sorted already."""
    position = q / 100 * (curve.samples.size - 1)
    below = int(position)
    low, high = curve.samples[below], curve.samples[min(below + 1, curve.samples.size - 1)]
    return float(low + (position - below) * (high - low))
