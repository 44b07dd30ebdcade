"""Tables from rows, for tests that make up what was recorded."""

from __future__ import annotations

from typing import Any

import polars as pl

from workbench.runs.schema import REQUESTS, Table

TYPES = {"int64": pl.Int64, "bool": pl.Boolean, "text": pl.String}
MS = 1_000_000


def frame(table: Table, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows as the table's columns; what a row lacks is null, 0, False or empty."""
    empty = {"int64": 0, "bool": False, "text": ""}
    columns = {
        column.name: pl.Series(
            column.name,
            [row.get(column.name, None if column.nullable else empty[column.kind]) for row in rows],
            dtype=TYPES[column.kind],
        )
        for column in table.columns
    }
    return pl.DataFrame(columns)


def requests_of(*rows: dict[str, Any]) -> pl.DataFrame:
    """`requests` from rows whose stamps are in ms, by their names without `_ns`."""
    full = []
    for index, row in enumerate(rows):
        stamps = {
            f"{name}_ns": None if value is None else round(value * MS)
            for name, value in row.items()
            if f"{name}_ns" in REQUESTS.names
        }
        full.append({"request_id": index, "status": "ok", "prompt_tokens": 10} | row | stamps)
    return frame(REQUESTS, full)
