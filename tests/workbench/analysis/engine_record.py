"""Records of the real scheduler, driven by the real loop on a clock of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from engines.base import StepResult
from engines.compute.worker import Computed
from engines.monolithic import MonolithicEngine
from engines.scheduling.blocks import BlockPool
from engines.scheduling.config import SchedulerConfig
from engines.scheduling.scheduler import Scheduler
from profiles.ranges import Ranges
from workbench.runs.runner import NoRecord, StopRequest, drive
from workbench.runs.schema import EMISSIONS, EVENTS, REQUESTS, STEPS
from workbench.runs.tables import polars_schema
from workloads.request import Request


class _Clock:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 137
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(1, int(seconds * 1e9))


class _Worker:
    """A step takes longer with every token in it, and now and then much longer. With overlap the
    host goes on meanwhile, and waits for it when it collects."""

    def __init__(self, clock: _Clock, rng: np.random.Generator, overlaps: bool) -> None:
        self._clock, self._rng, self.overlaps = clock, rng, overlaps
        self._done_ns = 0

    def execute(self, plan: Any, table: Any) -> Any:
        return self.collect(self.launch(plan, table)).tokens

    def launch(self, plan: Any, table: Any) -> tuple[int, Computed]:
        jitter = self._rng.exponential(1.0) + (20 if self._rng.random() < 0.02 else 0)
        takes_ns = int((3 + 0.05 * plan.num_tokens + jitter) * 1_000_000)
        self._done_ns = max(self._done_ns, self._clock.now) + takes_ns
        if not self.overlaps:
            self._clock.now = self._done_ns
        return self._done_ns, Computed(np.ones(int(plan.samples.sum()), np.int32))

    def collect(self, launched: tuple[int, Computed]) -> Computed:
        done_ns, computed = launched
        self._clock.now = max(self._clock.now, done_ns)
        return computed

    def close(self) -> None: ...


class _Arrivals:
    needs_answers = False
    fitted = 0

    def __init__(self, requests: list[Request]) -> None:
        self._requests, self.offered = requests, 0
        self.last_scheduled_ns: int | None = None

    def due(self, now_ns: int) -> list[Request]:
        due = []
        while self._requests and self._requests[0].scheduled_ns <= now_ns:
            due.append(self._requests.pop(0))
            self.last_scheduled_ns = due[-1].scheduled_ns
        self.offered += len(due)
        return due

    def next_due_ns(self) -> int | None:
        return self._requests[0].scheduled_ns if self._requests else None

    def finished(self, ended: Any) -> None: ...

    def stop(self) -> None:
        self._requests.clear()

    @property
    def exhausted(self) -> bool:
        return not self._requests


class _Notes(NoRecord):
    def __init__(self) -> None:
        self.records: list[Any] = []
        self.steps: list[StepResult] = []

    def ended(self, record: Any) -> None:
        self.records.append(record)

    def step(self, result: StepResult) -> None:
        self.steps.append(result)
        self.records += result.records


def record_of_engine(
    seed: int,
    count: int = 40,
    blocks: int = 40,
    seqs: int = 6,
    drain_s: float = 1000.0,
    overlaps: bool = False,
) -> dict[str, pl.DataFrame]:
    """`requests`, `steps`, `emissions` and `events` of a run that is short of KV blocks."""
    rng = np.random.default_rng(seed)
    clock = _Clock()
    config = SchedulerConfig(max_num_seqs=seqs, max_num_batched_tokens=64, max_model_len=256)
    engine = MonolithicEngine(
        Scheduler(config, BlockPool(blocks, 8)), _Worker(clock, rng, overlaps), clock, Ranges()
    )
    at = np.cumsum(rng.exponential(30e6, count)).astype(np.int64).tolist()
    requests = [
        Request(
            number,
            at[number],
            rng.integers(0, 4, int(rng.integers(1, 150))).astype(np.int32),
            int(rng.integers(1, 60)),
        )
        for number in range(count)
    ]
    notes = _Notes()
    drive(
        engine, _Arrivals(requests), notes, clock, StopRequest(), int(drain_s * 1e9), 0,
        lambda phase: None, clock.sleep,
    )  # fmt: skip
    return _frames(notes)


def _frames(notes: _Notes) -> dict[str, pl.DataFrame]:
    requests = [
        {name: getattr(record, name) for name in REQUESTS.names} for record in notes.records
    ]
    steps = [
        {
            name: len(step.emitted_ids)
            if name == "emitting"
            else step.index
            if name == "step"
            else getattr(step, name)
            for name in STEPS.names
        }
        for step in notes.steps
    ]
    emissions = [
        {"step": step.index, "time_ns": step.end_ns, "request_id": who, "tokens": tokens}
        for step in notes.steps
        for who, tokens in zip(step.emitted_ids.tolist(), step.emitted_tokens.tolist(), strict=True)
    ]
    events = [
        {
            "time_ns": step.end_ns,
            "step": step.index,
            "kind": event.kind,
            "request_id": event.request_id,
            "tokens": event.tokens,
            "detail": event.detail,
        }
        for step in notes.steps
        for event in step.events
    ]
    frames = {}
    for table, rows in (
        (REQUESTS, requests), (STEPS, steps), (EMISSIONS, emissions), (EVENTS, events)
    ):  # fmt: skip
        nullable = [column.name for column in table.columns if column.nullable]
        frames[table.name] = pl.DataFrame(rows, schema=polars_schema(table)).with_columns(
            pl.when(pl.col(name) != -1).then(pl.col(name)).alias(name) for name in nullable
        )
    return frames
