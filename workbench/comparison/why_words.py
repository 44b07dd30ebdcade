"""A difference and what it comes from, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.analysis.quantities import number
from workbench.comparison.comparison import Part

HARDLY_BELOW = 0.01
"""Figures closer than this share of the baseline's hardly differ."""

_CANCELS_FROM = 0.05
_OPPOSED_FROM = 0.05
_NAMED_FROM = 0.1
_ALL_FROM = 0.995
_MOST_NAMED = 3
_MOST_SHARE = 3.0
_IN_SECONDS_FROM = 10_000
_NOTHING_MS = 1e-9
_TIMES_FROM = 3


@dataclass(frozen=True, slots=True)
class Cause:
    """A part of a difference, ms, and how it is said.

    Attributes:
        of_it: follows "93 % of it": "is queue time".
        itself: a clause of its own: "queue time fell by 410 ms".
    """

    name: str
    difference_ms: float
    of_it: str
    itself: str


@dataclass(frozen=True, slots=True)
class Change:
    """A figure of two sides, ms, and their labels."""

    figure: str
    label: str
    base_label: str
    before_ms: float
    after_ms: float

    @property
    def difference_ms(self) -> float:
        return self.after_ms - self.before_ms

    @property
    def hardly(self) -> bool:
        """Whether the two are all but the same."""
        return abs(self.difference_ms) < HARDLY_BELOW * self.before_ms


def parts_of(causes: Sequence[Cause]) -> tuple[Part, ...]:
    """The causes as parts, the largest first; those of nothing at all are left out. Where parts
    nearly make up for each other, shares of what is left say nothing, and are None."""
    total = sum(cause.difference_ms for cause in causes)
    ordered = _largest_first(causes)
    shared = ordered and abs(ordered[0].difference_ms) <= _MOST_SHARE * abs(total)
    return tuple(
        Part(cause.name, cause.difference_ms, cause.difference_ms / total if shared else None)
        for cause in ordered
    )


def sentence(change: Change, causes: Sequence[Cause]) -> str:
    """ "B's TTFT p99 is 41 % lower than A's (1,240 → 730 ms); 93 % of it is queue time." """
    what, why = _what(change), _why(change, _largest_first(causes))
    return f"{what}{why}."


def from_to(before_ms: float, after_ms: float) -> str:
    """ "1,240 → 730 ms", in s from 10 s."""
    if max(before_ms, after_ms) >= _IN_SECONDS_FROM:
        return f"{number(before_ms / 1000)} → {number(after_ms / 1000)} s"
    return f"{number(before_ms)} → {number(after_ms)} ms"


def _what(change: Change) -> str:
    figures = f"({from_to(change.before_ms, change.after_ms)})"
    whose = f"{change.label}'s {change.figure}"
    if change.hardly:
        return f"{whose} hardly differs from {change.base_label}'s {figures}"
    times = change.after_ms / change.before_ms
    if times >= _TIMES_FROM:
        return f"{whose} is {number(times)} times {change.base_label}'s {figures}"
    percent = 100 * abs(times - 1)
    size = f"{percent:.1f}" if percent < 9.95 or 99.5 <= percent < 100 else f"{percent:,.0f}"
    size = "99.9" if size == "100.0" else size
    way = "higher" if change.difference_ms > 0 else "lower"
    return f"{whose} is {size} % {way} than {change.base_label}'s {figures}"


def _why(change: Change, causes: Sequence[Cause]) -> str:
    if not causes:
        return ""
    if change.hardly:
        cancel = abs(causes[0].difference_ms) >= _CANCELS_FROM * change.before_ms
        return _opposed(causes, causes[0].difference_ms) if cancel else ""
    total_ms = sum(cause.difference_ms for cause in causes)
    against_ms = sum(abs(cause.difference_ms) for cause in causes if not _same_way(cause, total_ms))
    if against_ms > _OPPOSED_FROM * abs(total_ms):
        return _opposed(causes, total_ms)
    shares = [
        (cause.difference_ms / total_ms, cause.of_it)
        for cause in causes
        if _same_way(cause, total_ms)
    ]
    first, *others = shares[:_MOST_NAMED]
    if first[0] >= _ALL_FROM:
        return f"; all of it {first[1]}"
    named = [f", {_percent(share)} {words}" for share, words in others if share >= _NAMED_FROM]
    return f"; {_percent(first[0])} of it {first[1]}{''.join(named)}"


def _opposed(causes: Sequence[Cause], total_ms: float) -> str:
    """Causes that go both ways, first those that go the way of the total."""
    least_ms = _OPPOSED_FROM * abs(causes[0].difference_ms)
    large = [cause for cause in causes if abs(cause.difference_ms) >= least_ms]
    along = [cause.itself for cause in large if _same_way(cause, total_ms)][:_MOST_NAMED]
    against = [cause.itself for cause in large if not _same_way(cause, total_ms)][:_MOST_NAMED]
    return ": " + ", but ".join(_listed(clauses) for clauses in (along, against) if clauses)


def _listed(clauses: Sequence[str]) -> str:
    *first, last = clauses
    return f"{', '.join(first)} and {last}" if first else last


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _same_way(cause: Cause, total_ms: float) -> bool:
    return (cause.difference_ms > 0) == (total_ms > 0)


def _largest_first(causes: Sequence[Cause]) -> list[Cause]:
    present = [cause for cause in causes if abs(cause.difference_ms) > _NOTHING_MS]
    return sorted(present, key=lambda cause: -abs(cause.difference_ms))
