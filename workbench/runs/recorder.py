"""The recorder: the engine's thread appends, a writer thread makes segments of it.

The hot path only puts references into lists. A few times a second these lists change hands; the
writer turns them into columns and a file while the engine computes.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.base import RequestRecord, StepResult
from workbench.errors import RunError
from workbench.runs.folder import RunFolder
from workbench.runs.schema import REQUESTS
from workbench.runs.segments import (
    SegmentTables,
    decode_segment,
    encode_segment,
    write_segment,
)
from workloads.request import Request

EventRow = tuple[int, int, str, int, int, str]
"""time_ns, step, kind, request_id, tokens, detail; -1 where there is no step or request."""


@dataclass(slots=True)
class _Batch:
    """What came in since the last flush."""

    arrivals: list[tuple[int, int, int, int, int, int, bool]] = field(default_factory=list)
    records: list[RequestRecord] = field(default_factory=list)
    steps: list[StepResult] = field(default_factory=list)
    events: list[EventRow] = field(default_factory=list)
    devices: Mapping[str, npt.NDArray[Any]] | None = None

    def __bool__(self) -> bool:
        has_devices = self.devices is not None and len(self.devices["time_ns"]) > 0
        return bool(self.arrivals or self.records or self.steps or self.events or has_devices)


class Recorder:
    """Keeps everything that happens in a run, in segments of at most `flush_ns`.

    Args:
        folder: the run's.
        flush_ns: time between two segments.
        fsync_segments: whether each segment is synced to the disk before it counts.
        devices: drains the telemetry's new samples.

    `flush_if_due` raises `RunError` once a segment could not be written; what is in memory is
    kept, and `close` tries again after giving up the folder's reserve.
    """

    def __init__(
        self,
        folder: RunFolder,
        flush_ns: int,
        fsync_segments: bool,
        devices: Callable[[], Mapping[str, npt.NDArray[Any]]] | None = None,
    ) -> None:
        self._folder = folder
        self._flush_ns = flush_ns
        self._fsync = fsync_segments
        self._devices = devices
        self._batch = _Batch()
        self._flushed_ns: int | None = None
        self._sequence = 0
        self._failed: list[tuple[int, bytes]] = []
        self._failure: Exception | None = None
        self._queue: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="recorder", daemon=True)
        self._writer.start()

    def arrived(self, request: Request, submitted_ns: int) -> None:
        """A request was offered: from now on it is in the record, whatever happens."""
        self._batch.arrivals.append(
            (
                request.request_id,
                request.scheduled_ns,
                submitted_ns,
                request.prompt_tokens,
                request.max_tokens,
                request.priority,
                request.fitted,
            )
        )

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
        if self._devices is not None:
            batch.devices = self._devices()
        if batch:
            self._batch = _Batch()
            self._queue.put(batch)

    def _write(self) -> None:
        while (batch := self._queue.get()) is not None:
            try:
                data = encode_segment(self._sequence, _columns(batch))
            except Exception as error:  # a defect here must end the run, not silence its record
                self._failure = error
                continue
            self._put(self._sequence, data)
            self._sequence += 1

    def _put(self, sequence: int, data: bytes) -> None:
        try:
            write_segment(self._folder.segments, sequence, data, self._fsync)
        except OSError as error:
            self._failed.append((sequence, data))
            self._failure = error


def _columns(batch: _Batch) -> dict[str, dict[str, Any]]:
    """A batch as the tables of a segment."""
    tables: dict[str, dict[str, Any]] = {}
    if batch.arrivals:
        names = (
            "request_id", "scheduled_ns", "submitted_ns", "prompt_tokens", "max_tokens", "priority",
        )  # fmt: skip
        rows = list(zip(*batch.arrivals, strict=True))
        tables["arrivals"] = {
            name: np.array(values, np.int64) for name, values in zip(names, rows, strict=False)
        } | {"fitted": np.array(rows[6], np.bool_)}
    steps = batch.steps
    records = batch.records + [record for step in steps for record in step.records]
    if records:
        tables["requests"] = _request_columns(records)
    if steps:
        tables["steps"] = _step_columns(steps)
        tables["emissions"] = {
            "request_id": np.concatenate([step.emitted_ids for step in steps]),
            "tokens": np.concatenate([step.emitted_tokens for step in steps]).astype(np.int32),
        }
    events = batch.events + [
        (step.end_ns, step.index, event.kind, event.request_id, event.tokens, event.detail)
        for step in steps
        for event in step.events
    ]
    if events:
        times, indices, kinds, ids, tokens, details = zip(*events, strict=True)
        tables["events"] = {
            "time_ns": np.array(times, np.int64),
            "step": np.array(indices, np.int64),
            "kind": kinds,
            "request_id": np.array(ids, np.int64),
            "tokens": np.array(tokens, np.int64),
            "detail": details,
        }
    if batch.devices is not None and len(batch.devices["time_ns"]):
        tables["devices"] = dict(batch.devices)
    return tables


def _request_columns(records: list[RequestRecord]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for column in REQUESTS.columns:
        values = [getattr(record, column.name) for record in records]
        if column.kind == "text":
            columns[column.name] = values
        else:
            columns[column.name] = np.array(values, np.bool_ if column.kind == "bool" else np.int64)
    return columns


def _step_columns(steps: list[StepResult]) -> dict[str, Any]:
    numbers = np.array(
        [
            (
                step.index, step.schedule_ns, step.start_ns, step.end_ns, step.num_seqs,
                step.prefill_tokens, step.decode_tokens, len(step.emitted_ids), step.running,
                step.waiting, step.live_blocks, step.cached_blocks,
            )
            for step in steps
        ],
        np.int64,
    )  # fmt: skip
    names = (
        "step", "schedule_ns", "start_ns", "end_ns", "num_seqs", "prefill_tokens", "decode_tokens",
        "emitting", "running", "waiting", "live_blocks", "cached_blocks",
    )  # fmt: skip
    columns: dict[str, Any] = {
        name: np.ascontiguousarray(numbers[:, index]) for index, name in enumerate(names)
    }
    return columns | {"kind": [step.kind for step in steps]}
