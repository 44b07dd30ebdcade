"""A comparison as JSON, with everything that it holds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from workbench.comparison.comparison import CONFIDENCE, Comparison, Row
from workbench.comparison.formats.flat_rows import finite
from workbench.comparison.gate import Judgement

SCHEMA = 1


def write_json(comparison: Comparison, judgements: Sequence[Judgement] = ()) -> str:
    """Everything, unrounded; null where a figure is undefined or not finite. The first side is the
    baseline; the cells of a row are in the order of the sides."""
    content = {
        "schema": SCHEMA,
        "confidence": CONFIDENCE,
        "sides": [
            {
                "label": side.label,
                "requests": side.requests,
                "runs": [dataclasses.asdict(run) for run in side.runs],
            }
            for side in comparison.sides
        ],
        "traffic_differs": comparison.traffic_differs,
        "settings": [
            dataclasses.asdict(setting) | {"traffic": setting.traffic}
            for setting in comparison.settings
        ],
        "notes": [dataclasses.asdict(note) for note in comparison.notes],
        "rows": [_row(row) for row in comparison.rows],
        "explanations": [dataclasses.asdict(each) for each in comparison.explanations],
        "conditions": [
            {
                "condition": judgement.condition.text,
                "side": judgement.side,
                "holds": judgement.holds,
                "p": judgement.p,
                "sentence": judgement.sentence,
            }
            for judgement in judgements
        ],
    }
    return json.dumps(finite(content), indent=1, allow_nan=False) + "\n"


def _row(row: Row) -> dict[str, Any]:
    metric = row.metric
    return {
        "metric": metric.key,
        "name": metric.name,
        "group": metric.group,
        "label": metric.label,
        "unit": metric.unit,
        "better": metric.better,
        "family": metric.family,
        "cells": [dataclasses.asdict(cell) for cell in row.cells],
    }
