"""From a run's folder to its record in memory: a living run from its segments, as they come; one
that has ended from its Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from engines.options import REMOTE
from workbench.analysis.lookup import at
from workbench.errors import StoreError
from workbench.runs.folder import RunFolder
from workbench.runs.follow import SegmentFollower
from workbench.runs.schema import ARRIVALS, EMISSIONS, REQUESTS, SAVED_TABLES
from workbench.runs.segments import SegmentTables
from workbench.runs.tables import Tables, from_segments, load_table
from workbench.viewing.batches import concatenated
from workbench.viewing.emissions import SavedEmissions, SegmentEmissions
from workbench.viewing.record import RunRecord, arrivals_of

_BATCH_SEGMENTS = 256
_NONE = 1 << 62
_LONGEST_S = 1e9
_NO_RECORD = (
    pl.exceptions.PolarsError, ArithmeticError, LookupError, MemoryError, TypeError, ValueError
)  # fmt: skip
"""What odd values in a table come to; `StoreError` is none of these."""

PathAndTables = tuple[Path, SegmentTables]


def is_saved(folder: RunFolder) -> bool:
    """Whether the run has its Parquet files; they are whole once `run.json` says that it ended."""
    return folder.parquet(REQUESTS.name).exists()


def empty_record(content: Mapping[str, Any]) -> RunRecord:
    """The record of a run of which nothing has been read yet."""
    warmup_s = warmup_of(content)
    return RunRecord(int((warmup_s or 0.0) * 1e9), limits_of(content))


def warmup_of(content: Mapping[str, Any]) -> float | None:
    """Seconds of warm-up, from `run.json`."""
    return _number(content.get("warmup_s"), at(content, "spec", "traffic", "warmup"))


def duration_of(content: Mapping[str, Any]) -> float | None:
    """Seconds of arrivals, from `run.json`."""
    return _number(content.get("duration_s"), at(content, "spec", "traffic", "duration"))


def limits_of(content: Mapping[str, Any]) -> dict[str, float]:
    """The SLO's limits, ms, by objective, from `run.json`."""
    slo = at(content, "spec", "slo")
    return {
        name: float(limit)
        for name in ("ttft", "tpot", "itl", "e2e")
        if isinstance(limit := at(slo, name), int | float)
    }


def _number(*found: Any) -> float | None:
    for value in found:
        if isinstance(value, int | float) and 0 <= value <= _LONGEST_S:
            return float(value)
    return None


def read_saved(folder: RunFolder, content: Mapping[str, Any]) -> tuple[RunRecord, SavedEmissions]:
    """An ended run, whole.

    Raises:
        StoreError: a file is absent or broken, or holds what no runner writes.
    """
    try:
        return _read_saved(folder, content)
    except _NO_RECORD as error:
        said = " ".join(f"{error!r:.200}".split())
        raise StoreError(f"{folder.path}: its tables hold what no runner writes: {said}") from None


def _read_saved(folder: RunFolder, content: Mapping[str, Any]) -> tuple[RunRecord, SavedEmissions]:
    record, emissions = empty_record(content), SavedEmissions(folder.parquet(EMISSIONS.name))
    requests = load_table(folder, REQUESTS)
    record.take_arrivals(arrivals_of(requests, remote=at(content, "engine", "name") == REMOTE))
    for chunk in emissions.chunks():
        record.feed_emissions(chunk)
    record.take(REQUESTS, requests)
    for table in SAVED_TABLES:
        if table not in (REQUESTS, EMISSIONS):
            record.take(table, load_table(folder, table))
    return record, emissions


class SegmentReader:
    """Reads what a living run appends, or a killed one left behind."""

    def __init__(self, folder: RunFolder, content: Mapping[str, Any]) -> None:
        self.record = empty_record(content)
        self.emissions = SegmentEmissions()
        self._follower = SegmentFollower(folder)
        self._broken: list[str] = []

    @property
    def problems(self) -> tuple[str, ...]:
        """What was wrong with segments that were passed over."""
        return (*self._follower.broken, *self._broken)

    def read(self) -> int | None:
        """Takes in what is new: the first stamp of the new emissions, one beyond all others if
        there are none of them; None if nothing is new."""
        found, first_ns = False, _NONE
        for batch, tables in self._new():
            emissions = tables[EMISSIONS.name]
            if not emissions["time_ns"].is_sorted():
                emissions = emissions.sort("time_ns", maintain_order=True)
            self.emissions.add(batch, emissions)
            self.record.take_arrivals(tables[ARRIVALS.name])
            self.record.feed_emissions(emissions)
            for table in SAVED_TABLES:
                if table is not EMISSIONS:
                    self.record.take(table, tables[table.name])
            found = True
            if emissions.height:
                first_ns = min(first_ns, int(emissions["time_ns"][0]))
        return first_ns if found else None

    def _new(self) -> Iterator[tuple[list[PathAndTables], Tables]]:
        for batch in _batches(self._follower.new_paths()):
            yield from self._tables(batch)

    def _tables(self, batch: list[PathAndTables]) -> Iterator[tuple[list[PathAndTables], Tables]]:
        """A batch as tables; one segment at a time where something in it is wrong."""
        try:
            tables = from_segments([concatenated([tables for _, tables in batch])])
        except StoreError as error:
            if len(batch) == 1:
                self._broken.append(f"{batch[0][0]}: {error}")
                return
            for segment in batch:
                yield from self._tables([segment])
        else:
            yield batch, tables


def _batches(segments: Iterator[PathAndTables]) -> Iterator[list[PathAndTables]]:
    batch: list[PathAndTables] = []
    for segment in segments:
        batch.append(segment)
        if len(batch) == _BATCH_SEGMENTS:
            yield batch
            batch = []
    if batch:
        yield batch
