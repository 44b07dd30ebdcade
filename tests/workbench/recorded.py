"""Runs as they would have been recorded, made in a moment: the real scheduler, loop, recorder and
end of a run, with a clock that moves when a worker without a model computes.

Everything is a function of the arguments; the GPU in `devices` is made up.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from recorded_remote import record_remote

from engines.compute.worker import Computed
from engines.monolithic import MonolithicEngine
from engines.scheduling.blocks import BlockPool
from engines.scheduling.config import SchedulerConfig
from engines.scheduling.plan import StepPlan
from engines.scheduling.scheduler import Scheduler
from engines.scheduling.sequence import SequenceTable
from profiles.ranges import Ranges
from profiles.samples import VALUE_COLUMNS
from workbench.launch.finish import finish_run
from workbench.runs.folder import RunFolder
from workbench.runs.knobs import Ask, Knobs
from workbench.runs.recorder import Recorder
from workbench.runs.runner import StopRequest, drive
from workbench.runs.segments import list_segments
from workbench.spec import RunSpec
from workloads.patience import Patience
from workloads.request import Ended, Request

MS = 1_000_000
S = 1_000_000_000
BLOCK_SIZE = 16
USABLE_BLOCKS = 96
MAX_MODEL_LEN = 512
SHARED_PREFIX = 48
ORIGIN_NS = 7 * S
"""When the run's clock was 0 on the clock of whoever watches it."""

Sample = Mapping[str, npt.NDArray[Any]]


