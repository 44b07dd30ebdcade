"""A baseline kept in a file: the figures of a side's runs, and how well they are known, without the
runs' tables; small enough to be kept beside the code that it guards."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.comparison.compare import MeasuredSide
from workbench.comparison.compared_metrics import metrics_of
from workbench.comparison.estimates import Estimate, Resampler, block_lengths, estimates
from workbench.comparison.intervals import Interval
from workbench.comparison.records import NoTables, RunRecord, SideRecords
from workbench.errors import StoreError

SCHEMA = 1
KIND = "workbench baseline"
MOST_BYTES = 64 << 20
_KEPT = (
    "run_id", "name", "state", "reason", "created", "spec", "engine", "environment", "rate_per_s",
    "duration_s", "warmup_s", "group",
)  # fmt: skip


def to_json(side: MeasuredSide) -> str:
    """The side as a baseline file holds it.

    Raises:
        StoreError: none of its runs has figures.
    """
    if all(run.summary is None for run in side.runs):
        raise StoreError(f"{side.side.label} has no figures to keep as a baseline")
    content = {
        "kind": KIND,
        "schema": SCHEMA,
        "label": side.side.label,
        "runs": [
            {key: run.record.content[key] for key in _KEPT if key in run.record.content}
            | {"run_id": run.record.run_id, "state": run.record.state, "summary": run.summary}
            for run in side.runs
        ],
        "estimates": {name: _plain(each) for name, each in _estimates(side).items()},
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def read_baseline(path: Path) -> SideRecords:
    """The side that a file holds.

    Raises:
        StoreError: the file is absent, broken, or of a newer version.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise StoreError(f"baseline {path}: too large to be one")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StoreError(
            f"baseline {path}: {error.strerror or error}; "
            "`workbench compare RUN --save-baseline FILE` makes one"
        ) from None
    except (ValueError, RecursionError) as error:
        raise StoreError(f"baseline {path} is broken: {error}") from None
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise StoreError(
            f"{path} is no baseline; `workbench compare RUN --save-baseline FILE` makes one"
        )
    if not isinstance(content.get("schema"), int) or content["schema"] > SCHEMA:
        raise StoreError(f"baseline {path} was made by a newer workbench; make it anew")
    try:
        records = tuple(
            RunRecord(str(run["run_id"]), run, str(run["state"]), NoTables())
            for run in content["runs"]
        )
        known = {str(name): _estimate(each) for name, each in content["estimates"].items()}
        label = str(content["label"])
        if not all(isinstance(run["summary"], dict | None) for run in content["runs"]):
            raise TypeError("a summary without parts")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"baseline {path} is broken: {error!r}") from None
    if not records:
        raise StoreError(f"baseline {path} holds no run")
    return SideRecords(label, records, known)


def write_baseline(path: Path, side: MeasuredSide) -> None:
    """Replaces the file as a whole; readable by its owner alone, for specs may be private.

    Raises:
        StoreError: it can't be written.
    """
    text = to_json(side)
    aside = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.unlink(missing_ok=True)
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        aside.replace(path)
    except OSError as error:
        raise StoreError(f"baseline {path} can't be written: {error.strerror or error}") from None


def _estimates(side: MeasuredSide) -> Mapping[str, Estimate]:
    if side.source is None:
        return side.side.estimates or {}
    metrics = [metric for metric in metrics_of([side.runs[0].summary]) if metric.better]
    lengths = block_lengths(side.source, metrics)
    return estimates(side.runs[0], side.source, metrics, lengths, Resampler())


def _plain(estimate: Estimate) -> dict[str, Any]:
    plain = {
        field.name: getattr(estimate, field.name)
        for field in dataclasses.fields(estimate)
        if field.name not in ("replicates", "interval", "degrees")
    }
    interval = estimate.interval
    plain["interval"] = None if interval is None else [interval.low, interval.high]
    plain["degrees"] = None if estimate.degrees == float("inf") else estimate.degrees
    return plain


def _estimate(plain: Mapping[str, Any]) -> Estimate:
    interval = plain["interval"]
    return Estimate(
        value=float(plain["value"]),
        error=_number(plain["error"]),
        log_error=_number(plain["log_error"]),
        degrees=float("inf") if plain["degrees"] is None else float(plain["degrees"]),
        interval=None if interval is None else Interval(float(interval[0]), float(interval[1])),
        n=int(plain["n"]),
        inflation=float(plain["inflation"]),
        block=_number(plain["block"]),
    )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
