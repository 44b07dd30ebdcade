"""A comparison as flat rows, one for each metric and side, unrounded: CSV and Parquet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from workbench.comparison.comparison import Cell, Change, Comparison, Effect, Row
from workbench.comparison.intervals import Interval

Kind = Literal["text", "bool", "int", "float", "floats", "texts"]


@dataclass(frozen=True, slots=True)
class FlatColumn:
    """A column and the kind of its values; every one may be None."""

    name: str
    kind: Kind


COLUMNS = (
    FlatColumn("metric", "text"),
    FlatColumn("name", "text"),
    FlatColumn("group", "text"),
    FlatColumn("label", "text"),
    FlatColumn("unit", "text"),
    FlatColumn("better", "text"),
    FlatColumn("family", "text"),
    FlatColumn("side", "text"),
    FlatColumn("baseline", "bool"),
    FlatColumn("run_ids", "texts"),
    FlatColumn("value", "float"),
    FlatColumn("values", "floats"),
    FlatColumn("n", "int"),
    FlatColumn("low", "float"),
    FlatColumn("high", "float"),
    FlatColumn("weak", "bool"),
    FlatColumn("difference", "float"),
    FlatColumn("difference_low", "float"),
    FlatColumn("difference_high", "float"),
    FlatColumn("ratio", "float"),
    FlatColumn("ratio_low", "float"),
    FlatColumn("ratio_high", "float"),
    FlatColumn("p", "float"),
    FlatColumn("adjusted_p", "float"),
    FlatColumn("detectable", "float"),
    FlatColumn("basis", "text"),
    FlatColumn("verdict", "text"),
    FlatColumn("effect_log", "bool"),
    FlatColumn("effect_estimate", "float"),
    FlatColumn("effect_error", "float"),
    FlatColumn("effect_degrees", "float"),
)
"""`low` and `high` are of the value itself; `run_ids` and `values` go together. Degrees of freedom
without end are None, as every figure that is not finite."""


def flat_rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """A mapping of every column for each metric and side, the baseline first."""
    for row in comparison.rows:
        for number, (side, cell) in enumerate(zip(comparison.sides, row.cells, strict=True)):
            who = {
                "side": side.label,
                "baseline": number == 0,
                "run_ids": [run.run_id for run in side.runs],
            }
            found = of_metric(row) | who | _of_cell(cell) | _of_change(cell.change)
            yield {column.name: finite(found.get(column.name)) for column in COLUMNS}


def finite(value: Any) -> Any:
    """The value, or None in place of a number that is not finite, in lists and mappings too."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return value


def of_metric(row: Row) -> dict[str, Any]:
    """What a row is of, as plain data."""
    metric = row.metric
    return {
        "metric": metric.key,
        "name": metric.name,
        "group": metric.group,
        "label": metric.label,
        "unit": metric.unit,
        "better": metric.better,
        "family": metric.family,
    }


def _of_cell(cell: Cell) -> dict[str, Any]:
    return {
        "value": cell.value,
        "values": cell.values,
        "n": cell.n,
        "low": _end(cell.interval, "low"),
        "high": _end(cell.interval, "high"),
        "weak": cell.weak,
    }


def _of_change(change: Change | None) -> dict[str, Any]:
    if change is None:
        return {}
    return {
        "difference": change.difference,
        "difference_low": _end(change.interval, "low"),
        "difference_high": _end(change.interval, "high"),
        "ratio": change.ratio,
        "ratio_low": _end(change.ratio_interval, "low"),
        "ratio_high": _end(change.ratio_interval, "high"),
        "p": change.p,
        "adjusted_p": change.adjusted_p,
        "detectable": change.detectable,
        "basis": change.basis,
        "verdict": change.verdict,
    } | _of_effect(change.effect)


def _of_effect(effect: Effect | None) -> dict[str, Any]:
    if effect is None:
        return {}
    return {
        "effect_log": effect.log,
        "effect_estimate": effect.estimate,
        "effect_error": effect.error,
        "effect_degrees": effect.degrees,
    }


def _end(interval: Interval | None, name: Literal["low", "high"]) -> float | None:
    if interval is None:
        return None
    return interval.low if name == "low" else interval.high