class FakeClock:
    """Moves when the engine computes, the loop sleeps, or, a little, when it is read."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        self.now_ns += 1_000
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += max(1, int(seconds * 1e9))


class TimedWorker:
    """Computes nothing; a step takes 12 ms, 1 ms a token and 0.02 ms a token of context."""

    overlaps = False

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    def launch(self, plan: StepPlan, table: SequenceTable) -> Computed:
        return Computed(self.execute(plan, table))

    def collect(self, launched: Computed) -> Computed:
        return launched

    def execute(self, plan: StepPlan, table: SequenceTable) -> npt.NDArray[np.int32]:
        tokens = int(plan.num_new_tokens.sum())
        context = int(plan.num_computed.sum())
        self._clock.now_ns += 12 * MS + tokens * MS + context * MS // 50
        return (plan.rows[plan.samples] + 5).astype(np.int32)

    def close(self) -> None: ...


class Conversations:
    """Poisson arrivals; prompts share one of two beginnings; one prompt is far too long."""

    needs_answers = False
    fitted = 0

    def __init__(self, seed: int, requests: int, rate_per_s: float) -> None:
        random = np.random.default_rng(seed)
        gaps_ns = random.exponential(1e9 / rate_per_s, requests)
        times_ns = np.cumsum(gaps_ns).astype(np.int64)
        beginnings = random.integers(100, 200, (2, SHARED_PREFIX), dtype=np.int32)
        self._waiting: list[Request] = []
        for number, time_ns in enumerate(times_ns.tolist()):
            own = int(random.integers(10, 300)) if number != 5 else MAX_MODEL_LEN
            prompt = np.append(beginnings[number % 2], random.integers(0, 90, own, np.int32))
            output = int(random.integers(4, 160)) if number % 9 else 1
            self._waiting.append(
                Request(number, time_ns, prompt, output, session_id=number // 4, turn=number % 4)
            )
        self.offered = 0
        self.last_scheduled_ns: int | None = None

    def due(self, now_ns: int) -> list[Request]:
        found = []
        while self._waiting and self._waiting[0].scheduled_ns <= now_ns:
            found.append(self._waiting.pop(0))
        self.offered += len(found)
        if found:
            self.last_scheduled_ns = found[-1].scheduled_ns
        return found

    def next_due_ns(self) -> int | None:
        return self._waiting[0].scheduled_ns if self._waiting else None

    def finished(self, ended: Ended) -> None: ...

    def stop(self) -> None:
        self._waiting.clear()

    @property
    def exhausted(self) -> bool:
        return not self._waiting


def recorded_run(
    path: Path,
    *,
    seed: int = 0,
    requests: int = 40,
    rate_per_s: float = 2.0,
    run_id: str = "20260101-120000-chat-0000",
    name: str = "",
    slo: Mapping[str, float] | None = None,
    gpus: int = 1,
    remote: bool = False,
    ending: str = "finished",
) -> RunFolder:
    """A run's folder, as `ending` says: "finished"; "interrupted"; "dead" (its runner is gone and
    left segments); "failed" (before its first request); "broken" (a file is cut off); "newer" (of
    a schema that nobody knows yet).
    """
    folder = _recorded(path, seed, requests, rate_per_s, run_id, name, slo, gpus, remote)
    if ending == "dead":
        return folder
    if ending == "failed":
        shutil.rmtree(folder.segments)
        folder.write(_without_traffic(folder.read()))
        return folder
    finish_run(
        folder, "interrupted" if ending == "interrupted" else "finished", "", (), _told(gpus)
    )
    if ending == "broken":
        steps = folder.parquet("steps")
        steps.write_bytes(steps.read_bytes()[:200])
    elif ending == "newer":
        folder.update(schema=99)
    return folder


class LiveRun:
    """A recorded run that happens once more, segment by segment; it lives until it is ended.

    Attributes:
        folder: where a viewer looks; now_ns: the newest stamp of what is there.
    """

    def __init__(self, path: Path, **options: Any) -> None:
        self._whole = recorded_run(path.parent / f".{path.name}-whole", ending="dead", **options)
        self.folder = RunFolder(path)
        shutil.copytree(self._whole.path, path)
        shutil.rmtree(self.folder.segments)
        self.folder.segments.mkdir()
        self._ahead = list_segments(self._whole.segments)
        self._lock = self.folder.lock()

    @property
    def left(self) -> int:
        """Segments that are still to come."""
        return len(self._ahead)

    def advance(self, segments: int = 1) -> list[Path]:
        """Lets segments come; returns them."""
        come, self._ahead = self._ahead[:segments], self._ahead[segments:]
        return [Path(shutil.copy(path, self.folder.segments)) for path in come]

    def finish(self, state: str = "finished") -> None:
        """Its runner saves it and is gone."""
        self.advance(self.left)
        finish_run(self.folder, state, "", (), _told(1))
        self.die()

    def die(self) -> None:
        """Its runner is gone."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _recorded(
    path: Path,
    seed: int,
    requests: int,
    rate_per_s: float,
    run_id: str,
    name: str,
    slo: Mapping[str, float] | None,
    gpus: int,
    remote: bool,
) -> RunFolder:
    duration_s = requests / rate_per_s
    spec = RunSpec.model_validate(
        {
            "name": name,
            "seed": seed,
            "traffic": {"duration": duration_s, "rate": rate_per_s},
            "slo": dict(slo or {}),
            "record": {"fsync": "never"},
            "target": {"url": "http://127.0.0.1:9/v1"} if remote else {},
        }
    )
    folder = RunFolder.create(path, spec.as_dict(), run_id)
    engine = _REMOTE if remote else _ENGINE
    folder.update(
        state="running",
        created="2026-01-01T12:00:00.000+00:00",
        environment={"hardware": {"hardware_key": "made-up", "cpu_model": "made up"}},
        engine=engine,
        progress="",
        clock={"origin_monotonic_ns": ORIGIN_NS},
        duration_s=duration_s,
        warmup_s=duration_s / 10,
        rate_per_s=rate_per_s,
        calibration=None,
        traffic={"what": "chat", "arrival": "poisson", "notes": []},
    )
    clock = FakeClock()
    if remote:
        record_remote(folder, clock, Conversations(seed, requests, rate_per_s))
    else:
        _record_engine(folder, clock, Conversations(seed, requests, rate_per_s), seed, gpus)
    return folder


