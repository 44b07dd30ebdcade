"""A run's tables as CSV, JSON Lines or Parquet, slice by slice."""

from __future__ import annotations

from typing import IO

import polars as pl

from workbench.analysis.metrics import request_metrics
from workbench.errors import StoreError
from workbench.exporting.source import RunSource
from workbench.runs.schema import REQUESTS, Table

TABLE_FORMATS = {"csv": ".csv", "jsonl": ".jsonl", "parquet": ".parquet"}
"""The formats of a table, and how their files' names end."""

_UNITS = {"output_speed": "output_speed_tokens_per_s"}
_CONTROL = r"\p{Cc}"


def table_named(source: RunSource, name: str) -> Table:
    """The table called `name`.

    Raises:
        StoreError: the run does not have it.
    """
    there = {table.name: table for table in source.tables()}
    if name not in there:
        raise StoreError(f"{source.run_id} recorded no table {name!r}; it has {', '.join(there)}")
    return there[name]


def write_table(
    source: RunSource,
    table: Table,
    kind: str,
    file: IO[bytes],
    *,
    in_window: bool = False,
    for_terminal: bool = False,
) -> None:
    """Writes a table as `kind`, one of `TABLE_FORMATS`.

    Requests get two sorts of columns more than they are saved with: `measured`, whether the
    request belongs to the measured window, and their metrics, as `request_metrics` defines them.

    Args:
        in_window: only rows of the measured window.
        for_terminal: control characters in text are replaced, so that none can steer it.

    Raises:
        StoreError: the table is broken.
        OSError: the file takes no more.
    """
    if kind == "parquet":
        _write_parquet(source, table, file, in_window)
        return
    for number, part in enumerate(source.slices(table, in_window)):
        shown = _with_metrics(source, part) if table is REQUESTS else part
        if for_terminal:
            shown = shown.with_columns(pl.col(pl.String).str.replace_all(_CONTROL, "\ufffd"))
        if kind == "csv":
            file.write(shown.write_csv(include_header=number == 0).encode())
        else:
            file.write(shown.write_ndjson().encode())


def _with_metrics(source: RunSource, requests: pl.DataFrame) -> pl.DataFrame:
    measured = requests.with_columns(source.window.holds("scheduled_ns").alias("measured"))
    return request_metrics(measured).rename(_UNITS)


def _write_parquet(source: RunSource, table: Table, file: IO[bytes], in_window: bool) -> None:
    rows = source.lazy(table)
    if table is REQUESTS:
        rows = _with_metrics(source, source.requests).lazy()
    if in_window:
        rows = rows.filter(source.rows_in(table))
    try:
        rows.sink_parquet(file, compression="zstd")
    except pl.exceptions.PolarsError as error:
        raise OSError(str(error)) from error
