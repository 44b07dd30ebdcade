"""What a comparison reads of a run: its `run.json`, and its tables as far as they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl

from workbench.runs.schema import Table
from workbench.runs.tables import polars_schema

if TYPE_CHECKING:
    from workbench.comparison.estimates import Estimate


class RunTables(Protocol):
    """A run's tables, read when they are asked for."""

    def table(self, table: Table, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """A table, or some of its columns; without rows where the run has none of it.

        Raises:
            StoreError: it is broken.
        """
        ...

    def emission_parts(self, most_rows: int) -> list[pl.DataFrame]:
        """Emissions in stretches without holes, in order of time: all of them as one stretch if
        they are at most `most_rows`, else stretches of so many rows in all, spread evenly.

        Raises:
            StoreError: they are broken.
        """
        ...


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run to be compared: its `run.json`, the state that it really is in ("dead" where the
    runner is gone), and its tables."""

    run_id: str
    content: Mapping[str, Any]
    state: str
    tables: RunTables

    @property
    def name(self) -> str:
        """What its user called it, or its id."""
        return str(self.content.get("name") or self.run_id)


class NoTables:
    """The tables of a run of which only the figures were kept."""

    def table(self, table: Table, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """See `RunTables`; without rows."""
        schema = polars_schema(table)
        return pl.DataFrame(schema={name: schema[name] for name in columns or schema})

    def emission_parts(self, most_rows: int) -> list[pl.DataFrame]:
        """See `RunTables`; none."""
        return []


@dataclass(frozen=True, slots=True)
class SideRecords:
    """One side of a comparison: a run, or several runs of the same spec.

    Attributes:
        label: names it.
        estimates: how well its only run fixes each figure, by metric, where only that was kept of
            the run's tables; None where the tables tell.
    """

    label: str
    records: tuple[RunRecord, ...]
    estimates: Mapping[str, Estimate] | None = None
