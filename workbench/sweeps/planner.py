"""Which point comes next: a pure function of the results so far, so that a sweep can go on later.

A grid visits its values. A search doubles from its lowest value until a point does not pass, then
halves the gap between the highest that passes and the lowest that does not, each time at their
geometric mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workbench.sweeps.figures import Figures
from workbench.sweeps.ranges import rounded
from workbench.sweeps.verdicts import SATURATED, UNDECIDED, Point, judge

AUTO_SHARE = 0.25
"""A calibrated search starts at this share of the measured capacity."""

_AUTO_DOUBLINGS = 12
_AUTO_HALVINGS = 4


@dataclass(frozen=True, slots=True)
class Ask:
    """A run to make next: at `value` (None: at `AUTO_SHARE` of the capacity, to be calibrated)."""

    value: float | None
    repeat: int
    why: str


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to run; `why` in a sentence."""

    why: str


@dataclass(frozen=True, slots=True)
class Bracket:
    """Where the limit lies: it passes at `passing` and not at `failing`; None where none was seen.

    `violations` are values that do not pass although a higher one does.
    """

    passing: Point | None
    failing: Point | None
    violations: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """Every value, ascending.

    Unless `whole`, two saturated values in a row are the last.
    """

    values: tuple[float, ...]
    whole: bool = True
    target: float | None = None
    repeats: int = 1

    def next(self, results: Sequence[Figures]) -> Ask | Done:
        """The run to make after `results`."""
        points = judge(results, self.target)
        if ask := _missing_repeat(points, self.repeats):
            return ask
        return _climb(self.values, points, lambda below: not self.whole and _saturated_twice(below))


@dataclass(frozen=True, slots=True)
class Search:
    """Doubling, then bisection between what passes and what does not.

    A point passes if it is not saturated, did not fail and, with a `target`, at least that share
    of its requests met every SLO.

    Attributes:
        low, high: ends of the range; `low` None is to be calibrated, and then the search may
            go up as far as the engine holds and down to a 64th of the capacity.
        tolerance: it is done when failing ÷ passing ≤ 1 + tolerance.
        find: max goodput: the first point that does not pass ends the doubling, and an undecided
            end of the bracket is run once more. Otherwise the doubling shows the curve until two
            points in a row are saturated.
    """

    axis: str
    low: float | None
    high: float | None
    tolerance: float
    target: float | None = None
    find: bool = False
    repeats: int = 1

    def calibrated(self, low: float) -> Search:
        """The same search with the lowest value that calibration gave."""
        return Search(
            self.axis, low, self.high, self.tolerance, self.target, self.find, self.repeats
        )

    def next(self, results: Sequence[Figures]) -> Ask | Done:
        """The run to make after `results`."""
        if self.low is None:
            return Ask(None, 0, "calibration")
        points = judge(results, self.target)
        if ask := _missing_repeat(points, self.repeats):
            return ask
        climb = _climb(self._ladder(self.low), points, self._seen_enough)
        if isinstance(climb, Ask):
            return climb
        bracket = bracket_of(points)
        if ask := self._second_look(bracket, points):
            return ask
        return self._narrow(bracket)

    def _ladder(self, low: float) -> list[float]:
        high = low * 2**_AUTO_DOUBLINGS if self.high is None else self.high
        rungs = [low]
        while (double := rounded(self.axis, rungs[-1] * 2)) < high:
            rungs.append(double)
        return [*rungs, high] if high > rungs[-1] else rungs

    def _seen_enough(self, below: Sequence[Point]) -> bool:
        if self.find:
            return not below[-1].passes
        return _saturated_twice(below)

    def _second_look(self, bracket: Bracket, points: Sequence[Point]) -> Ask | None:
        """One run more, with another seed, for a point that contradicts or doesn't decide."""
        doubtful = [
            (point, "a higher value passes")
            for point in points
            if point.value in bracket.violations
        ]
        if self.find:
            doubtful += [
                (point, "undecided")
                for point in (bracket.failing, bracket.passing)
                if point is not None and point.verdict == UNDECIDED
            ]
        for point, why in doubtful:
            if len(point.runs) <= self.repeats and point.good_runs:
                return Ask(point.value, len(point.runs), why)
        return None

    def _narrow(self, bracket: Bracket) -> Ask | Done:
        if bracket.failing is None:
            return Done("every value up to the range's end passes")
        high = bracket.failing.value
        if bracket.passing is None:
            assert self.low is not None
            if self.high is None and high / 2 > 0.99 * self.low / 2**_AUTO_HALVINGS:
                return Ask(rounded(self.axis, high / 2), 0, "halving")
            return Done("not even the lowest value passes")
        low = bracket.passing.value
        middle = rounded(self.axis, math.sqrt(low * high))
        if high / low <= 1 + self.tolerance or not low < middle < high:
            return Done("the limit is known within the tolerance")
        return Ask(middle, 0, "bisection")


Plan = Grid | Search


def bracket_of(points: Sequence[Point]) -> Bracket:
    """The bracket that judged points give: below the lowest that does not pass.

    Load only ever makes latency worse, so a point that does not pass under one that does is noise
    or a defect; the bracket stays on the safe side of it.
    """
    failing = next((point for point in points if not point.passes), None)
    passing = [point for point in points if point.passes]
    under = [point for point in passing if failing is None or point.value < failing.value]
    highest = passing[-1].value if passing else 0.0
    violations = tuple(p.value for p in points if not p.passes and p.value < highest)
    return Bracket(under[-1] if under else None, failing, violations)


def saturates_at(points: Sequence[Point]) -> Point | None:
    """The lowest saturated point above every one that is known not to be."""
    found = None
    for point in reversed(points):
        if point.verdict == SATURATED:
            found = point
        elif point.good_runs:
            break
    return found


def _climb(
    values: Sequence[float], points: Sequence[Point], enough: Callable[[Sequence[Point]], bool]
) -> Ask | Done:
    """The first value that was not run, unless what was run below it is enough."""
    known = {point.value: point for point in points}
    below: list[Point] = []
    for value in values:
        if below and enough(below):
            return Done("the engine is saturated")
        if value not in known:
            return Ask(value, 0, "next value")
        below.append(known[value])
    return Done("every value was run")


def _saturated_twice(below: Sequence[Point]) -> bool:
    return [point.verdict for point in below[-2:]] == [SATURATED, SATURATED]


def _missing_repeat(points: Sequence[Point], repeats: int) -> Ask | None:
    """A point that was begun is run as often as was asked; one that failed is not tried again."""
    for point in points:
        have = {run.repeat for run in point.runs}
        missing = [repeat for repeat in range(repeats) if repeat not in have]
        if missing and not any(run.failed for run in point.runs):
            return Ask(point.value, missing[0], "repeat")
    return None
