"""A comparison as JSON, with everything that it holds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from workbench.comparison.comparison import CONFIDENCE, Comparison
from workbench.comparison.formats.flat_rows import finite, of_metric
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
        "rows": [
            of_metric(row) | {"cells": [dataclasses.asdict(cell) for cell in row.cells]}
            for row in comparison.rows
        ],
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
