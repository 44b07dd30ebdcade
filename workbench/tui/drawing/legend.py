"""A chart's title line: its name, and each trace with its sign and value, as far as they fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.analysis.quantities import count, number
from workbench.tui.drawing.canvas import Canvas, Ink
from workbench.tui.drawing.chart_data import ChartData
from workbench.tui.drawing.glyphs import Glyphs, plain
from workbench.tui.drawing.trace import Trace, last_value, value_at

Words = list[tuple[str, Ink]]

_GAP = "  "
_LETTERS = (4, 3)
"""Of a name, where whole ones don't fit."""

_MUTED = Ink("$muted")


@dataclass(frozen=True, slots=True)
class _Entry:
    sign: str
    name: str
    value: str
    color: str

    def words(self, letters: int | None = None) -> Words:
        """Sign, name and value; of the name as many letters, or all."""
        name = f" {self.name[:letters]}".rstrip()
        return [(f"{self.sign}{name}", Ink(self.color)), (f" {self.value}", Ink(bold=True))]


def signs(traces: Sequence[Trace], glyphs: Glyphs) -> str:
    """The sign of each trace, as it is drawn: by its place among the joined ones, or a point."""
    joined = [trace.style != "points" for trace in traces]
    places = [sum(joined[:index]) for index in range(len(traces))]
    marks = glyphs.marks
    return "".join(
        marks[place % len(marks)] if is_joined else glyphs.point
        for place, is_joined in zip(places, joined, strict=True)
    )


def put_legend(canvas: Canvas, data: ChartData, title: str, glyphs: Glyphs) -> None:
    """Writes the title line into the canvas's first row, in the fullest form that has room."""
    for words in _forms(data, title, glyphs):
        if sum(len(text) for text, _ in words) <= canvas.width:
            break
    column = 0
    for text, ink in words:
        column = canvas.put(0, column, text, ink)
    if column > canvas.width:
        canvas.put(0, canvas.width - 1, glyphs.ellipsis, _MUTED)


def _forms(data: ChartData, title: str, glyphs: Glyphs) -> list[Words]:
    name: Words = [(plain(title, glyphs), Ink(bold=True))]
    unit: Words = [(f" {plain(data.unit, glyphs)}", _MUTED)] if data.unit else []
    entries = [
        _Entry(sign, plain(trace.name, glyphs), plain(_value(trace, data), glyphs), trace.color)
        for sign, trace in zip(signs(data.traces, glyphs), data.traces, strict=True)
        if trace.name
    ]
    full = _spaced([name + unit, *(entry.words() for entry in entries)])
    limits = [[(f"{glyphs.limit} {limit.label}", Ink(limit.color))] for limit in data.limits]
    short = [entry.words(0) for entry in entries]
    named = [name, *(entry.words() for entry in entries)]
    forms = [_spaced([full, *limits]), full, _spaced(named), _spaced(named, " ")]
    forms += [_spaced([name, *(entry.words(most) for entry in entries)], " ") for most in _LETTERS]
    forms.append(_spaced([name, *short]))
    forms.extend(_spaced([name, *short[:count]]) for count in range(len(short) - 1, 0, -1))
    return [*forms, name]


def _value(trace: Trace, data: ChartData) -> str:
    """The value at the playhead, or the last one; whole numbers without decimals."""
    if data.cursor_s is not None:
        value = value_at(trace, data.cursor_s)
    else:
        value = last_value(trace, data.x0_s, data.x1_s)
    whole = value is not None and value.is_integer()
    return count(value) if whole else number(value)


def _spaced(parts: Sequence[Words], gap: str = _GAP) -> Words:
    joined: Words = []
    for part in parts:
        joined += [(gap, Ink()), *part] if joined else part
    return joined
