"""A comparison as Markdown, CSV and JSON; what is missing is a dash, an empty cell or null."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterable

from workbench.analysis.differences import Cell, ComparedRun, Comparison, Row, is_weak
from workbench.analysis.intervals import CONFIDENCE, Interval
from workbench.analysis.quantities import MISSING, number

UP, DOWN, SAME = "▲", "▼", "="


def value_text(row: Row, cell: Cell) -> str:
    """ "12.5", "12.5*" for a p99 of fewer than 100 samples, or a dash."""
    return number(cell.value) + ("*" if cell.value is not None and is_weak(row, cell) else "")


def difference_text(cell: Cell) -> str:
    """ "▲ +12.5", "▼ -3.10", "= 0", or a dash."""
    if cell.difference is None:
        return MISSING
    if cell.difference == 0:
        return f"{SAME} 0"
    sign, arrow = ("+", UP) if cell.difference > 0 else ("-", DOWN)
    return f"{arrow} {sign}{number(abs(cell.difference))}"


def ratio_text(cell: Cell) -> str:
    """ "1.25×", or a dash."""
    return MISSING if cell.ratio is None else f"{number(cell.ratio)}×"


def interval_text(interval: Interval | None) -> str:
    """ "12.5 … 14.0", or a dash."""
    if interval is None:
        return MISSING
    return f"{number(interval.low)} … {number(interval.high)}"


def apart_text(cell: Cell) -> str:
    """ "apart", "overlap", or a dash where a figure has no interval."""
    return MISSING if cell.apart is None else "apart" if cell.apart else "overlap"


def run_label(run: ComparedRun) -> str:
    """Its name, or its id where it has none."""
    return run.name or run.run_id


def to_markdown(comparison: Comparison) -> str:
    """Notes, what was set up differently, and a table of every metric."""
    labels = [run_label(run) for run in comparison.runs]
    parts = ["\n".join(f"- {note}" for note in comparison.notes)]
    runs = [
        [label, run.run_id, run.state, number(run.requests), number(run.window_s)]
        for label, run in zip(labels, comparison.runs, strict=True)
    ]
    parts.append(_table(["run", "id", "state", "requests", "window, s"], runs))
    if comparison.settings:
        rows = [[setting.key, *setting.shown] for setting in comparison.settings]
        parts.append(_table(["set up differently", *labels], rows))
    headings = ["metric", "unit", f"{labels[0]} (baseline)", "95 % interval"]
    for label in labels[1:]:
        headings += [label, "95 % interval", "difference", "ratio", "intervals"]
    rows = []
    for row in comparison.rows:
        first, *others = row.cells
        texts = [row.metric.label, row.metric.unit, value_text(row, first)]
        texts.append(interval_text(first.interval))
        for cell in others:
            texts += [value_text(row, cell), interval_text(cell.interval), difference_text(cell)]
            texts += [ratio_text(cell), apart_text(cell)]
        rows.append(texts)
    parts.append(_table(headings, rows))
    return "\n\n".join(parts) + "\n"


def to_csv(comparison: Comparison) -> str:
    """A line for each metric and run, figures unrounded; an empty field is an undefined figure."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ("metric", "unit", "better", "run", "baseline", "value", "n", "low", "high", "difference",
         "ratio", "intervals")
    )  # fmt: skip
    for row in comparison.rows:
        for column, (run, cell) in enumerate(zip(comparison.runs, row.cells, strict=True)):
            interval = cell.interval
            figures = (
                cell.value, cell.n,
                None if interval is None else interval.low,
                None if interval is None else interval.high,
                cell.difference, cell.ratio,
            )  # fmt: skip
            writer.writerow(
                (
                    row.metric.key,
                    row.metric.unit,
                    row.metric.better or "",
                    run.run_id,
                    "no" if column else "yes",
                    *("" if figure is None else figure for figure in figures),
                    "" if cell.apart is None else apart_text(cell),
                )
            )
    return out.getvalue()


def to_json(comparison: Comparison) -> str:
    """Everything, unrounded; null where a figure is undefined. The first run is the baseline."""
    content = {
        "confidence": CONFIDENCE,
        "notes": comparison.notes,
        "runs": [dataclasses.asdict(run) for run in comparison.runs],
        "settings": [dataclasses.asdict(setting) for setting in comparison.settings],
        "rows": [
            {
                "metric": row.metric.key,
                "group": row.metric.group,
                "label": row.metric.label,
                "unit": row.metric.unit,
                "better": row.metric.better,
                "cells": [dataclasses.asdict(cell) for cell in row.cells],
            }
            for row in comparison.rows
        ],
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _table(headings: list[str], rows: Iterable[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
