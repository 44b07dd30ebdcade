"""An experiment's outcome for people, and as plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from workbench.comparison.comparison import Comparison, Row
from workbench.comparison.wording import (
    change_interval_text,
    change_text,
    metric_text,
    side_headings,
    value_text,
    verdict_text,
)
from workbench.lab.outcome import Outcome, command_of

_SIGNS = {
    "confirmed": "✓", "refuted": "✗", "not shown": "?",
    "as expected": "✓", "drifted": "✗", "can't tell": "?",
}  # fmt: skip


def report(outcome: Outcome) -> RenderableType:
    """A table of the headline figures, the claims in words, and the check against the record."""
    execution = outcome.execution
    experiment = execution.plan.experiment
    parts: list[RenderableType] = [
        Text.assemble((experiment.name, "bold"), f"  {experiment.title}"),
        _indented(Text(experiment.claim)),
        _indented(Text(f"source: {experiment.source}", style="dim")),
        Text(""),
    ]
    if execution.reason:
        parts.append(Text(f"Not all of it was run: {execution.reason}."))
    if outcome.comparison is None:
        parts.append(Text(f"Nothing can be compared: {outcome.unchecked}."))
        return Group(*parts)
    if outcome.comparison.rows:
        parts += [_table(outcome.comparison, outcome.comparison.rows), Text("")]
    parts += [Text(f"! {note.text}") for note in outcome.comparison.notes if note.loud]
    parts.append(Text("Claims", style="bold"))
    parts += [_told(claim.verdict, claim.sentence) for claim in outcome.claims]
    parts.append(Text(f"Expected on {outcome.hardware_key}", style="bold"))
    parts += [_told(drift.verdict, drift.sentence) for drift in outcome.drifts]
    if outcome.unchecked:
        parts.append(_indented(Text(f"not checked: {outcome.unchecked}")))
    return Group(*parts)


def compare_command(outcome: Outcome) -> str:
    """What shows every metric of the two groups."""
    return " ".join(("workbench compare", *outcome.execution.groups))


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The same as plain data; None where there is nothing."""
    execution, comparison = outcome.execution, outcome.comparison
    return {
        "experiment": execution.plan.experiment.name,
        "hardware_key": outcome.hardware_key,
        "device": execution.plan.device,
        "command": command_of(execution),
        "state": execution.ending,
        "reason": execution.reason,
        "sides": [
            {
                "label": label,
                "group": group,
                "runs": [
                    {
                        "run_id": run.ended.content["run_id"],
                        "state": run.ended.content["state"],
                        "reason": run.reason,
                    }
                    for run in execution.runs
                    if run.turn.side == side
                ],
            }
            for side, (label, group) in enumerate(
                zip(execution.plan.labels, execution.groups, strict=True)
            )
        ],
        "metrics": [] if comparison is None else [_metric(row) for row in comparison.rows],
        "claims": [dataclasses.asdict(claim) for claim in outcome.claims],
        "measured": None if outcome.measured is None else dataclasses.asdict(outcome.measured),
        "drifts": [dataclasses.asdict(drift) for drift in outcome.drifts],
        "unchecked": outcome.unchecked,
    }


def _metric(row: Row) -> dict[str, Any]:
    change = row.cells[1].change
    interval = None if change is None else change.ratio_interval
    return {
        "metric": row.metric.name,
        "unit": row.metric.unit,
        "values": [cell.value for cell in row.cells],
        "ratio": None if change is None else change.ratio,
        "ratio_interval": None if interval is None else [interval.low, interval.high],
        "verdict": None if change is None else change.verdict,
    }


def _table(comparison: Comparison, rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for heading in (*side_headings(comparison), "change", "95 % interval"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for row in rows:
        change = row.cells[1].change
        table.add_row(
            Text(metric_text(row.metric)),
            *(Text(value_text(row.metric, cell)) for cell in row.cells),
            Text(change_text(row.metric, change)),
            Text(change_interval_text(row.metric, change)),
            Text(verdict_text(None if change is None else change.verdict)),
        )
    return table


def _told(verdict: str, sentence: str) -> RenderableType:
    return _indented(Text.assemble((f"{_SIGNS[verdict]} {verdict}: ", "bold"), sentence))


def _indented(text: Text) -> RenderableType:
    return Padding(text, (0, 0, 0, 2))
