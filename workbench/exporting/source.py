"""A run as it is exported: its tables in slices, whether they are saved or still in segments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from workbench.analysis.lookup import at
from workbench.analysis.metrics import Window
from workbench.errors import StoreError
from workbench.runs.folder import LIVE_STATES
from workbench.runs.schema import EMISSIONS, REQUESTS, SAVED_TABLES, Table
from workbench.runs.store import StoredRun
from workbench.runs.tables import Tables, complete_requests, load_table, load_tables, polars_schema

SLICE_ROWS = 1 << 19
"""Rows of a table that are in memory at a time."""

_DEAD_REASON = "its runner ended without saying why"
_TIME_COLUMNS = {REQUESTS.name: "scheduled_ns", "steps": "end_ns"}


class RunSource:
    """What an export reads of a run.

    Attributes:
        run_id, state, content: as the store has them; "dead" where the runner is gone.
        window: the measured window; of a run without a summary, from the end of its warm-up to
            the last arrival that is known.
        notes: sentences on what is not whole, for whoever exports it.
    """

    def __init__(self, run: StoredRun) -> None:
        """Raises `StoreError` where its requests can't be read."""
        self.run_id, self.state, self.content = run.run_id, run.state, run.content
        self.notes: list[str] = []
        self._folder = run.folder
        self._in_memory: Tables | None = None
        if not run.folder.parquet(REQUESTS.name).exists():
            self._in_memory = self._so_far(load_tables(run.folder))
        self.requests = self._requests()
        self.window = self._window()

    @property
    def name(self) -> str:
        """What its user called it, or its id."""
        return str(self.content.get("name") or self.run_id)

    def tables(self) -> list[Table]:
        """The tables that it has: all but optional ones that it recorded nothing for."""
        return [table for table in SAVED_TABLES if not table.optional or self._has(table)]

    def slices(self, table: Table, in_window: bool = False) -> Iterator[pl.DataFrame]:
        """The rows of a table, `SLICE_ROWS` at a time; at least one frame, if an empty one.

        Args:
            in_window: only rows of the measured window: requests by `scheduled_ns`, steps by
                `end_ns`, all others by `time_ns`.

        Raises:
            StoreError: the table is broken.
        """
        frame = self.lazy(table)
        rows = self._collected(table, frame.select(pl.len())).item()
        for start in range(0, max(1, rows), SLICE_ROWS):
            part = frame.slice(start, SLICE_ROWS)
            yield self._collected(table, part.filter(self.rows_in(table)) if in_window else part)

    def rows_in(self, table: Table) -> pl.Expr:
        """Which rows of a table belong to the measured window."""
        return self.window.holds(_TIME_COLUMNS.get(table.name, "time_ns"))

    def emissions_of(self, requests: pl.DataFrame) -> pl.DataFrame:
        """`request_id`, `time_ns` and `tokens` of these requests' emissions, grouped by request,
        oldest first; of a Parquet file only the groups of rows that may hold them are read.

        Raises:
            StoreError: the table is broken.
        """
        ids = requests["request_id"]
        stamps = requests.select(
            pl.col("first_token_ns").min(), pl.col("last_token_ns", "finished_ns").max()
        ).row(0, named=True)
        last_ns = max(stamps["last_token_ns"] or 0, stamps["finished_ns"] or 0)
        wanted = pl.col("time_ns").is_between(stamps["first_token_ns"] or 0, last_ns)
        wanted &= pl.col("request_id").is_between(ids.min() or 0, ids.max() or 0)
        found = self.lazy(EMISSIONS).filter(wanted).select("request_id", "time_ns", "tokens")
        return (
            self._collected(EMISSIONS, found)
            .join(requests.select("request_id"), on="request_id", how="semi")
            .sort("request_id", "time_ns", maintain_order=True)
        )

    def lazy(self, table: Table) -> pl.LazyFrame:
        """A table, not read yet. Raises `StoreError` where its file is broken."""
        if table is REQUESTS:
            return self.requests.lazy()
        if self._in_memory is not None:
            return self._in_memory[table.name].lazy()
        path = self._folder.parquet(table.name)
        try:
            there = pl.read_parquet_schema(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise _broken(path, error) from None
        newer = {column.name for column in table.columns if column.since > 1} - there.keys()
        return pl.scan_parquet(path).select(
            (pl.lit(None) if name in newer else pl.col(name)).cast(dtype).alias(name)
            for name, dtype in polars_schema(table).items()
        )

    def _requests(self) -> pl.DataFrame:
        if self._in_memory is not None:
            return self._in_memory[REQUESTS.name]
        return load_table(self._folder, REQUESTS)

    def _so_far(self, tables: Tables) -> Tables:
        """What a run without Parquet files has: of a living one, the requests that have ended."""
        arrived, ended = tables["arrivals"].height, tables["requests"].height
        if self.state in LIVE_STATES:
            self.notes.append(
                f"{self.run_id} is {self.state}: {ended:,} requests have ended so far, and "
                f"{max(0, arrived - ended):,} in flight are left out"
            )
            return tables | {"requests": tables["requests"].sort("request_id")}
        if self.state == "dead":
            self.notes.append(
                f"{self.run_id} is dead, its runner is gone: exported is what it left, with "
                f"{max(0, arrived - ended):,} requests unfinished; `workbench runs recover "
                f"{self.run_id}` makes it whole"
            )
        else:
            reason = self.content.get("reason")
            self.notes.append(
                f"{self.run_id} is {self.state} and has {ended:,} requests"
                + (f": {reason}" if reason else "")
            )
        return complete_requests(tables, _last_ns(tables), _DEAD_REASON)

    def _window(self) -> Window:
        saved = self.content.get("window") or at(self.content, "summary", "window")
        if saved:
            return Window(int(saved["start_ns"]), int(saved["end_ns"]))
        start_ns = int(float(self.content.get("warmup_s") or 0) * 1e9)
        last = self.requests["scheduled_ns"].max()
        return Window(start_ns, max(start_ns, last) if isinstance(last, int) else start_ns)

    def _has(self, table: Table) -> bool:
        if self._in_memory is not None:
            return not self._in_memory[table.name].is_empty()
        return self._folder.parquet(table.name).exists()

    def _collected(self, table: Table, frame: pl.LazyFrame) -> pl.DataFrame:
        try:
            return frame.collect()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise _broken(self._folder.parquet(table.name), error) from None


def content_of(source: RunSource, *path: str) -> Any:
    """What `run.json` has at `path`; None where it ends early."""
    return at(source.content, *path)


def _broken(path: Path, error: Exception) -> StoreError:
    return StoreError(f"{path} can't be read: {error}")


def _last_ns(tables: Tables) -> int:
    """The latest stamp in the record."""
    columns = (
        ("requests", "finished_ns"),
        ("requests", "scheduled_ns"),
        ("steps", "end_ns"),
        ("arrivals", "submitted_ns"),
    )
    stamps = [tables[table][column].max() for table, column in columns]
    return max((stamp for stamp in stamps if isinstance(stamp, int)), default=0)
