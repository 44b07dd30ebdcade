"""From probabilities to words: what a comparison may say of each metric."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from workbench.comparison.compared_metrics import Metric
from workbench.comparison.comparison import (
    CONFIDENCE,
    TOO_NOISY_ABOVE,
    Cell,
    Change,
    Row,
    Verdict,
)
from workbench.comparison.intervals import detectable

ALPHA = 1 - CONFIDENCE
_BEYOND_WORDS = 3.0
"""The logarithm of some twenty."""


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted so that the chance of even one false finding among all is at most what is asked of
    each (Holm 1979), in the order of `ps`."""
    order = sorted(range(len(ps)), key=lambda place: ps[place])
    adjusted, highest = [1.0] * len(ps), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = highest
    return adjusted


def judged(rows: Sequence[Row], untold: frozenset[tuple[str, int]]) -> tuple[Row, ...]:
    """The rows with adjusted probabilities, minimum detectable differences and verdicts.

    Args:
        untold: metric and side where too few samples were there to test anything.
    """
    tests: dict[str, list[tuple[str, int, float]]] = {"outcome": [], "cause": []}
    for row in rows:
        for side, cell in enumerate(row.cells):
            if row.metric.better and cell.change is not None and cell.change.p is not None:
                tests[row.metric.family].append((row.metric.key, side, cell.change.p))
    adjusted = {
        (key, side): p
        for family in tests.values()
        for (key, side, _), p in zip(family, holm([p for *_, p in family]), strict=True)
    }

    def of(row: Row, side: int, cell: Cell) -> Cell:
        if cell.change is None or row.metric.better is None:
            return cell
        key = row.metric.key, side
        change = dataclasses.replace(
            cell.change,
            adjusted_p=adjusted.get(key),
            detectable=_detectable(row.cells[0], cell.change, len(tests[row.metric.family])),
        )
        verdict = _verdict(row.metric, change, key in untold)
        return dataclasses.replace(cell, change=dataclasses.replace(change, verdict=verdict))

    return tuple(
        dataclasses.replace(
            row, cells=tuple(of(row, side, cell) for side, cell in enumerate(row.cells))
        )
        for row in rows
    )


def _detectable(base: Cell, change: Change, tests: int) -> float | None:
    """As a share of the baseline's figure; None where even twenty times as much might be missed."""
    effect = change.effect
    if effect is None:
        return None
    found = detectable(effect.error, effect.degrees, tests / effect.weight)
    if effect.log:
        return math.expm1(found) if found < _BEYOND_WORDS else None
    return found / abs(base.value) if base.value else None


def _verdict(metric: Metric, change: Change, untold: bool) -> Verdict | None:
    if change.adjusted_p is None:
        if change.basis is not None:
            return "no evidence"
        return "too noisy" if untold else None
    if change.adjusted_p <= ALPHA and change.difference:
        return "better" if (change.difference > 0) == (metric.better == "higher") else "worse"
    if change.effect is not None and change.difference:
        least = change.detectable
        if least is None or least > TOO_NOISY_ABOVE:
            return "too noisy"
    return "no evidence"
