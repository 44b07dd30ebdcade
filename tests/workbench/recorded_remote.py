"""The recorded run of a remote server, which tells of tokens as they come and little else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engines.base import NO_STEP, RequestRecord, StepResult
from workbench.runs.folder import RunFolder
from workbench.runs.recorder import Recorder
from workbench.runs.schema import SERVER
from workloads.request import Request

MS = 1_000_000
S = 1_000_000_000

Sample = Mapping[str, npt.NDArray[Any]]


class Clock(Protocol):
    now_ns: int


class Arrivals(Protocol):
    def due(self, now_ns: int) -> list[Request]: ...


def record_remote(folder: RunFolder, clock: Clock, traffic: Arrivals) -> None:
    """A server that needs 120 ms to the first token and 15 ms for each further one."""
    recorder = Recorder(folder, S // 4, False, server=_server(clock))
    stories: list[tuple[int, Callable[[], None]]] = []
    for request in traffic.due(1 << 60):
        scheduled_ns = request.scheduled_ns
        stamps = scheduled_ns + 120 * MS + 15 * MS * np.arange(request.max_tokens, dtype=np.int64)
        stories.append((scheduled_ns, lambda r=request: recorder.arrived(r, r.scheduled_ns)))  # type: ignore[misc]
        stories += [
            (int(stamp), lambda r=request, t=int(stamp): recorder.step(_piece(r, t)))  # type: ignore[misc]
            for stamp in stamps
        ]
        ended = _remote_record(request, stamps)
        stories.append((ended.finished_ns, lambda e=ended: recorder.ended(e)))  # type: ignore[misc]
    for time_ns, tell in sorted(stories, key=lambda story: story[0]):
        clock.now_ns = time_ns
        recorder.flush_if_due(time_ns)
        tell()
    recorder.flush(clock.now_ns)
    assert recorder.close() == []


def _piece(request: Request, time_ns: int) -> StepResult:
    one = np.ones(1, np.int64)
    return StepResult(
        NO_STEP, "remote", 0, 0, 0, 0, 0, 0, one * request.request_id, one, 0, 0, 0, 0,
        emitted_ns=one * time_ns,
    )  # fmt: skip


def _remote_record(request: Request, stamps: npt.NDArray[np.int64]) -> RequestRecord:
    values: dict[str, Any] = dict.fromkeys(RequestRecord.__dataclass_fields__, 0) | {
        "request_id": request.request_id,
        "status": "ok",
        "reason": "",
        "scheduled_ns": request.scheduled_ns,
        "admitted_ns": request.scheduled_ns + MS,
        "started_ns": -1,
        "prefilled_ns": -1,
        "transferred_ns": -1,
        "first_token_ns": int(stamps[0]),
        "last_token_ns": int(stamps[-1]),
        "finished_ns": int(stamps[-1]) + MS,
        "prompt_tokens": request.prompt_tokens,
        "max_tokens": request.max_tokens,
        "output_tokens": len(stamps),
        "first_tokens": 1,
        "fitted": False,
        "session_id": request.session_id,
        "turn": request.turn,
        "output_token_ids": None,
    }
    return RequestRecord(**values)


def _server(clock: Clock) -> Callable[[], Sample]:
    """The server's metrics, once a second; it does not tell of its prefix cache."""
    read: list[int] = []

    def drain() -> Sample:
        first = read[-1] + S if read else 0
        times_ns = np.arange(first, clock.now_ns + 1, S)
        read.extend(times_ns.tolist())
        columns: dict[str, Any] = {name: np.full(len(times_ns), np.nan) for name in SERVER.names}
        return columns | {
            "time_ns": times_ns,
            "running": times_ns / S % 5,
            "waiting": times_ns / S % 3,
            "kv_usage": times_ns / S % 10 / 10,
        }

    return drain
