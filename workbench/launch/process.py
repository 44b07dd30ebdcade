"""The runner's process: `python -m workbench.launch.process FOLDER`.

Loads the engine, calibrates, drives the traffic, records, and ends the run, each time leaving a
readable run behind. Whoever started it watches the folder; if that process goes away, this one
drains and ends.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

from profiles.telemetry import Telemetry, open_telemetry
from workbench.errors import EXIT_BAD_USE, EXIT_OK, EXIT_RUN_FAILED, USER_ERRORS, RunError
from workbench.launch.finish import finish_run
from workbench.launch.loop import run_loop
from workbench.launch.shards import START_IN_NS, Shards
from workbench.launch.target import Target, open_target
from workbench.launch.traffic import TrafficPlan, plan_traffic
from workbench.runs.clock import RunClock
from workbench.runs.environment import environment
from workbench.runs.folder import RunFolder
from workbench.runs.recorder import Recorder
from workbench.runs.runner import StopRequest
from workbench.spec import RunSpec, parse_spec
from workloads.traffic import Shard


def main() -> int:
    """Runs the run in the folder that the first argument names; returns the exit code."""
    folder = RunFolder(Path(sys.argv[1]))
    stop = StopRequest()
    _listen(stop)
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
    folder.update(state="loading", environment=environment())
    with Shards(folder, spec.target.processes) as shards:
        stop.listeners.append(shards.stop)
        target = open_target(spec, clock, lambda message: _progress(folder, message))
        folder.update(engine=target.engine.describe(), progress="")
        shard = Shard(0, spec.target.processes)
        plan = plan_traffic(spec, target, lambda: _phase(folder, "calibrating"), shard)
        telemetry = None if spec.profile == "none" else open_telemetry(clock)
        recorder = Recorder(
            folder,
            int(spec.record.flush * 1e9),
            spec.record.fsync == "segments",
            telemetry.drain if telemetry is not None else None,
            target.server_samples,
        )
        shards.wait_ready()
        gc.collect()
        gc.freeze()
        clock.start(START_IN_NS if spec.target.processes > 1 else 0)
        shards.start(clock.origin_ns)
        folder.update(clock={"origin_monotonic_ns": clock.origin_ns}, **plan.as_dict())
        if telemetry is not None:
            telemetry.start()
        state, reason, code = "finished", "", EXIT_OK
        try:
            end = run_loop(
                spec, target, plan, recorder, clock, stop, lambda phase: _phase(folder, phase)
            )
            failures = shards.failures()
            if failures:
                raise RunError("; ".join(failures))
            if end.interrupted:
                state, reason, code = "interrupted", end.interrupted, EXIT_RUN_FAILED
        except BaseException as error:
            log_traceback()
            state, reason, code = "failed", _explained(error), EXIT_RUN_FAILED
            recorder.event(clock(), "error", reason)
        told = _while_it_ran(plan, target)
        return _save(folder, recorder, telemetry, state, reason, code, clock, told)


def _while_it_ran(plan: TrafficPlan, target: Target) -> dict[str, Any]:
    """What only shows once the traffic has been offered."""
    return {"traffic": plan.as_dict()["traffic"], "engine": target.engine.describe()}


def _save(
    folder: RunFolder,
    recorder: Recorder,
    telemetry: Telemetry | None,
    state: str,
    reason: str,
    code: int,
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
    _phase(folder, "saving")
    content = finish_run(folder, state, reason, unwritten, extra)
    return code if content["state"] == state else EXIT_RUN_FAILED


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


def _phase(folder: RunFolder, state: str) -> None:
    """Tells watchers; a full disk must not end the run here but where its record is written."""
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


def _listen(stop: StopRequest) -> None:
    """Signals, and the end of the process that started this one, ask the loop to stop."""

    def on_signal(number: int, _: FrameType | None) -> None:
        stop.ask(signal.Signals(number).name, at_once=number != signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)

    def watch_parent() -> None:
        while sys.stdin.buffer.read(4096):
            pass
        stop.ask("the process that started it went away", at_once=False)

    threading.Thread(target=watch_parent, name="parent", daemon=True).start()


if __name__ == "__main__":
    code = main()
    # Threads of torch or NVML that hang at exit must not hold up a run that is saved.
    os._exit(code)
