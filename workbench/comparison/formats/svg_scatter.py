"""Throughput against latency: which sides no other beats in both."""

from __future__ import annotations

from itertools import pairwise

from workbench.analysis.quantities import quantity
from workbench.comparison.compared_metrics import Metric
from workbench.comparison.formats.svg import Scale, chart, line, mark, round_ticks, shortened, text
from workbench.comparison.pareto import Pareto, ParetoPoint
from workbench.comparison.wording import metric_text

_WIDTH, _LEFT, _RIGHT = 780.0, 70.0, 740.0
_TOP, _BOTTOM = 36.0, 330.0
_MARGIN = 0.12
_LABEL_ON_THE_LEFT_FROM = 0.6


def scatter(found: Pareto) -> str:
    """The drawing of at least one point; those on the front are filled and joined."""
    across = _scale([point.x for point in found.points], _LEFT, _RIGHT)
    up = _scale([point.y for point in found.points], _BOTTOM, _TOP)
    front = sorted((point for point in found.points if point.on_front), key=lambda point: point.x)
    drawn = [_axes(across, up, found.x, found.y)]
    for one, other in pairwise(front):
        drawn.append(line(across(one.x), up(one.y), across(other.x), up(other.y), "front"))
    drawn += [_point(point, across, up) for point in found.points]
    told = "; ".join(
        f"{point.label}: {quantity(point.x, found.x.unit)}, {quantity(point.y, found.y.unit)}, "
        f"{'on the front' if point.on_front else 'beaten by another'}"
        for point in found.points
    )
    title = f"{found.y.label} against {found.x.label.lower()} throughput"
    return chart("scatter", title, told, (_WIDTH, _BOTTOM + 48), "".join(drawn))


def _scale(values: list[float], start: float, end: float) -> Scale:
    low, high = min(values), max(values)
    margin = _MARGIN * (high - low) or abs(high) * _MARGIN or 1.0
    return Scale(max(0.0, low - margin), high + margin, start, end)


def _axes(across: Scale, up: Scale, x: Metric, y: Metric) -> str:
    drawn = []
    for tick in round_ticks(across.low, across.high, 8):
        drawn.append(line(across(tick), _TOP, across(tick), _BOTTOM, "grid"))
        drawn.append(text(across(tick), _BOTTOM + 18, f"{tick:,g}", "muted", "middle"))
    for tick in round_ticks(up.low, up.high, 6):
        drawn.append(line(_LEFT, up(tick), _RIGHT, up(tick), "grid"))
        drawn.append(text(_LEFT - 8, up(tick) + 4, f"{tick:,g}", "muted", "end"))
    middle = (_LEFT + _RIGHT) / 2
    drawn.append(text(middle, _BOTTOM + 40, f"{metric_text(x)}{_better(x)}", "muted", "middle"))
    drawn.append(text(0, 18, f"{metric_text(y)}{_better(y)}", "muted"))
    return "".join(drawn)


def _better(metric: Metric) -> str:
    return f" ({metric.better} is better)" if metric.better else ""


def _point(point: ParetoPoint, across: Scale, up: Scale) -> str:
    x, y = across(point.x), up(point.y)
    left = x > _LEFT + _LABEL_ON_THE_LEFT_FROM * (_RIGHT - _LEFT)
    place, anchor = (x - 12, "end") if left else (x + 12, "start")
    label = shortened(point.label)
    return mark(point.run, x, y, hollow=not point.on_front, radius=7) + text(
        place, y + 4, label, "ink", anchor
    )
