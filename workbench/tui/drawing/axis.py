"""Ticks at round places with labels that never overlap: time in seconds, values in short form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from workbench.tui.drawing.scale import Scale

LABEL_WIDTH = 6
"""Columns that a value's label may take."""

_MIN_GAP = 2
_MIN_SPACING = 9
_MIN_ROWS_APART = 3
_DIVISIONS = (5, 4, 3, 2, 1)
_CLOCK_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600)
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class TimeTick:
    """A round time: its column, and the label that begins in the next one ("": no room)."""

    column: int
    label: str


@dataclass(frozen=True, slots=True)
class ValueTick:
    """A round value: its text row from the top, and its label."""

    row: int
    label: str


def time_ticks(x0_s: float, x1_s: float, width: int) -> list[TimeTick]:
    """As many round times as have room in `width` columns over [x0_s, x1_s]."""
    span_s = x1_s - x0_s
    if not (span_s > 0 and math.isfinite(span_s)) or width < 1:
        return []
    for step_s in _steps(span_s / width * _MIN_SPACING):
        times = _multiples(step_s, x0_s, x1_s)
        columns = [min(int((time - x0_s) / span_s * width), width - 1) for time in times]
        labels = [clock(time, step_s) for time in times]
        if _apart(columns, labels):
            return _fitted(columns, labels, width)
    return []


def clock(time_s: float, step_s: float = 1.0) -> str:
    """A time of a run: "30 s", "1m30", "2h05"; with the decimals that `step_s` needs."""
    decimals = max(0, -math.floor(math.log10(step_s) + 1e-9)) if step_s > 0 else 0
    total = round(abs(time_s), decimals)
    sign = "-" if time_s < 0 and total > 0 else ""
    minutes, second = divmod(total, 60)
    hours, minute = divmod(int(minutes), 60)
    width = decimals + 3 if decimals else 2
    seconds = f"{second:0{width}.{decimals}f}"
    if hours:
        tail = "" if second == 0 else f"m{seconds}"
        return f"{sign}{hours}h" if not minute and not tail else f"{sign}{hours}h{minute:02}{tail}"
    if minute:
        return f"{sign}{minute}m" if second == 0 else f"{sign}{minute}m{seconds}"
    return f"{sign}{second:.{decimals}f} s"


def value_ticks(scale: Scale, rows: int, dots_per_row: int = 1) -> list[ValueTick]:
    """Round values of a scale with room between them in `rows` text rows; highest first."""
    if rows <= 1:
        return [ValueTick(0, value_label(scale.top))]
    values = _decades(scale, rows) if scale.log else _divided(scale, rows)
    height = rows * dots_per_row
    return [
        ValueTick(scale.row(value, height) // dots_per_row, value_label(value, scale.top))
        for value in reversed(values)
    ]


def value_label(value: float, top: float = 0.0) -> str:
    """A value in at most `LABEL_WIDTH` signs: "2,500", "15k", "1.5M", "0.25"; thousands are in k
    from 10,000 on, and all of them beside a `top` that is."""
    size = abs(value)
    for power, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= power and (suffix != "k" or max(size, top) >= 10_000):
            return f"{value / power:.4g}{suffix}"
    label = f"{value:,.4g}" if size < 1000 else f"{value:,.0f}"
    return label if len(label) <= LABEL_WIDTH else f"{value:.0e}"


def _steps(least_s: float) -> Iterator[float]:
    """Round steps of time that are not below `least_s`, ascending, without end."""
    if least_s < 1:
        power = math.floor(math.log10(least_s))
        for exponent in range(power, 0):
            for head in (1, 2, 5):
                if head * 10.0**exponent >= least_s:
                    yield head * 10.0**exponent
    yield from (float(step) for step in (*_CLOCK_STEPS_S, _DAY_S / 2) if step >= least_s)
    days = 1
    while True:
        if days * _DAY_S >= least_s:
            yield float(days * _DAY_S)
        days *= 2


def _multiples(step_s: float, x0_s: float, x1_s: float) -> list[float]:
    first, last = math.ceil(x0_s / step_s - 1e-9), math.floor(x1_s / step_s + 1e-9)
    return [step_s * index for index in range(first, last + 1)]


def _apart(columns: list[int], labels: list[str]) -> bool:
    ends = (column + len(label) + _MIN_GAP for column, label in zip(columns, labels, strict=True))
    return all(end <= after for end, after in zip(ends, columns[1:], strict=False))


def _fitted(columns: list[int], labels: list[str], width: int) -> list[TimeTick]:
    places = zip(columns, labels, strict=True)
    return [TimeTick(at, label if at + len(label) < width else "") for at, label in places]


def _divided(scale: Scale, rows: int) -> list[float]:
    """0 to the top in as many equal parts as have room, each a number of two digits."""
    for parts in _DIVISIONS:
        step = scale.top / parts
        digits = f"{step:.6e}".split("e")[0].rstrip("0").replace(".", "")
        if parts == 1 or (len(digits) <= 2 and (rows - 1) / parts >= _MIN_ROWS_APART):
            break
    return [step * part for part in range(parts + 1)]


def _decades(scale: Scale, rows: int) -> list[float]:
    first, last = round(math.log10(scale.bottom)), round(math.log10(scale.top))
    apart = 2
    stride = max(1, math.ceil((last - first) * apart / max(rows - 1, 1)))
    return [10.0**exponent for exponent in range(first, last + 1, stride)]
