"""The runner's process: `python -m workbench.launch.process FOLDER [--detached]`.

Loads the engine, calibrates, drives the traffic, records, and ends the run, each time leaving a
readable run behind. Whoever started it watches the folder; if that process goes away, this one
drains and ends, unless it is detached.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from profiles.telemetry import Telemetry, open_telemetry
from workbench.errors import EXIT_BAD_USE, EXIT_OK, EXIT_RUN_FAILED, USER_ERRORS, RunError
from workbench.launch.control import ControlServer, Course
from workbench.launch.finish import finish_run
from workbench.launch.launcher import DETACHED
from workbench.launch.loop import run_loop
from workbench.launch.shards import PACE_IN_NS, START_IN_NS, Shards
from workbench.launch.target import Target, open_target
from workbench.launch.traffic import TrafficPlan, plan_traffic
from workbench.runs.clock import RunClock
from workbench.runs.environment import environment
from workbench.runs.folder import RunFolder
from workbench.runs.knobs import Knobs
from workbench.runs.recorder import Recorder
from workbench.runs.runner import LoopEnd, StopRequest
from workbench.spec import RunSpec, parse_spec
from workloads.traffic import Shard


@dataclass(frozen=True, slots=True)
class _Ended:
    """How the offering of a run's traffic ended."""

    state: str
    reason: str
    exit_code: int


def main() -> int:
    """Runs the run in the folder that the first argument names; returns the exit code."""
    folder = RunFolder(Path(sys.argv[1]))
    stop = StopRequest()
    _listen(stop, detached=DETACHED in sys.argv[2:])
    os.umask(0o077)
    try:
        spec = parse_spec(folder.read()["spec"], str(folder.run_json))
        return _run(folder, spec, stop)
    except USER_ERRORS as error:
        # Before the first request: nothing is lost, and the message says what to do.
        _note_failure(folder, str(error), EXIT_BAD_USE)
        return EXIT_BAD_USE
    except BaseException as error:
        log_traceback()
        _note_failure(folder, f"{type(error).__name__}: {error}", EXIT_RUN_FAILED)
        return EXIT_RUN_FAILED


def _run(folder: RunFolder, spec: RunSpec, stop: StopRequest) -> int:
    clock = RunClock()
    processes = spec.target.processes
    folder.update(state="loading", environment=environment())
    course = Course("loading", closed=spec.traffic.concurrency is not None)
    with Shards(folder, processes) as shards:
        knobs = Knobs(shards.pace, PACE_IN_NS) if processes > 1 else Knobs()
        stop.listeners.append(shards.stop)
        with _control(folder, course, knobs, stop):
            target = open_target(spec, clock, lambda message: _progress(folder, message))
            folder.update(engine=target.engine.describe(), progress="")
            calibrating = partial(_phase, folder, course, "calibrating")
            shard = Shard(0, processes)
            plan = None if stop.wanted else plan_traffic(spec, target, calibrating, shard)
            if plan is None or stop.wanted:
                return _end_before_it_began(folder, stop)
            course.rate_per_s = plan.rate_per_s
            telemetry = None if spec.profile == "none" else open_telemetry(clock)
            recorder = Recorder(
                folder,
                int(spec.record.flush * 1e9),
                spec.record.fsync == "segments",
                telemetry.drain if telemetry is not None else None,
                target.server_samples,
                state=target.engine.state,
            )
            shards.wait_ready()
            gc.collect()
            gc.freeze()
            clock.start(START_IN_NS if processes > 1 else 0)
            shards.start(clock.origin_ns)
            origins = {
                "origin_monotonic_ns": clock.origin_ns,
                "origin_unix_ns": clock.origin_unix_ns,
            }
            folder.update(clock=origins, **plan.as_dict())
            if telemetry is not None:
                telemetry.start()
            phase = partial(_phase, folder, course)
            ended = _offer(
                lambda: run_loop(spec, target, plan, recorder, clock, stop, phase, knobs),
                shards,
                recorder,
                clock,
            )
            _phase(folder, course, "saving")
        told = _while_it_ran(plan, target)
        return _save(folder, recorder, telemetry, ended, clock, told)


