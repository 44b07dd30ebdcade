"""The recorder: the engine's thread appends, a writer thread makes segments of it.

The hot path only puts references into lists. A few times a second these lists change hands; the
writer turns them into columns and a file while the engine computes.
"""

from __future__ import annotations

import operator
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.base import NO_STEP, EngineState, PoolState, RequestRecord, StepResult
from workbench.errors import RunError
from workbench.runs.folder import RunFolder
from workbench.runs.schema import (
    ARRIVALS,
    DEVICES,
    EMISSIONS,
    EVENTS,
    POOLS,
    REQUESTS,
    SERVER,
    STEPS,
    Table,
)
from workbench.runs.segments import (
    DTYPES,
    SegmentTables,
    decode_segment,
    encode_segment,
    write_segment,
)
from workloads.request import Request

Drain = Callable[[], Mapping[str, npt.NDArray[Any]]]
"""Gives the samples since the last call, by column; `time_ns` among them."""

EventRow = tuple[int, int, str, int, int, str]
"""time_ns, step, kind, request_id, tokens, detail; -1 where there is no step or request."""


@dataclass(slots=True)
class Batch:
    """What came in since the last flush."""

    arrivals: list[tuple[Any, ...]] = field(default_factory=list)
    records: list[RequestRecord] = field(default_factory=list)
    steps: list[StepResult] = field(default_factory=list)
    events: list[EventRow] = field(default_factory=list)
    pools: list[tuple[int, PoolState]] = field(default_factory=list)
    samples: dict[str, Mapping[str, npt.NDArray[Any]]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        rows = self.arrivals, self.records, self.steps, self.events, self.pools
        return any(rows) or bool(self.samples)


class Recorder:
    """Keeps everything that happens in a run, in segments of at most `flush_ns`.

    Args:
        folder: the run's.
        flush_ns: time between two segments.
        fsync_segments: whether each segment is synced to the disk before it counts.
        devices: drains the telemetry's new samples.
        server: drains what a remote server told of itself.
        shard: which load process of the run this is; 0 is the runner.
        state: what the engine holds now, asked at each flush for its KV pools.

    `flush_if_due` raises `RunError` once a segment could not be written; what is in memory is
    kept, and `close` tries again after giving up the folder's reserve.
    """

    def __init__(
        self,
        folder: RunFolder,
        flush_ns: int,
        fsync_segments: bool,
        devices: Drain | None = None,
        server: Drain | None = None,
        shard: int = 0,
        state: Callable[[], EngineState] | None = None,
    ) -> None:
        self._folder = folder
        self._segments = folder.segments_of(shard)
        self._segments.mkdir(mode=0o700, exist_ok=True)
        self._flush_ns = flush_ns
        self._fsync = fsync_segments
        self._drains = {
            table.name: drain
            for table, drain in ((DEVICES, devices), (SERVER, server))
            if drain is not None
        }
        self._state = state
        self._batch = Batch()
        self._flushed_ns: int | None = None
        self._sequence = 0
        self._failed: list[tuple[int, bytes]] = []
        self._failure: Exception | None = None
        self._queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="recorder", daemon=True)
        self._writer.start()

    def arrived(self, request: Request, submitted_ns: int) -> None:
        """A request was offered: from now on it is in the record, whatever happens."""
        self._batch.arrivals.append(arrival_row(request, submitted_ns))

    def ended(self, record: RequestRecord) -> None:
        """A request ended outside a step."""
        self._batch.records.append(record)

    def step(self, result: StepResult) -> None:
        """A step was computed; its records and events are taken from it."""
        self._batch.steps.append(result)

    def event(self, time_ns: int, kind: str, detail: str, request_id: int = -1) -> None:
        """Something that belongs to no step."""
        self._batch.events.append((time_ns, -1, kind, request_id, 0, detail))

    def flush_if_due(self, now_ns: int) -> None:
        """Hands over what came in, if the last time is long enough ago.

        Raises:
            RunError: an earlier segment could not be written.
        """
        if self._flushed_ns is None:
            self._flushed_ns = now_ns
        if now_ns - self._flushed_ns >= self._flush_ns:
            self.flush(now_ns)

    def flush(self, now_ns: int) -> None:
        """Hands over what came in, now. Raises as `flush_if_due` does."""
        self._flushed_ns = now_ns
        if self._state is not None:
            self._batch.pools = [(now_ns, pool) for pool in self._state().pools]
        self._hand_over()
        if self._failure is not None:
            raise RunError(
                f"the run's record can't be written to {self._folder.path}: "
                f"{self._failure}; free space or choose another --out"
            )

    def close(self) -> list[SegmentTables]:
        """Writes what is left and ends the writer.

        Returns:
            Segments that could not be written even after the reserve was given up: still only
            in memory.
        """
        self._hand_over()
        self._queue.put(None)
        self._writer.join()
        if self._failed:
            self._folder.give_up("reserve-segments")
            again, self._failed = self._failed, []
            for sequence, data in again:
                self._put(sequence, data)
        return [decode_segment(data, f"segment {number}") for number, data in self._failed]

    def _hand_over(self) -> None:
        batch = self._batch
        for table, drain in self._drains.items():
            samples = drain()
            if len(samples["time_ns"]):
                batch.samples[table] = samples
        if batch:
            self._batch = Batch()
            self._queue.put(batch)

    def _write(self) -> None:
        while (batch := self._queue.get()) is not None:
            try:
                data = encode_segment(self._sequence, columns_of(batch))
            except Exception as error:  # a defect here must end the run, not silence its record
                self._failure = error
                continue
            self._put(self._sequence, data)
            self._sequence += 1

    def _put(self, sequence: int, data: bytes) -> None:
        try:
            write_segment(self._segments, sequence, data, self._fsync)
        except OSError as error:
            self._failed.append((sequence, data))
            self._failure = error


