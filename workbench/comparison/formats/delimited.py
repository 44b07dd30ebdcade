"""A comparison as CSV (RFC 4180, but for lines that end in a line feed)."""

from __future__ import annotations

import csv
import io
from typing import Any

from workbench.comparison.comparison import Comparison
from workbench.comparison.formats.flat_rows import COLUMNS, flat_rows

_BETWEEN = ";"


def write_csv(comparison: Comparison) -> str:
    """A line for each metric and side, figures unrounded; an empty field is an undefined figure.

    Fields of several values, one of each run, have them between semicolons.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(column.name for column in COLUMNS)
    for row in flat_rows(comparison):
        writer.writerow(_field(row[column.name]) for column in COLUMNS)
    return out.getvalue()


def _field(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return _BETWEEN.join("" if each is None else str(each) for each in value)
    return value
