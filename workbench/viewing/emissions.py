"""Who got tokens when, read from where it lies: one Parquet file, or the segments of a run that
lives. Nothing of a long run is kept in memory but its last minute."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import polars as pl

from workbench.errors import StoreError
from workbench.runs.schema import EMISSIONS
from workbench.runs.segments import SegmentTables, decode_segment
from workbench.runs.tables import from_segments, polars_schema
from workbench.viewing.batches import concatenated, emission_span_ns

RECENT_NS = 75_000_000_000
_CHUNK_ROWS = 1 << 17
_CACHED_SEGMENTS = 64


class Emissions(Protocol):
    """The emissions of a run, in the order of time, with the columns of `EMISSIONS`."""

    def between(
        self, start_ns: int, end_ns: int, request_ids: Iterable[int] | None = None
    ) -> pl.DataFrame:
        """Those with stamps from `start_ns` to `end_ns`, both included.

        Raises:
            StoreError: they can't be read.
        """


class SavedEmissions:
    """Those of an ended run. Its Parquet has groups of rows in the order of time, with their
    ranges: only groups that overlap what is asked for are read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def between(
        self, start_ns: int, end_ns: int, request_ids: Iterable[int] | None = None
    ) -> pl.DataFrame:
        wanted = pl.col("time_ns").is_between(start_ns, end_ns)
        if request_ids is not None:
            wanted &= pl.col("request_id").is_in(list(request_ids))
        return self._collected(self._scan().filter(wanted))

    def chunks(self) -> Iterator[pl.DataFrame]:
        """All of them, some at a time: `request_id`, `time_ns` and `tokens`."""
        rows = self._collected(self._scan().select(pl.len())).item()
        wanted = self._scan().select("request_id", "time_ns", "tokens")
        for start in range(0, rows, _CHUNK_ROWS):
            yield self._collected(wanted.slice(start, _CHUNK_ROWS))

    def _scan(self) -> pl.LazyFrame:
        return pl.scan_parquet(self._path)

    def _collected(self, lazy: pl.LazyFrame) -> pl.DataFrame:
        try:
            return lazy.collect()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise StoreError(f"{self._path} can't be read: {error}") from None


class SegmentEmissions:
    """Those of a run that has only segments: the last minute from memory, older ones from disk."""

    def __init__(self) -> None:
        self._recent: deque[tuple[int, int, pl.DataFrame]] = deque()
        self._kept_from_ns = 0
        self._index: list[tuple[int, int, Path]] = []
        self._read: OrderedDict[Path, pl.DataFrame] = OrderedDict()

    def add(self, segments: Iterable[tuple[Path, SegmentTables]], emissions: pl.DataFrame) -> None:
        """Takes in segments and the emissions that they hold together, in the order of time."""
        for path, tables in segments:
            span_ns = emission_span_ns(tables)
            if span_ns is not None:
                self._index.append((*span_ns, path))
        if emissions.is_empty():
            return
        newest_ns = int(emissions["time_ns"][-1])
        self._recent.append((int(emissions["time_ns"][0]), newest_ns, emissions))
        while self._recent[0][1] < newest_ns - RECENT_NS:
            self._kept_from_ns = max(self._kept_from_ns, self._recent.popleft()[1] + 1)

    def between(
        self, start_ns: int, end_ns: int, request_ids: Iterable[int] | None = None
    ) -> pl.DataFrame:
        wanted = pl.col("time_ns").is_between(start_ns, end_ns)
        if request_ids is not None:
            wanted &= pl.col("request_id").is_in(list(request_ids))
        if start_ns >= self._kept_from_ns:
            frames = [
                frame
                for first_ns, last_ns, frame in self._recent
                if first_ns <= end_ns and last_ns >= start_ns
            ]
        else:
            frames = [
                self._segment(path).filter(wanted)
                for first_ns, last_ns, path in self._index
                if first_ns <= end_ns and last_ns >= start_ns
            ]
        if not frames:
            return pl.DataFrame(schema=polars_schema(EMISSIONS))
        whole = pl.concat(frames).filter(wanted)
        if whole["time_ns"].is_sorted():
            return whole
        return whole.sort("time_ns", maintain_order=True)

    def _segment(self, path: Path) -> pl.DataFrame:
        frame = self._read.pop(path, None)
        if frame is None:
            try:
                tables = decode_segment(path.read_bytes(), str(path))
            except OSError as error:
                raise StoreError(f"{path} can't be read: {error.strerror or error}") from None
            frame = from_segments([concatenated([tables])])[EMISSIONS.name]
        self._read[path] = frame
        if len(self._read) > _CACHED_SEGMENTS:
            self._read.popitem(last=False)
        return frame
