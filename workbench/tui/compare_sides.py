"""Marked runs as the sides of a comparison: repeated runs are one side, every other run is its
own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from workbench.comparison.labels import label_of, unlike
from workbench.comparison.loading import FolderTables, stretches
from workbench.comparison.records import RunRecord, SideRecords
from workbench.runs.groups import member_of
from workbench.runs.schema import EMISSIONS, Table
from workbench.viewing.reading import is_saved
from workbench.viewing.view import RunView


@dataclass(frozen=True, slots=True)
class MarkedSide:
    """Marked runs that are compared as one; `label` is unique among the sides."""

    label: str
    views: tuple[RunView, ...]

    @property
    def first_id(self) -> str:
        """The id of its first run, which stands for the side."""
        return str(self.views[0].content["run_id"])

    def records(self) -> SideRecords:
        """What a comparison reads of it, as its runs are now."""
        return SideRecords(self.label, tuple(_record(view) for view in self.views))


def sides_of(views: Sequence[RunView], baseline: str | None) -> tuple[MarkedSide, ...]:
    """The sides in the order of their first runs, that of the run `baseline` before the others.

    Runs of one group are a side; where there is nothing beside that group, each is its own.
    """
    groups: dict[str, list[RunView]] = {}
    for view in views:
        member = member_of(view.content)
        groups.setdefault(str(view.folder.path) if member is None else member.id, []).append(view)
    together = list(groups.values()) if len(groups) > 1 else [[view] for view in views]
    labels = unlike([label_of([view.content for view in side]) for side in together])
    sides = [MarkedSide(label, tuple(side)) for label, side in zip(labels, together, strict=True)]
    return tuple(sorted(sides, key=lambda side: side.first_id != baseline))


class ViewTables:
    """The tables of a run that is being viewed, as they are when this is made."""

    def __init__(self, view: RunView) -> None:
        self._view = view
        self._frames = view.frames
        self._end_ns = view.end_ns

    def table(self, table: Table, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """See `records.RunTables`."""
        frame: pl.DataFrame = (
            self._view.emissions(0, self._end_ns)
            if table is EMISSIONS
            else getattr(self._frames, table.name)
        )
        return frame if columns is None else frame.select(columns)

    def emission_parts(self, most_rows: int) -> list[pl.DataFrame]:
        """See `records.RunTables`."""
        if is_saved(self._view.folder):
            return FolderTables(self._view.folder).emission_parts(most_rows)
        every = self.table(EMISSIONS)
        return [every.slice(start, rows) for start, rows in stretches(every.height, most_rows)]


def _record(view: RunView) -> RunRecord:
    return RunRecord(str(view.content["run_id"]), view.content, view.state, ViewTables(view))