def _record_engine(
    folder: RunFolder, clock: FakeClock, traffic: Conversations, seed: int, gpus: int
) -> None:
    scheduler = Scheduler(
        SchedulerConfig(max_num_seqs=12, max_num_batched_tokens=96, max_model_len=MAX_MODEL_LEN),
        BlockPool(USABLE_BLOCKS + 1, BLOCK_SIZE),
    )
    engine = MonolithicEngine(scheduler, TimedWorker(clock), clock, Ranges())
    devices = _Devices(clock, gpus)
    recorder = Recorder(folder, S // 4, False, devices=devices.drain, state=engine.state)
    knobs = Knobs()
    knobs.pending += [
        Ask("knob", "rate × 1", 1.0),
        Ask("mark", "the first moment"),
    ]
    drive(
        engine,
        traffic,
        recorder,
        clock,
        StopRequest(),
        60 * S,
        10 * S,
        lambda phase: None,
        clock.sleep,
        Patience(0.1, 3.0, seed),
        knobs,
    )
    recorder.flush(clock.now_ns)
    assert recorder.close() == []


class _Devices:
    """Samples at 10 Hz of a host, and of GPUs that there are none of."""

    def __init__(self, clock: FakeClock, gpus: int) -> None:
        self._clock = clock
        self._names = (*(f"gpu{number}" for number in range(gpus)), "host")
        self._next_ns = 0

    def drain(self) -> Sample:
        times_ns = np.arange(self._next_ns, self._clock.now_ns, S // 10)
        self._next_ns += len(times_ns) * S // 10
        rows = len(times_ns) * len(self._names)
        columns: dict[str, Any] = {name: np.full(rows, np.nan) for name in VALUE_COLUMNS}
        columns["time_ns"] = np.repeat(times_ns, len(self._names))
        columns["period_ns"] = np.full(rows, S // 10)
        names = np.tile(np.array(self._names), len(times_ns))
        columns["device"] = names.tolist()
        wave = 50 + 40 * np.sin(columns["time_ns"] / 3e9)
        gpu, host = names != "host", names == "host"
        columns["utilization_percent"][gpu] = wave[gpu]
        columns["power_watts"][gpu] = 100 + 5 * wave[gpu]
        columns["memory_used_bytes"][gpu] = 30 << 30
        columns["memory_total_bytes"][gpu] = 80 << 30
        columns["process_cpu_percent"][host] = 100 + wave[host] / 10
        columns["host_cpu_percent"][host] = wave[host]
        columns["process_rss_bytes"][host] = 2 << 30
        return columns


def _told(gpus: int) -> dict[str, Any]:
    reasons = {} if gpus else {"gpu": "NVML: NVML Shared Library Not Found"}
    return {"telemetry": {"period_s": 0.1, "reasons": reasons, "failures": {}, "missed_ticks": 0}}


def _without_traffic(content: dict[str, Any]) -> dict[str, Any]:
    kept = ("schema", "run_id", "name", "created", "spec", "environment", "progress")
    return {name: content[name] for name in kept} | {
        "state": "failed",
        "reason": "no memory for a KV pool of 9,999 blocks",
        "exit_code": 2,
    }


_ENGINE = {
    "name": "monolithic",
    "model": "made-up-135m",
    "model_kind": "embedded",
    "parameters": 134_515_008,
    "device": "cpu",
    "device_name": "cpu",
    "dtype": "float32",
    "attention": "reference",
    "block_size": BLOCK_SIZE,
    "num_blocks": USABLE_BLOCKS,
    "kv_bytes": 1 << 20,
    "max_num_seqs": 12,
    "max_num_batched_tokens": 96,
    "max_model_len": MAX_MODEL_LEN,
    "chunked_prefill": True,
    "prefix_caching": True,
    "policy": "fcfs",
    "batching": "continuous",
}
_REMOTE = {"name": "remote", "model": "made-up-8b", "url": "http://127.0.0.1:9/v1"}
