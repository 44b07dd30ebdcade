"""From segments to tables: whole DataFrames in memory, and Parquet on disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from workbench.errors import StoreError
from workbench.runs.folder import RunFolder
from workbench.runs.schema import (
    EMISSIONS,
    REQUESTS,
    SAVED_TABLES,
    TABLES,
    Column,
    Table,
)
from workbench.runs.segments import SegmentTables, list_segments, read_segments

_DTYPES: dict[str, pl.DataType] = {
    "int64": pl.Int64(),
    "int32": pl.Int32(),
    "float64": pl.Float64(),
    "bool": pl.Boolean(),
    "text": pl.String(),
}

Tables = dict[str, pl.DataFrame]

_ROW_GROUPS = {EMISSIONS: 1 << 17}
"""Rows of a group, by table: a reader who wants some seconds of them passes over the others."""


def polars_schema(table: Table) -> dict[str, pl.DataType]:
    """The polars types of a table's columns, in order."""
    return {column.name: _DTYPES[column.kind] for column in table.columns}


def from_segments(segments: Iterable[SegmentTables]) -> Tables:
    """All tables of a run: -1 of nullable columns and NaN become null, and so does what an older
    version did not record.

    Raises:
        StoreError: a segment is not what a runner writes.
    """
    try:
        return _from_segments(list(segments))
    except (KeyError, ValueError, TypeError, pl.exceptions.PolarsError) as error:
        raise StoreError(f"the run's segments hold what no runner writes: {error!r}") from None


def _from_segments(parts: list[SegmentTables]) -> Tables:
    tables: Tables = {}
    for table in TABLES:
        if table is EMISSIONS:
            frames = [_emissions(part) for part in parts if "emissions" in part]
        else:
            frames = [_frame(table, part[table.name]) for part in parts if table.name in part]
        tables[table.name] = (
            pl.concat(frames) if frames else pl.DataFrame(schema=polars_schema(table))
        )
    if any("time_ns" in part.get("emissions", {}) for part in parts):
        # Tokens of one piece that were counted in two goes are one emission.
        tables[EMISSIONS.name] = (
            tables[EMISSIONS.name]
            .group_by("step", "time_ns", "request_id", maintain_order=True)
            .agg(pl.col("tokens").sum())
            .sort("time_ns", maintain_order=True)
        )
    return tables


def complete_requests(tables: Tables, ended_ns: int, reason: str) -> Tables:
    """One row a request, by id: "unfinished" for each that arrived and has no row.

    What its steps and emissions tell of it is filled in; the rest is null.
    """
    missing = tables["arrivals"].join(tables["requests"], on="request_id", how="anti")
    if missing.is_empty():
        return tables | {"requests": tables["requests"].sort("request_id")}
    emitted = (
        tables["emissions"]
        .group_by("request_id")
        .agg(
            pl.col("time_ns").min().alias("first_token_ns"),
            pl.col("time_ns").max().alias("last_token_ns"),
            pl.col("tokens").sum().alias("output_tokens"),
            pl.col("tokens").sort_by("time_ns").first().alias("first_tokens"),
        )
    )
    rows = missing.join(emitted, on="request_id", how="left").with_columns(
        pl.lit("unfinished").alias("status"),
        pl.lit(reason).alias("reason"),
        pl.col("submitted_ns").alias("admitted_ns"),
        pl.col("first_token_ns").alias("prefilled_ns"),
        pl.lit(ended_ns).alias("finished_ns"),
        pl.col("output_tokens").fill_null(0),
        pl.col("first_tokens").fill_null(0),
    )
    schema = polars_schema(REQUESTS)
    rows = rows.select(
        [
            (pl.col(name) if name in rows.columns else pl.lit(None)).cast(dtype).alias(name)
            for name, dtype in schema.items()
        ]
    )
    requests = pl.concat([tables["requests"], rows]).sort("request_id")
    return tables | {"requests": requests}


