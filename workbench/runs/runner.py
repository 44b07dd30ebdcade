"""The runner's loop: traffic into an engine, everything that happens into the record.

Arrivals are known ahead, so nothing sleeps while there is work: each step begins by taking in what
has become due. A step that is late makes requests late to the engine; their `scheduled_ns` stays
where the traffic wanted it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Protocol

from engines.base import Engine, RequestRecord, StepResult
from engines.scheduling.sequence import Status
from workbench.runs.knobs import Knobs
from workloads.patience import Patience
from workloads.request import Ended, Request
from workloads.traffic import Traffic

_IDLE_SLICE_NS = 20_000_000
_SPIN_NS = 200_000


class Record(Protocol):
    """Where a run is recorded (`runs.recorder.Recorder`), or thrown away."""

    def arrived(self, request: Request, submitted_ns: int) -> None: ...
    def ended(self, record: RequestRecord) -> None: ...
    def step(self, result: StepResult) -> None: ...
    def event(self, time_ns: int, kind: str, detail: str, request_id: int = -1) -> None: ...
    def flush_if_due(self, now_ns: int) -> None: ...


class NoRecord:
    """Keeps nothing; the other side of the recorder's A/B."""

    def arrived(self, request: Request, submitted_ns: int) -> None: ...
    def ended(self, record: RequestRecord) -> None: ...
    def step(self, result: StepResult) -> None: ...
    def event(self, time_ns: int, kind: str, detail: str, request_id: int = -1) -> None: ...
    def flush_if_due(self, now_ns: int) -> None: ...


@dataclass(slots=True)
class StopRequest:
    """Set from a signal handler: why to stop, and whether what is running may still end.

    `listeners` are told each time, in the handler: they must not wait for anything.
    """

    reason: str = ""
    at_once: bool = False
    listeners: list[Callable[[str, bool], None]] = field(default_factory=list)

    @property
    def wanted(self) -> bool:
        return bool(self.reason)

    def ask(self, reason: str, at_once: bool) -> None:
        """The first reason is kept; asking again can only hasten it."""
        self.at_once = self.at_once or at_once or self.wanted
        self.reason = self.reason or reason
        for listener in self.listeners:
            listener(self.reason, self.at_once)


@dataclass(frozen=True, slots=True)
class LoopEnd:
    """How the loop ended.

    Attributes:
        ended_ns: when nothing was left to do.
        last_scheduled_ns: the last arrival, -1 if there was none.
        offered: requests handed out; `unfinished` of them had not ended.
        interrupted: the reason if it was asked to stop before its traffic ended.
    """

    ended_ns: int
    last_scheduled_ns: int
    offered: int
    unfinished: int
    interrupted: str


