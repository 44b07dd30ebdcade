"""Segments as one batch: a run of hours has thousands of them, and a table of each is slow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench.runs.segments import SegmentTables


def concatenated(segments: Sequence[SegmentTables]) -> SegmentTables:
    """The segments' tables, one after the other; columns that a segment lacks are left out."""
    if len(segments) == 1:
        return segments[0]
    together: SegmentTables = {}
    for table in {name: None for segment in segments for name in segment}:
        parts = [segment[table] for segment in segments if table in segment]
        names = [name for name in parts[0] if all(name in part for part in parts)]
        together[table] = {name: _joined([part[name] for part in parts]) for name in names}
    return together


def emission_span_ns(segment: SegmentTables) -> tuple[int, int] | None:
    """The first and the last stamp of a segment's emissions; None where it has none."""
    emissions = segment.get("emissions", {})
    if not len(emissions.get("request_id", ())):
        return None
    times_ns = emissions.get("time_ns")
    if times_ns is None:
        steps = segment["steps"]
        times_ns = steps["end_ns"][steps["emitting"] > 0]
    return int(times_ns.min()), int(times_ns.max())


def _joined(columns: Sequence[Any]) -> Any:
    if isinstance(columns[0], np.ndarray):
        return np.concatenate(columns)
    return [value for column in columns for value in column]
