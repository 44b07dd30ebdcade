"""Conditions on a comparison, such as `ttft_p99 > +5%`, and whether the evidence holds for them."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from workbench.analysis.quantities import quantity
from workbench.comparison.changes import tail
from workbench.comparison.compared_metrics import Metric
from workbench.comparison.comparison import Cell, Comparison, Effect, Row
from workbench.comparison.intervals import t_reach
from workbench.comparison.verdicts import ALPHA, holm
from workbench.comparison.wording import change_interval_text, interval_text, percent_text
from workbench.errors import SpecError, did_you_mean
from workbench.units import seconds

Holds = Literal["yes", "no", "undecided"]
Kind = Literal["relative", "difference", "value"]

GRAMMAR = "METRIC > +5%, METRIC < -20ms or METRIC > 500ms"
_CONDITION = re.compile(
    r"\s*(?P<metric>[A-Za-z][\w.]*)\s*(?P<operator>>=|<=|>|<)\s*"
    r"(?P<sign>[+-]?)\s*(?P<size>\d+\.?\d*|\.\d+)\s*(?P<unit>%|[A-Za-zµ°][\w/°]*)?\s*"
)
_POINTS = ("pp", "points")


@dataclass(frozen=True, slots=True)
class Condition:
    """What must not be, or what is claimed.

    Attributes:
        text: as it was written; metric: a metric's short name or its key.
        above: it asks for more than the threshold; otherwise for less.
        kind: "relative": of a change as a share of the baseline's figure (0.05 for +5 %);
            "difference": of a change in `unit`; "value": of the figure itself, in `unit`.
    """

    text: str
    metric: str
    above: bool
    kind: Kind
    threshold: float
    unit: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the evidence says of a condition for one side.

    Attributes:
        side: which, from 1.
        holds: "yes" where the evidence lies wholly beyond the threshold, "no" where it lies wholly
            on the other side of it, "undecided" where neither can be said.
        p: of such evidence where the condition doesn't hold, after Holm over all conditions and
            sides; None where nothing was tested.
    """

    condition: Condition
    side: int
    holds: Holds
    p: float | None
    sentence: str


