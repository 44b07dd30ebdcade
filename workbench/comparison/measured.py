"""A run as a comparison looks at it: its figures, and the raw samples of its window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from engines.options import REMOTE
from workbench.analysis.lookup import at
from workbench.analysis.metrics import Window, request_metrics
from workbench.analysis.steps import timed_steps
from workbench.analysis.summary import summarise
from workbench.comparison.records import NoTables, RunRecord
from workbench.errors import StoreError
from workbench.runs.schema import EMISSIONS, REQUESTS, STEPS, TABLES, Table

_REQUEST_COLUMNS = (
    "request_id", "status", "scheduled_ns", "admitted_ns", "started_ns", "prefilled_ns",
    "transferred_ns", "first_token_ns", "last_token_ns", "finished_ns", "prompt_tokens",
    "max_tokens", "output_tokens", "first_tokens", "cached_tokens", "preemptions",
    "recomputed_tokens", "recompute_ns", "ttft_recompute_ns",
)  # fmt: skip

_STEP_COLUMNS = (
    "step", "worker", "schedule_ns", "start_ns", "end_ns", "num_seqs", "prefill_tokens",
    "decode_tokens", "emitting", "running", "waiting", "kind", "launch_ns", "gpu_start_ns",
    "gpu_end_ns",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Frames:
    every_request: pl.DataFrame
    requests: pl.DataFrame
    every_step: pl.DataFrame
    steps: pl.DataFrame


class MeasuredRun:
    """A run's summary, and what its window holds; tables are read when they are first used.

    Attributes:
        summary: as saved, or of the requests that have ended so far; None where there are none.
        saved: whether the run has a summary of its own.
        window: the measured window; None without a summary.
        broken: which tables can't be read, and why; they count as empty.
    """

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        self.broken: dict[str, str] = {}
        self._frames: _Frames | None = None
        saved = record.content.get("summary")
        self.saved = saved is not None
        self.summary: Mapping[str, Any] | None = saved
        if not self.saved:
            try:
                self.summary = _summary_so_far(record)
            except StoreError as error:
                self.broken[REQUESTS.name] = str(error)
        window = at(self.summary, "window")
        self.window = (
            None if window is None else Window(int(window["start_ns"]), int(window["end_ns"]))
        )

    def load(self) -> None:
        """Reads requests and steps, once, so that several threads may then use them."""
        if self._frames is None:
            self._frames = self._read()

    @property
    def every_request(self) -> pl.DataFrame:
        """The whole run's requests, as they are recorded, in the columns that comparisons use."""
        return self._loaded.every_request

    @property
    def requests(self) -> pl.DataFrame:
        """The window's requests by id, with the columns of `metrics.request_metrics`."""
        return self._loaded.requests

    @property
    def every_step(self) -> pl.DataFrame:
        """The whole run's steps in order, in the columns that comparisons use; none of a remote
        run."""
        return self._loaded.every_step

    @property
    def steps(self) -> pl.DataFrame:
        """The steps that ended inside the window, in order, with the columns of
        `steps.timed_steps`."""
        return self._loaded.steps

    @property
    def _loaded(self) -> _Frames:
        self.load()
        assert self._frames is not None
        return self._frames

    def _read(self) -> _Frames:
        every_request = _by(self.table(REQUESTS, _REQUEST_COLUMNS), "request_id")
        every_step = _by(self.table(STEPS, _STEP_COLUMNS), "step")
        requests, steps = every_request.clear(), every_step.clear()
        if self.window is not None:
            requests = every_request.filter(self.window.holds("scheduled_ns"))
            steps = every_step.filter(self.window.holds("end_ns"))
        return _Frames(every_request, request_metrics(requests), every_step, timed_steps(steps))

    def emission_parts(self, most_rows: int) -> list[pl.DataFrame]:
        """See `RunTables`."""
        try:
            return self.record.tables.emission_parts(most_rows)
        except StoreError as error:
            self.broken[EMISSIONS.name] = str(error)
            return []

    def table(self, table: Table, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """A whole table, or some of its columns; without rows where it is absent or broken."""
        try:
            return self.record.tables.table(table, columns)
        except StoreError as error:
            self.broken[table.name] = str(error)
            return NoTables().table(table, columns)


def _by(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    return frame if frame[column].is_sorted() else frame.sort(column)


def _summary_so_far(record: RunRecord) -> Mapping[str, Any] | None:
    """Of a run that has no summary: over the requests that have ended; None if there are none."""
    requests = record.tables.table(REQUESTS)
    if not requests.height:
        return None
    warmup_ns = int(float(record.content.get("warmup_s") or 0) * 1e9)
    last = requests["scheduled_ns"].max()
    window = Window(warmup_ns, max(warmup_ns, int(last) if isinstance(last, int) else 0))
    engine, slo = at(record.content, "engine"), at(record.content, "spec", "slo") or {}
    return summarise(
        {table.name: record.tables.table(table) for table in TABLES if table.saved},
        window,
        slo={name: limit for name, limit in slo.items() if name != "require_attainment"},
        usable_blocks=at(engine, "num_blocks"),
        block_size=at(engine, "block_size"),
        remote=at(engine, "name") == REMOTE,
    ).as_dict()
