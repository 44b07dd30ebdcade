"""The lines of a table of metrics, as texts: the same for terminals, Markdown, LaTeX and HTML.

Two sides stand beside each other, a line for each metric. Three and more would not fit a page, so
that each has a line of its own under the metric, where they are still compared at a glance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from workbench.comparison.compared_metrics import Metric
from workbench.comparison.comparison import Change, Comparison, Row, Verdict
from workbench.comparison.wording import (
    change_interval_text,
    change_text,
    detectable_text,
    side_headings,
    signed_text,
    value_text,
    verdict_text,
)

_BESIDE = (
    "metric", "unit", "baseline", "value", "difference", "change", "interval", "verdict",
    "detectable",
)  # fmt: skip
_BELOW = (
    "metric", "unit", "side", "value", "difference", "change", "interval", "verdict", "detectable",
)  # fmt: skip
FIGURES = frozenset({"baseline", "value", "difference", "change", "interval", "detectable"})
"""Columns that stand to the right."""
_OF_THE_BASELINE = {
    "difference": "", "change": "baseline", "interval": "", "verdict": "", "detectable": "",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MetricLine:
    """A line of the table.

    Attributes:
        row: its metric; opens: it is the first line of the metric; lines: how many that has.
        texts: of each column.
    """

    row: Row
    opens: bool
    lines: int
    verdict: Verdict | None
    texts: Mapping[str, str]


def columns_of(comparison: Comparison) -> tuple[str, ...]:
    """The columns of its table, in order."""
    return _BESIDE if len(comparison.sides) == 2 else _BELOW


def headings_of(comparison: Comparison) -> dict[str, str]:
    """What stands above each column."""
    headings = side_headings(comparison)
    return {
        "metric": "Metric",
        "unit": "Unit",
        "side": "Side",
        "baseline": headings[0],
        "value": headings[1] if len(headings) == 2 else "Value",
        "difference": "Difference",
        "change": "Change",
        "interval": "95 % interval",
        "verdict": "Verdict",
        "detectable": "Detectable",
    }


def metric_lines(comparison: Comparison, rows: Iterable[Row]) -> Iterator[MetricLine]:
    """The lines of these rows, in order."""
    beside = len(comparison.sides) == 2
    sides = (1,) if beside else range(len(comparison.sides))
    for row in rows:
        for side in sides:
            change = row.cells[side].change
            texts = {
                "metric": row.metric.label,
                "unit": row.metric.unit,
                "side": comparison.sides[side].label,
                "baseline": value_text(row.metric, row.cells[0]),
                "value": value_text(row.metric, row.cells[side]),
            } | (_against(row.metric, change) if side else _OF_THE_BASELINE)
            verdict = None if change is None else change.verdict
            yield MetricLine(row, side == sides[0], len(sides), verdict, texts)


def _against(metric: Metric, change: Change | None) -> dict[str, str]:
    return {
        "difference": signed_text(metric, change),
        "change": change_text(metric, change),
        "interval": change_interval_text(metric, change),
        "verdict": verdict_text(None if change is None else change.verdict),
        "detectable": detectable_text(change),
    }