def parse_condition(text: str) -> Condition:
    """A condition from its text.

    With a sign it is of the change against the baseline: `ttft_p99 > +5%` (also `-5%`, `+20ms`);
    without one, of the figure itself: `ttft_p99 > 500ms`, `attainment < 90%`, `failed > 0`.

    Raises:
        SpecError: it is neither.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise SpecError(f"condition {text!r}: write {GRAMMAR}")
    sign, unit = match["sign"], match["unit"] or ""
    size = float(f"{sign}{match['size']}")
    kind: Kind = "value" if not sign else "relative" if unit == "%" else "difference"
    return Condition(
        text.strip(),
        match["metric"],
        match["operator"].startswith(">"),
        kind,
        size / 100 if kind == "relative" else size,
        unit,
    )


def judge(conditions: Sequence[Condition], comparison: Comparison) -> tuple[Judgement, ...]:
    """Each condition for each side but the baseline, in this order.

    Raises:
        SpecError: a condition names a metric that no side has, or a unit that isn't its own.
    """
    tests = [
        _Test(condition, side, _row_of(condition, comparison))
        for condition in conditions
        for side in range(1, len(comparison.sides))
    ]
    for_it = holm([1.0 if test.p_holds is None else test.p_holds for test in tests])
    against = holm([1.0 if test.p_fails is None else test.p_fails for test in tests])
    return tuple(
        test.judgement(comparison, *ps) for test, *ps in zip(tests, for_it, against, strict=True)
    )


def _row_of(condition: Condition, comparison: Comparison) -> Row:
    row = comparison.row(condition.metric)
    if row is None:
        known = [each.metric.name for each in comparison.rows]
        hint = did_you_mean(condition.metric, known, cutoff=0.5)
        raise SpecError(
            f"condition {condition.text!r}: no side has the metric {condition.metric!r}; {hint}"
            f"there are {', '.join(known)}"
        )
    return row


class _Test:
    """One condition on one side: how likely such evidence is if it doesn't hold, and if it does."""

    def __init__(self, condition: Condition, side: int, row: Row) -> None:
        self.condition, self.side, self.row = condition, side, row
        self.threshold = condition.threshold
        if condition.kind != "relative":
            self.threshold = _in_unit(condition, row.metric)
        self.p_holds: float | None = None
        self.p_fails: float | None = None
        self.fact: bool | None = None
        test = self._of_value if condition.kind == "value" else self._of_change
        found = test(row.cells[side])
        if found is not None:
            above, below = found
            self.p_holds, self.p_fails = (above, below) if condition.above else (below, above)

    def _of_change(self, cell: Cell) -> tuple[float, float] | None:
        """The probabilities of so high and of so low a change where the true one is the
        threshold."""
        change, base = cell.change, self.row.cells[0].value
        if change is None or base is None:
            return None
        if change.effect is None:
            if self.threshold == 0 and change.p is not None:
                half = change.p / 2
                return (half, 1 - half) if change.difference > 0 else (1 - half, half)
            return None
        relative = self.condition.kind == "relative"
        return _tails(change.effect, base, self.threshold * base if relative else self.threshold)

    def _of_value(self, cell: Cell) -> tuple[float, float] | None:
        """The same of the figure itself; without an interval it is what was measured."""
        if cell.value is None:
            return None
        interval = cell.interval
        if interval is None or interval.low == interval.high:
            self.fact = _beyond(self.condition, cell.value, self.threshold)
            return None
        log = interval.low > 0 and self.threshold > 0
        scale: Callable[[float], float] = math.log if log else float
        error = (scale(interval.high) - scale(interval.low)) / (2 * t_reach(math.inf))
        effect = Effect(log, scale(cell.value), error, math.inf)
        above = tail(effect, scale(self.threshold))
        return above, 1 - above

    def judgement(self, comparison: Comparison, p_holds: float, p_fails: float) -> Judgement:
        if self.fact is not None:
            holds: Holds = "yes" if self.fact else "no"
        elif self.p_holds is None:
            holds = "undecided"
        else:
            holds = "yes" if p_holds <= ALPHA else "no" if p_fails <= ALPHA else "undecided"
        p = None if self.p_holds is None else p_holds
        sentence = self._sentence(comparison, holds)
        return Judgement(self.condition, self.side, holds, p, sentence)

    def _sentence(self, comparison: Comparison, holds: Holds) -> str:
        metric, cell = self.row.metric, self.row.cells[self.side]
        label = comparison.sides[self.side].label
        base = comparison.sides[0].label
        said = {"yes": "holds", "no": "does not hold", "undecided": "can't be told"}[holds]
        before = f"{self.condition.text}: {said} for {label}"
        if cell.value is None:
            return f"{before}: it has no such figure."
        if self.condition.kind == "value":
            shown = quantity(cell.value, metric.unit).rstrip()
            within = "" if cell.interval is None else f" (95 %: {interval_text(cell.interval)})"
            return f"{before}: it is {shown}{within}."
        if cell.change is None:
            return f"{before}: {base} has no such figure."
        change = cell.change
        if self.condition.kind == "relative" and change.ratio is not None:
            shown = f"{percent_text(change.ratio)} against {base}"
        else:
            shown = f"{change.difference:+.4g} {metric.unit}".rstrip() + f" against {base}"
        if change.effect is None:
            return f"{before}: it is {shown}; one run each can't tell, repeated runs can."
        return f"{before}: it is {shown} (95 %: {change_interval_text(metric, change)})."


def _tails(effect: Effect, base: float, difference: float) -> tuple[float, float]:
    """Of an effect so high, and so low, where the true difference is `difference`."""
    if effect.log and base > 0 and base + difference > 0:
        threshold = math.log1p(difference / base)
    elif effect.log:
        # No ratio above 0 comes to this: the true change is above it for certain.
        return 0.0, 1.0
    else:
        threshold = difference
    mirrored = dataclasses.replace(effect, estimate=-effect.estimate)
    return tail(effect, threshold), tail(mirrored, -threshold)


def _beyond(condition: Condition, value: float, threshold: float) -> bool:
    return value > threshold if condition.above else value < threshold


def _in_unit(condition: Condition, metric: Metric) -> float:
    """The threshold in the metric's unit.

    Raises:
        SpecError: the condition's unit can't be turned into it.
    """
    unit, size = condition.unit, condition.threshold
    if unit in ("", metric.unit) or (metric.unit == "%" and unit in _POINTS):
        return size
    if metric.unit in ("ms", "s"):
        try:
            return seconds(f"{size:g}{unit}") * (1e3 if metric.unit == "ms" else 1.0)
        except SpecError:
            pass
    if unit == "%":
        raise SpecError(
            f"condition {condition.text!r}: {metric.name} is in {metric.unit or 'plain numbers'}; "
            "for a change against the baseline write a sign, such as +5%"
        )
    raise SpecError(
        f"condition {condition.text!r}: {metric.name} is in {metric.unit or 'plain numbers'}, "
        f"not in {unit}"
    )