def _offer(
    loop: Callable[[], LoopEnd], shards: Shards, recorder: Recorder, clock: RunClock
) -> _Ended:
    """Runs the loop here and in the shards to its end; how that was."""
    try:
        end = loop()
        failures = shards.failures()
        if failures:
            raise RunError("; ".join(failures))
        if end.interrupted:
            return _Ended("interrupted", end.interrupted, EXIT_RUN_FAILED)
    except BaseException as error:
        log_traceback()
        reason = _explained(error)
        recorder.event(clock(), "error", reason)
        return _Ended("failed", reason, EXIT_RUN_FAILED)
    return _Ended("finished", "", EXIT_OK)


def _control(
    folder: RunFolder, course: Course, knobs: Knobs, stop: StopRequest
) -> AbstractContextManager[object]:
    """The control channel; where there can be none, the run goes on, and says why."""
    try:
        server = ControlServer(folder, course, knobs, stop)
    except OSError as error:
        folder.update(control=None, control_error=error.strerror or str(error))
        return contextlib.nullcontext()
    folder.update(control=str(server.path))
    return server


def _end_before_it_began(folder: RunFolder, stop: StopRequest) -> int:
    """The end of a run that was asked to stop before its first request."""
    finish_run(folder, "interrupted", stop.reason)
    return EXIT_RUN_FAILED


def _while_it_ran(plan: TrafficPlan, target: Target) -> dict[str, Any]:
    """What only shows once the traffic has been offered."""
    return {"traffic": plan.as_dict()["traffic"], "engine": target.engine.describe()}


def _save(
    folder: RunFolder,
    recorder: Recorder,
    telemetry: Telemetry | None,
    ended: _Ended,
    clock: RunClock,
    told: dict[str, Any],
) -> int:
    extra: dict[str, Any] = {"ended_ns": clock()} | told
    if telemetry is not None:
        telemetry.close()
        extra["telemetry"] = {
            "period_s": telemetry.period_ns / 1e9,
            "reasons": telemetry.reasons,
            "failures": telemetry.failures,
            "missed_ticks": telemetry.missed_ticks,
        }
    unwritten = recorder.close()
    content = finish_run(folder, ended.state, ended.reason, unwritten, extra)
    return ended.exit_code if content["state"] == ended.state else EXIT_RUN_FAILED


def _explained(error: BaseException) -> str:
    """The reason of a failed run, with what to do where that is known."""
    name = type(error).__name__
    if "OutOfMemory" in name or isinstance(error, MemoryError):
        return (
            f"out of memory in a step: {error}; lower max_num_batched_tokens, max_num_seqs or "
            "kv_memory"
        )
    if isinstance(error, USER_ERRORS):
        return str(error)
    return f"{name}: {error}"


def _phase(folder: RunFolder, course: Course, state: str) -> None:
    """Tells watchers; a full disk must not end the run here but where its record is written."""
    course.phase = state
    try:
        folder.update(state=state)
    except OSError:
        log_traceback()


def _progress(folder: RunFolder, message: str) -> None:
    folder.update(progress=message)


def _note_failure(folder: RunFolder, reason: str, exit_code: int) -> None:
    try:
        folder.give_up("reserve-end")
        folder.update(state="failed", reason=reason, exit_code=exit_code)
    except OSError:
        log_traceback()


def log_traceback() -> None:
    """The current exception into the runner's log, unless the disk doesn't take that either."""
    with contextlib.suppress(OSError):
        traceback.print_exc()
        sys.stderr.flush()


def _listen(stop: StopRequest, detached: bool) -> None:
    """Signals, and the end of the process that started this one, ask the loop to stop; of a
    detached one, signals alone."""

    def on_signal(number: int, _: FrameType | None) -> None:
        stop.ask(signal.Signals(number).name, at_once=number != signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)

    if detached:
        return

    def watch_parent() -> None:
        while sys.stdin.buffer.read(4096):
            pass
        stop.ask("the process that started it went away", at_once=False)

    threading.Thread(target=watch_parent, name="parent", daemon=True).start()


if __name__ == "__main__":
    code = main()
    # Threads of torch or NVML that hang at exit must not hold up a run that is saved.
    os._exit(code)