def columns_of(batch: Batch) -> dict[str, dict[str, Any]]:
    """A batch as the tables of a segment."""
    steps = batch.steps
    records = batch.records + [record for step in steps for record in step.records]
    events = batch.events + [
        (step.end_ns, step.index, event.kind, event.request_id, event.tokens, event.detail)
        for step in steps
        for event in step.events
    ]
    rows: tuple[tuple[Table, Sequence[tuple[Any, ...]]], ...] = (
        (ARRIVALS, batch.arrivals),
        (REQUESTS, [_request_row(record) for record in records]),
        (STEPS, [_step_row(step) for step in steps if step.index != NO_STEP]),
        (EVENTS, events),
        (POOLS, [_pool_row(time_ns, pool) for time_ns, pool in batch.pools]),
    )
    tables = {table.name: _by_column(table, some) for table, some in rows if some}
    if steps:
        tables[EMISSIONS.name] = {
            "request_id": np.concatenate([step.emitted_ids for step in steps]),
            "tokens": np.concatenate([step.emitted_tokens for step in steps]).astype(np.int32),
        }
        own_stamps = [step.emitted_ns for step in steps if step.emitted_ns is not None]
        if own_stamps:
            tables[EMISSIONS.name]["time_ns"] = np.concatenate(own_stamps)
    tables.update({name: dict(samples) for name, samples in batch.samples.items()})
    return tables


def _by_column(table: Table, rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    """Rows with the table's columns in its order, as columns."""
    columns = zip(table.columns, zip(*rows, strict=True), strict=True)
    return {
        column.name: values if column.kind == "text" else np.array(values, DTYPES[column.kind])
        for column, values in columns
    }


def arrival_row(request: Request, submitted_ns: int) -> tuple[Any, ...]:
    """A request as a row of `ARRIVALS`."""
    return (
        request.request_id, request.scheduled_ns, submitted_ns, request.prompt_tokens,
        request.max_tokens, request.priority, request.fitted, request.session_id, request.turn,
    )  # fmt: skip


_request_row = operator.attrgetter(*REQUESTS.names)


def _step_row(step: StepResult) -> tuple[Any, ...]:
    """A step as a row of `STEPS`."""
    return (
        step.index, step.kind, step.schedule_ns, step.start_ns, step.end_ns, step.num_seqs,
        step.prefill_tokens, step.decode_tokens, len(step.emitted_ids), step.running,
        step.waiting, step.live_blocks, step.cached_blocks, step.worker, step.blocked,
        step.launch_ns, step.gpu_start_ns, step.gpu_end_ns, step.planned_ns,
    )  # fmt: skip


def _pool_row(time_ns: int, pool: PoolState) -> tuple[Any, ...]:
    """A pool as a row of `POOLS`."""
    return (
        time_ns, pool.name, pool.block_size, pool.usable, pool.free, pool.live, pool.cached,
        pool.shared, *pool.live_by_references, *pool.cached_by_reuses,
    )  # fmt: skip
