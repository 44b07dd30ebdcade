"""From a run in the store to what a comparison reads of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from workbench.comparison.records import RunRecord
from workbench.errors import StoreError
from workbench.runs.folder import RunFolder
from workbench.runs.schema import EMISSIONS, REQUESTS, Table
from workbench.runs.store import StoredRun
from workbench.runs.tables import Tables, load_columns, load_tables

_STRETCH_ROWS = 1 << 17
_FEWEST_STRETCHES = 8


def folder_record(run: StoredRun) -> RunRecord:
    """The run as a comparison takes it; nothing but its `run.json` has been read yet."""
    return RunRecord(run.run_id, run.content, run.state, FolderTables(run.folder))


class FolderTables:
    """The tables of a run's folder: of one that has ended the columns asked for, each time anew;
    of one that is not saved yet what its segments hold, as it was when first asked for."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._unsaved: Tables | None = None

    def table(self, table: Table, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """See `records.RunTables`; columns that the run's version did not have are null."""
        names = table.names if columns is None else columns
        unsaved = self._in_memory()
        if unsaved is not None:
            return unsaved[table.name].select(names)
        return load_columns(self._folder, table, names)

    def emission_parts(self, most_rows: int) -> list[pl.DataFrame]:
        """See `records.RunTables`; of a large table no more is read than is returned."""
        unsaved = self._in_memory()
        if unsaved is not None:
            emissions = unsaved[EMISSIONS.name]
            spans = stretches(emissions.height, most_rows)
            return [emissions.slice(start, rows) for start, rows in spans]
        return _saved_parts(self._folder.parquet(EMISSIONS.name), most_rows)

    def _in_memory(self) -> Tables | None:
        """All tables of a run that has only segments; None once it has its files."""
        if self._unsaved is None and not self._is_saved:
            tables = load_tables(self._folder)
            # It may have ended meanwhile and taken its segments away.
            if not self._is_saved:
                self._unsaved = tables
        return self._unsaved

    @property
    def _is_saved(self) -> bool:
        return self._folder.parquet(REQUESTS.name).exists()


def stretches(rows: int, most_rows: int) -> list[tuple[int, int]]:
    """Start and length of the stretches to read of a table: the whole, or evenly spread ones of
    `most_rows` together, long enough that most tokens lie beside the one before."""
    if rows <= most_rows:
        return [(0, rows)]
    number = min(max(_FEWEST_STRETCHES, most_rows // _STRETCH_ROWS), most_rows)
    length = most_rows // number
    return [(place * (rows - length) // max(1, number - 1), length) for place in range(number)]


def _saved_parts(path: Path, most_rows: int) -> list[pl.DataFrame]:
    try:
        rows = pl.scan_parquet(path).select(pl.len()).collect().item()
        # A slice reads those groups of rows alone that it lies in.
        return [
            pl.scan_parquet(path).select(EMISSIONS.names).slice(start, length).collect().rechunk()
            for start, length in stretches(rows, most_rows)
        ]
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StoreError(f"{path} can't be read: {error}") from None
