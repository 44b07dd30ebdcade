"""A run's tables without files, for comparisons in tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from workbench.comparison.records import RunRecord
from workbench.runs.schema import EMISSIONS, Table
from workbench.runs.tables import polars_schema


class InMemoryTables(Mapping[str, pl.DataFrame]):
    """Tables by name; `asked` lists the names of those that were read, in order."""

    def __init__(self, tables: Mapping[str, pl.DataFrame]) -> None:
        self._tables = dict(tables)
        self.asked: list[str] = []

    def __getitem__(self, name: str) -> pl.DataFrame:
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def table(self, table: Table, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The table, or some of its columns; without rows where there is none."""
        self.asked.append(table.name)
        frame = self._tables.get(table.name)
        if frame is None:
            frame = pl.DataFrame(schema=polars_schema(table))
        return frame if columns is None else frame.select(columns)

    def emission_parts(self, most_rows: int) -> list[pl.DataFrame]:
        """All emissions by time, or up to eight stretches of them, spread evenly."""
        frame = self.table(EMISSIONS).sort("time_ns", maintain_order=True)
        if frame.height <= most_rows:
            return [frame]
        length = max(1, most_rows // 8)
        starts = np.linspace(0, frame.height - length, max(1, most_rows // length))
        return [frame.slice(int(start), length) for start in starts]


def record(
    run_id: str,
    content: Mapping[str, Any],
    tables: Mapping[str, pl.DataFrame],
    state: str = "finished",
) -> RunRecord:
    """A run of these tables; `content` is the rest of its `run.json`."""
    told = {"run_id": run_id, "state": state} | dict(content)
    return RunRecord(run_id, told, state, InMemoryTables(tables))
