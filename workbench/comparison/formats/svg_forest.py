"""The headline metrics' changes in %, with their 95 % intervals, around the baseline's zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.comparison.comparison import Change, Comparison, Row, Verdict
from workbench.comparison.formats.headlines import headline_rows
from workbench.comparison.formats.svg import (
    SERIES,
    Scale,
    chart,
    legend,
    legend_height,
    line,
    mark,
    round_ticks,
    text,
)
from workbench.comparison.wording import change_interval_text, change_text, verdict_text

_WIDTH, _LEFT, _RIGHT = 820.0, 270.0, 600.0
_ROW, _BETWEEN = 22.0, 8.0
_FARTHEST = 300.0
_MARGIN = 0.04
_FOUND: tuple[Verdict, ...] = ("better", "worse")


@dataclass(frozen=True, slots=True)
class _Line:
    """A side's change of a metric, in %; its interval where it has one."""

    row: Row
    side: int
    change: Change
    percent: float
    low: float | None
    high: float | None


def forest(comparison: Comparison) -> str | None:
    """The drawing; None where no headline metric has a ratio. Metrics in % are left out: they
    change by percentage points."""
    lines = _lines(comparison)
    if not lines:
        return None
    sides = [(number, side.label) for number, side in enumerate(comparison.sides)][1:]
    top = legend_height([label for _, label in sides]) + 16
    ends = [end for each in lines for end in (each.percent, each.low, each.high) if end is not None]
    low, high = min(*ends, -10.0), min(max(*ends, 10.0), _FARTHEST)
    margin = _MARGIN * (high - low)
    scale = Scale(low - margin, high + margin, _LEFT, _RIGHT)
    drawn, y = [legend(sides, _LEFT, 0, lines=False)], top
    for place, each in enumerate(lines):
        opens = place == 0 or each.row is not lines[place - 1].row
        y += _ROW + (_BETWEEN if opens else 0)
        drawn.append(_drawn(each, scale, y - _ROW / 2, opens))
    drawn.insert(0, _axis(scale, top, y))
    title = f"Change against {comparison.sides[0].label}, in %, with 95 % intervals"
    return chart("forest", title, _told(comparison, lines), (_WIDTH, y + 48), "".join(drawn))


def _lines(comparison: Comparison) -> list[_Line]:
    lines = []
    for row in headline_rows(comparison):
        for side, cell in enumerate(row.cells):
            change = cell.change
            if row.metric.unit == "%" or change is None or change.ratio is None:
                continue
            ends = change.ratio_interval
            low, high = (None, None) if ends is None else (_percent(ends.low), _percent(ends.high))
            lines.append(_Line(row, side, change, _percent(change.ratio), low, high))
    return lines


def _percent(ratio: float) -> float:
    return 100 * (ratio - 1)


def _axis(scale: Scale, top: float, bottom: float) -> str:
    drawn = []
    for tick in round_ticks(scale.low, scale.high, 7):
        x = scale(tick)
        drawn.append(line(x, top, x, bottom, "axis" if tick == 0 else "grid"))
        drawn.append(text(x, bottom + 18, f"{tick:+g} %" if tick else "0", "muted", "middle"))
    drawn.append(
        text((_LEFT + _RIGHT) / 2, bottom + 40, "change, with its 95 % interval", "muted", "middle")
    )
    return "".join(drawn)


def _drawn(each: _Line, scale: Scale, y: float, opens: bool) -> str:
    metric, change = each.row.metric, each.change
    drawn = []
    if opens:
        better = f"{metric.better} is better" if metric.better else ""
        drawn.append(text(0, y + 4, metric.label))
        drawn.append(text(_LEFT - 16, y + 4, better, "muted", "end"))
    if each.low is not None and each.high is not None:
        drawn.append(
            line(scale(each.low), y, scale(each.high), y, f"reach side-{each.side % SERIES}")
        )
        if each.high > scale.high:
            drawn.append(text(_RIGHT + 2, y + 4, "›"))
    hollow = change.verdict not in _FOUND
    drawn.append(mark(each.side, scale(each.percent), y, hollow=hollow))
    drawn.append(text(_RIGHT + 20, y + 4, change_text(metric, change)))
    drawn.append(text(_RIGHT + 100, y + 4, verdict_text(change.verdict), _verdict_class(change)))
    return "".join(drawn)


def _verdict_class(change: Change) -> str:
    return change.verdict if change.verdict in _FOUND and change.verdict else "ink"


def _told(comparison: Comparison, lines: Sequence[_Line]) -> str:
    return "; ".join(
        f"{each.row.metric.label} of {comparison.sides[each.side].label}: "
        f"{change_text(each.row.metric, each.change)}, "
        f"interval {change_interval_text(each.row.metric, each.change)}, "
        f"verdict {each.change.verdict or 'none'}"
        for each in lines
    )
