"""What a line chart shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.tui.drawing.trace import Trace


@dataclass(frozen=True, slots=True)
class Limit:
    """A level to stay under, drawn as a dashed line: an SLO, a budget."""

    value: float
    label: str
    color: str = "$warn"


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment that somebody did something, with the letter that stands for it."""

    time_s: float
    letter: str
    color: str = "$muted"


@dataclass(frozen=True, slots=True)
class ChartData:
    """Traces over the seconds from `x0_s` to `x1_s`, and what is drawn around them.

    Attributes:
        y_top: a fixed top of the value axis; None: a round one above the values.
        cursor_s: the playhead; the legend then has the values there, else the last ones.
        unit: of the values, shown after the title.
        shaded_until_s: the end of the warm-up, shaded from the left; None: no shade.
        log: whether the value axis is logarithmic; values of 0 and less are then left out.
        empty: what is said where there is nothing to draw.
    """

    traces: Sequence[Trace]
    x0_s: float
    x1_s: float
    y_top: float | None = None
    limits: Sequence[Limit] = ()
    marks: Sequence[Mark] = ()
    cursor_s: float | None = None
    unit: str = ""
    shaded_until_s: float | None = None
    log: bool = False
    empty: str = "no data yet"

    def column(self, time_s: float, columns: int) -> int | None:
        """The column of a time, of `columns`; None where it is outside the window."""
        if not self.x0_s <= time_s <= self.x1_s or self.x1_s <= self.x0_s:
            return None
        share = (time_s - self.x0_s) / (self.x1_s - self.x0_s)
        return min(int(share * columns), columns - 1)

    def time_s(self, column: int, columns: int) -> float:
        """The time at the middle of a column."""
        return self.x0_s + (column + 0.5) / columns * (self.x1_s - self.x0_s)


EMPTY_CHART = ChartData(traces=(), x0_s=0.0, x1_s=1.0)
