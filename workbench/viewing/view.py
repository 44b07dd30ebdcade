"""One run as a viewer sees it: live, replayed or ended, by the same code. The moment that is shown
is a parameter."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import polars as pl

from workbench.analysis.story import Story, request_story
from workbench.errors import StoreError
from workbench.runs.folder import ENDED_STATES, RunFolder
from workbench.runs.store import load_run
from workbench.viewing.absent import why_absent
from workbench.viewing.by_request import ByRequest
from workbench.viewing.cursor import TREND_NS, EmissionCursor
from workbench.viewing.emissions import Emissions, SegmentEmissions
from workbench.viewing.history import Line, panels, span_of
from workbench.viewing.moment import RunState, snapshot_at
from workbench.viewing.reading import (
    SegmentReader,
    empty_record,
    is_saved,
    read_saved,
)
from workbench.viewing.record import Frames, RunRecord
from workbench.viewing.request_table import ids_in_flight, request_table
from workbench.viewing.snapshot import Snapshot

Found = TypeVar("Found")


class RunView:
    """A run's tables as they grow, and everything that is drawn of them.

    Methods may take long: call them from a loader thread. The attributes and `now_ns` never wait.

    Attributes:
        content: `run.json`; state: as `load_run` says ("dead" where the runner is gone).
        live: its runner lives: new data may come.
        end_ns: the newest stamp that is known; of an ended run, its end.
        version: changes whenever anything is new.
        problems: what was wrong with parts of the record that were passed over.
    """

    def __init__(self, folder: RunFolder, clock: Callable[[], int]) -> None:
        self.folder = folder
        self.content: dict[str, Any] = {}
        self.state = ""
        self.live = False
        self.end_ns = 0
        self.version = 0
        self.problems: tuple[str, ...] = ()
        self._clock = clock
        self._lock = threading.RLock()
        self._reader: SegmentReader | None = None
        self._record: RunRecord = empty_record({})
        self._emissions: Emissions = SegmentEmissions()
        self._saved_at: tuple[int, int] | None = None
        self._recent, self._in_flight = EmissionCursor(recent=True), EmissionCursor()
        self._table: tuple[tuple[int, int], pl.DataFrame] | None = None

    def refresh(self) -> bool:
        """Takes in what is new; True if anything is. Follows a living run into its saved end.

        Raises:
            StoreError: the run is gone, or its record can't be read.
        """
        with self._lock:
            if self._saved_at is not None and self._saved_at == self._stamp():
                return False
            run = load_run(self.folder)
            news = run.content != self.content or run.state != self.state
            if run.state in ENDED_STATES and is_saved(self.folder):
                self._read_saved(run.content)
                news = True
            else:
                news = self._read_segments(run.content) or news
            self.content, self.state = run.content, run.state
            self.live = run.state not in (*ENDED_STATES, "dead")
            ended_ns = run.content.get("drain_end_ns")
            newest_ns = self._record.newest_ns
            self.end_ns = ended_ns if isinstance(ended_ns, int) and not self.live else newest_ns
            self.version += news
            return news

    def now_ns(self) -> int:
        """The run's clock now, ns since its start; of a run that doesn't live, its end."""
        origin_ns = (self.content.get("clock") or {}).get("origin_monotonic_ns")
        if not self.live or not isinstance(origin_ns, int):
            return self.end_ns
        return max(self.end_ns, self._clock() - origin_ns)

    @property
    def frames(self) -> Frames:
        """The run's tables as of the last refresh."""
        with self._lock:
            return self._record.frames

    def snapshot(self, at_ns: int) -> Snapshot:
        """The run as of `at_ns`, ns since its start."""
        return self._retried(lambda: self._snapshot(at_ns))

    def _snapshot(self, at_ns: int) -> Snapshot:
        reach_ns = self._reach(at_ns)
        self._recent.move(self._emissions, reach_ns - TREND_NS, reach_ns, self._record.by_request)
        run = RunState(self.content, self.state, self.live, self.end_ns, self.usable_blocks)
        return snapshot_at(run, self._record, self._recent, at_ns)

    def charts(
        self, at_ns: int, start_s: float, end_s: float, columns: int
    ) -> dict[str, tuple[Line, ...]]:
        """The lines of every panel from `start_s` to `end_s`; nothing after `at_ns` is in them."""
        over = not self.live and at_ns >= self.end_ns
        span = span_of(at_ns, start_s, end_s, columns, over)
        return self._retried(
            lambda: panels(self._record, self._emissions, span, self.usable_blocks)
        )

    def why_absent(self, panel: str) -> str:
        """Why a panel has nothing to draw, in words."""
        with self._lock:
            return why_absent(panel, self.content, self._record)

    def requests(self, at_ns: int) -> pl.DataFrame:
        """A row for each request that had arrived by `at_ns`, by id: the columns of `REQUESTS`
        and of `request_metrics`, `state` ("waiting", "running", or how it ended) and
        `longest_stall_ms`. What lay ahead then is null."""
        return self._retried(lambda: self._requests(at_ns))

    def _requests(self, at_ns: int) -> pl.DataFrame:
        known = (self.version, at_ns if at_ns < self.end_ns else self.end_ns)
        if self._table is not None and self._table[0] == known:
            return self._table[1]
        self._table = None  # two of them need not be in memory at once
        table = request_table(self._record, self._emitted_by(at_ns), at_ns)
        self._table = known, table
        return table

    def _emitted_by(self, at_ns: int) -> ByRequest:
        """What the emissions up to `at_ns` tell of the requests in flight then."""
        reach_ns, everything = self._reach(at_ns), self._record.by_request
        if reach_ns >= self._record.newest_ns:
            return everything
        first_ns = everything.first_ns(ids_in_flight(self._record, at_ns))
        first_ns = first_ns[first_ns >= 0]
        since_ns = min(reach_ns, int(first_ns.min())) if first_ns.size else reach_ns
        self._in_flight.move(self._emissions, since_ns, reach_ns, everything)
        return self._in_flight.by_request

    def emissions(self, start_ns: int, end_ns: int) -> pl.DataFrame:
        """Emissions with stamps from `start_ns` to `end_ns`, both included, in their order."""
        return self._read_emissions(start_ns, end_ns)

    def emissions_of(self, request_id: int) -> pl.DataFrame:
        """All emissions of one request that are known, in their order."""
        with self._lock:
            ids = np.array([request_id])
            first_ns = int(self._record.by_request.first_ns(ids)[0])
            last_ns = int(self._record.by_request.last_ns(ids)[0])
            if first_ns < 0:
                return self._read_emissions(0, -1)
            return self._read_emissions(first_ns, last_ns, [request_id])

    def step_members(self, step: int) -> pl.DataFrame:
        """Who was in a step: `request_id`, `part` ("prefill" or "decode"), `tokens`."""
        with self._lock:
            frames = self._record.frames
            chunks = frames.events.filter((pl.col("step") == step) & (pl.col("kind") == "prefill"))
            prefill = chunks.select("request_id", part=pl.lit("prefill"), tokens="tokens")
            found = frames.steps.filter(pl.col("step") == step)
            if found.is_empty():
                return prefill
            end_ns = int(found["end_ns"][0])
            decode = (
                self._read_emissions(end_ns, end_ns)
                .filter(pl.col("step") == step)
                .join(prefill, on="request_id", how="anti")
                .select("request_id", part=pl.lit("decode"), tokens=pl.col("tokens"))
            )
            return pl.concat([prefill, decode])

    def step_end(self, at_ns: int, places: int) -> int | None:
        """The end of the `places`-th step that ends after `at_ns`, or before it if negative;
        None if there is none."""
        ends_ns = self._record.column("steps", "end_ns")
        if places > 0:
            row = int(np.searchsorted(ends_ns, at_ns, side="right")) + places - 1
        else:
            row = int(np.searchsorted(ends_ns, at_ns, side="left")) + places
        return int(ends_ns[row]) if 0 <= row < ends_ns.size else None

    def story(self, request_id: int, at_ns: int) -> Story | None:
        """What happened to a request up to `at_ns`; None if it had not arrived."""
        with self._lock:
            row = self.requests(at_ns).filter(pl.col("request_id") == request_id)
            if row.is_empty():
                return None
            request = row.row(0, named=True)
            start_ns = int(request["scheduled_ns"])
            end_ns = min(at_ns, request["finished_ns"] or at_ns)
            frames = self._record.frames
            return request_story(
                request,
                self._read_emissions(start_ns, end_ns),
                frames.events.filter(pl.col("time_ns").is_between(start_ns, end_ns)),
                frames.steps.filter(pl.col("end_ns").is_between(start_ns, end_ns)),
                at_ns,
            )

    @property
    def usable_blocks(self) -> int | None:
        """KV blocks of the engine's pool, the null block left out; None if that is not known."""
        blocks = (self.content.get("engine") or {}).get("num_blocks")
        return blocks if isinstance(blocks, int) else None

    def _read_emissions(
        self, start_ns: int, end_ns: int, request_ids: list[int] | None = None
    ) -> pl.DataFrame:
        return self._retried(lambda: self._emissions.between(start_ns, end_ns, request_ids))

    def _retried(self, read: Callable[[], Found]) -> Found:
        """Reads; once more where a living run's segments have become tables meanwhile."""
        with self._lock:
            try:
                return read()
            except StoreError:
                self.refresh()
                return read()

    def _read_saved(self, content: dict[str, Any]) -> None:
        stamp = self._stamp()
        self._record, self._emissions = read_saved(self.folder, content)
        self._saved_at, self._reader = stamp, None
        self.problems = tuple(content.get("broken_segments") or ())
        self._start_over()

    def _read_segments(self, content: dict[str, Any]) -> bool:
        if self._reader is None or self._settings(content) != self._settings(self.content):
            self._reader = SegmentReader(self.folder, content)
            self._start_over()
        first_ns = self._reader.read()
        self._record, self._emissions = self._reader.record, self._reader.emissions
        self.problems = self._reader.problems
        if first_ns is not None:
            self._recent.late(first_ns)
            self._in_flight.late(first_ns)
        return first_ns is not None

    def _start_over(self) -> None:
        self._recent, self._in_flight = EmissionCursor(recent=True), EmissionCursor()
        self._table = None

    def _reach(self, at_ns: int) -> int:
        """What comes late in a living run must not be passed over: no further than the newest."""
        return max(0, min(at_ns, self._record.newest_ns))

    def _stamp(self) -> tuple[int, int] | None:
        try:
            status = self.folder.run_json.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino

    @staticmethod
    def _settings(content: dict[str, Any]) -> tuple[Any, ...]:
        return content.get("warmup_s"), str((content.get("spec") or {}).get("slo"))


def open_view(folder: RunFolder, clock: Callable[[], int] = time.monotonic_ns) -> RunView:
    """A run, read as far as it has come.

    Args:
        clock: the system's monotonic nanoseconds.

    Raises:
        StoreError: it is no readable run.
    """
    view = RunView(folder, clock)
    view.refresh()
    return view