def drive(
    engine: Engine,
    traffic: Traffic,
    record: Record,
    clock: Callable[[], int],
    stop: StopRequest,
    drain_ns: int,
    interrupt_drain_ns: int,
    phase: Callable[[str], None],
    sleep: Callable[[float], None] | None = None,
    patience: Patience | None = None,
    knobs: Knobs | None = None,
) -> LoopEnd:
    """Runs until the traffic is exhausted and the engine is empty, or drained long enough.

    Args:
        drain_ns: after the last arrival, how long requests may still take to end.
        interrupt_drain_ns: the same after a stop was asked for.
        phase: told "running" and "draining".
        sleep: how time passes while the engine is empty; `engine.rest` if it isn't given.
        patience: who leaves before the answer has come; nobody if it isn't given.
        knobs: what is asked of it meanwhile: another pace of the traffic, and marks.

    Whatever the engine raises goes through, after every request in it was recorded as failed.
    """
    phase("running")
    engine.keep_answers = traffic.needs_answers
    deadline: int | None = None
    draining = False
    interrupted = ""
    leaving = _Leaving(patience)
    knobs = knobs or Knobs()
    try:
        while True:
            now = clock()
            if knobs.pending:
                traffic = knobs.turn(now, traffic, record)
            for request in traffic.due(now):
                knobs.offered += 1
                record.arrived(request, now)
                rejected = engine.submit(request)
                if rejected is not None:
                    record.ended(rejected)
                    traffic.finished(_ended(rejected))
                else:
                    leaving.arrived(request)
            for request_id, reason in leaving.gone(now):
                cancelled = engine.cancel(request_id, Status.CANCELLED, reason)
                if cancelled is not None:
                    record.ended(cancelled)
                    traffic.finished(_ended(cancelled))
            if stop.wanted and not interrupted:
                interrupted = stop.reason
                traffic.stop()
                record.event(now, "phase", f"interrupted: {interrupted}")
                deadline = now + interrupt_drain_ns
            if traffic.exhausted and not draining:
                draining = True
                deadline = deadline or (traffic.last_scheduled_ns or 0) + drain_ns
                phase("draining")
                record.event(now, "phase", "draining")
            if stop.at_once or (deadline is not None and now >= deadline):
                break
            due_ns = _sooner(traffic.next_due_ns(), leaving.next_ns())
            if engine.has_work:
                result = engine.step(due_ns)
                if result is not None:
                    record.step(result)
                    for ended in result.records:
                        traffic.finished(_ended(ended))
            elif draining:
                break
            else:
                _wait(due_ns, clock, sleep or engine.rest)
            record.flush_if_due(now)
    except BaseException as error:
        _end_all(engine, record, Status.FAILED, f"{type(error).__name__}: {error}")
        raise
    ended_ns = clock()
    traffic = knobs.turn(ended_ns, traffic, record)  # a mark that came in its last moment
    why = f"stopped: {interrupted}" if interrupted else "the run ended first"
    unfinished = _end_all(engine, record, Status.UNFINISHED, why)
    rest = engine.step(ended_ns)  # a step in flight; what a remote engine had still to tell
    if rest is not None:
        record.step(rest)
    last = traffic.last_scheduled_ns
    return LoopEnd(ended_ns, -1 if last is None else last, traffic.offered, unfinished, interrupted)


class _Leaving:
    """Who will give up, and when."""

    def __init__(self, patience: Patience | None) -> None:
        self._patience = patience if patience is not None and patience.share > 0 else None
        self._by_time: list[tuple[int, int]] = []

    def arrived(self, request: Request) -> None:
        if self._patience is not None:
            leaves_ns = self._patience.leaves_ns(request.request_id, request.scheduled_ns)
            if leaves_ns is not None:
                heappush(self._by_time, (leaves_ns, request.request_id))

    def gone(self, now_ns: int) -> list[tuple[int, str]]:
        """Ids of those that have left by now, ended or not, and why."""
        left = []
        while self._by_time and self._by_time[0][0] <= now_ns:
            assert self._patience is not None
            reason = f"its user left after {self._patience.after_s:g} s"
            left.append((heappop(self._by_time)[1], reason))
        return left

    def next_ns(self) -> int | None:
        return self._by_time[0][0] if self._by_time else None


def _sooner(one_ns: int | None, other_ns: int | None) -> int | None:
    if one_ns is None or other_ns is None:
        return other_ns if one_ns is None else one_ns
    return min(one_ns, other_ns)


def _ended(record: RequestRecord) -> Ended:
    ok = record.status == Status.OK
    return Ended(record.request_id, record.finished_ns, ok, record.output_token_ids)


def _wait(due_ns: int | None, clock: Callable[[], int], sleep: Callable[[float], None]) -> None:
    """Sleeps until shortly before the next arrival, in slices; the loop spins over the rest."""
    left = _IDLE_SLICE_NS if due_ns is None else due_ns - clock() - _SPIN_NS
    if left > 0:
        sleep(min(left, _IDLE_SLICE_NS) / 1e9)


def _end_all(engine: Engine, record: Record, status: Status, reason: str) -> int:
    """Ends every request that the engine still has, each with its record; how many they were."""
    ids = engine.request_ids()
    for request_id in ids:
        ended = engine.cancel(request_id, status, reason)
        if ended is not None:
            record.ended(ended)
    return len(ids)
