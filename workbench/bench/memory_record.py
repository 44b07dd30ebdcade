"""A run's record that is kept in memory: the rows that a recorder writes, without a folder."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from engines.base import RequestRecord, StepResult
from workbench.comparison.loading import stretches
from workbench.runs.recorder import Batch, arrival_row, columns_of
from workbench.runs.schema import EMISSIONS, Table
from workbench.runs.tables import Tables, complete_requests, from_segments
from workloads.request import Request


class MemoryRecord:
    """Takes in what a loop tells. Satisfies `workbench.runs.runner.Record`."""

    def __init__(self) -> None:
        self._batch = Batch()

    def arrived(self, request: Request, submitted_ns: int) -> None:
        self._batch.arrivals.append(arrival_row(request, submitted_ns))

    def ended(self, record: RequestRecord) -> None:
        self._batch.records.append(record)

    def step(self, result: StepResult) -> None:
        self._batch.steps.append(result)

    def event(self, time_ns: int, kind: str, detail: str, request_id: int = -1) -> None:
        self._batch.events.append((time_ns, -1, kind, request_id, 0, detail))

    def flush_if_due(self, now_ns: int) -> None: ...

    def tables(self, ended_ns: int) -> Tables:
        """The tables of a run that ended then, as `workbench.runs.tables` makes them."""
        tables = from_segments([columns_of(self._batch)])
        return complete_requests(tables, ended_ns, "the run ended first")


class MemoryTables:
    """Tables in memory. Satisfies `workbench.comparison.records.RunTables`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def table(self, table: Table, columns: Sequence[str] | None = None) -> pl.DataFrame:
        frame = self._tables[table.name]
        return frame if columns is None else frame.select(columns)

    def emission_parts(self, most_rows: int) -> list[pl.DataFrame]:
        emissions = self._tables[EMISSIONS.name]
        spans = stretches(emissions.height, most_rows)
        return [emissions.slice(start, rows) for start, rows in spans]