def write_parquet(folder: RunFolder, tables: Tables, fsync: bool) -> None:
    """Saves the tables beside `run.json`: all are written aside, then all are renamed.

    Raises:
        OSError: the disk is full or can't be written; no table was replaced.
    """
    asides = {
        table: folder.path / f".{table.name}.parquet.part"
        for table in SAVED_TABLES
        if not table.optional or not tables[table.name].is_empty()
    }
    try:
        for table, aside in asides.items():
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                try:
                    tables[table.name].write_parquet(
                        file, compression="zstd", row_group_size=_ROW_GROUPS.get(table)
                    )
                except pl.exceptions.ComputeError as error:
                    raise OSError(str(error)) from error
                file.flush()
                if fsync:
                    os.fsync(file.fileno())
    except OSError:
        for aside in asides.values():
            aside.unlink(missing_ok=True)
        raise
    for table, aside in asides.items():
        aside.rename(folder.parquet(table.name))


def load_tables(folder: RunFolder) -> Tables:
    """The tables of an ended run from Parquet, or of a living or killed one from its segments.

    Columns that the run's version did not have yet are null.

    Raises:
        StoreError: a file is broken.
    """
    if not folder.parquet(REQUESTS.name).exists():
        paths = [path for segments in folder.segment_folders for path in list_segments(segments)]
        return from_segments(read_segments(paths)[0])
    return {table.name: load_table(folder, table) for table in TABLES}


def load_table(folder: RunFolder, table: Table) -> pl.DataFrame:
    """One table of an ended run; columns that the run's version did not have are null. One that
    is not saved has no rows.

    Raises:
        StoreError: its file is absent or broken.
    """
    return load_columns(folder, table, table.names)


def load_columns(folder: RunFolder, table: Table, names: Sequence[str]) -> pl.DataFrame:
    """Some columns of a table of an ended run, in the order of `names`, each in one piece;
    those that the run's version did not have are null.

    Raises:
        StoreError: the table's file is absent or broken.
    """
    path = folder.parquet(table.name)
    if not table.saved or (table.optional and not path.exists()):
        return pl.DataFrame(schema=polars_schema(table)).select(names)
    try:
        there = set(pl.read_parquet_schema(path))
        wanted = [column for name in names for column in table.columns if column.name == name]
        known = [column for column in wanted if column.name in there or column.since == 1]
        # The first column tells how many rows there are where the file has none of those wanted.
        frame = pl.DataFrame([_in_one_piece(path, each) for each in known or table.columns[:1]])
        absent = [column for column in wanted if column not in known]
        nulls = [pl.lit(None, _DTYPES[column.kind]).alias(column.name) for column in absent]
        return frame.with_columns(nulls).select(names)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StoreError(f"{path} can't be read: {error}") from None


def _in_one_piece(path: Path, column: Column) -> pl.Series:
    """By itself: a large table in several pieces, made one, would be there twice."""
    series = pl.read_parquet(path, columns=[column.name]).to_series()
    return series.rechunk().cast(_DTYPES[column.kind])


def _frame(table: Table, columns: dict[str, Any]) -> pl.DataFrame:
    schema = polars_schema(table)
    new = [column.name for column in table.columns if column.since > 1]
    nothing = [None] * len(columns[table.names[0]])
    frame = pl.DataFrame(
        {name: columns.get(name, nothing) if name in new else columns[name] for name in schema},
        schema=schema,
    )
    nullable = [column.name for column in table.columns if column.nullable]
    floats = [column.name for column in table.columns if column.kind == "float64"]
    return frame.with_columns(
        [pl.when(pl.col(name) != -1).then(pl.col(name)).alias(name) for name in nullable]
        + [pl.col(name).fill_nan(None) for name in floats]
    )


def _emissions(part: SegmentTables) -> pl.DataFrame:
    """Who got tokens when: the segment holds the ids and each step's count, or the stamps."""
    emissions = part["emissions"]
    if "time_ns" in emissions:
        return pl.DataFrame(
            {
                "step": [None] * len(emissions["time_ns"]),
                "time_ns": emissions["time_ns"],
                "request_id": emissions["request_id"],
                "tokens": emissions["tokens"].astype(np.int64),
            },
            schema=polars_schema(EMISSIONS),
        )
    steps = part["steps"]
    counts = steps["emitting"]
    return pl.DataFrame(
        {
            "step": np.repeat(steps["step"], counts),
            "time_ns": np.repeat(steps["end_ns"], counts),
            "request_id": emissions["request_id"],
            "tokens": emissions["tokens"].astype(np.int64),
        },
        schema=polars_schema(EMISSIONS),
    )
