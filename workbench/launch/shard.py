"""A further load process: `python -m workbench.launch.shard FOLDER NUMBER COUNT`.

Started by the runner alone (`workbench.launch.shards` has the words that pass between the two).
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from pathlib import Path

from workbench.errors import USER_ERRORS
from workbench.launch.loop import run_loop
from workbench.launch.process import log_traceback
from workbench.launch.target import open_target
from workbench.launch.traffic import plan_traffic
from workbench.runs.clock import RunClock
from workbench.runs.folder import RunFolder
from workbench.runs.knobs import Ask, Knobs
from workbench.runs.recorder import Recorder
from workbench.runs.runner import StopRequest
from workbench.spec import RunSpec, parse_spec
from workloads.traffic import Shard


def main() -> int:
    """Offers its part of the run's traffic; returns the exit code."""
    os.umask(0o077)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the runner hears these, and tells
    folder, shard = RunFolder(Path(sys.argv[1])), Shard(int(sys.argv[2]), int(sys.argv[3]))
    try:
        spec = parse_spec(folder.read()["spec"], str(folder.run_json))
        _offer(folder, spec, shard)
    except BaseException as error:
        if not isinstance(error, USER_ERRORS):
            log_traceback()
        _say("failed " + " ".join(str(error).split()))
        return 1
    _say("ended")
    return 0


def _offer(folder: RunFolder, spec: RunSpec, shard: Shard) -> None:
    clock, stop, knobs = RunClock(), StopRequest(), Knobs()
    target = open_target(spec, clock, lambda _: None)
    plan = plan_traffic(spec, target, lambda: None, shard)
    recorder = Recorder(
        folder,
        int(spec.record.flush * 1e9),
        spec.record.fsync == "segments",
        shard=shard.index,
    )
    gc.collect()
    gc.freeze()
    _say("ready")
    word, _, origin = sys.stdin.readline().partition(" ")
    if word != "start":
        return
    clock.origin_ns = int(origin)
    threading.Thread(target=_listen, args=(stop, knobs), name="runner", daemon=True).start()
    failed = True
    try:
        run_loop(spec, target, plan, recorder, clock, stop, lambda _: None, knobs)
        failed = False
    finally:
        if recorder.close() and not failed:
            raise OSError("the disk took no more segments")
        target.engine.close()


def _listen(stop: StopRequest, knobs: Knobs) -> None:
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word == "pace":
            at_ns, speed = rest.split()
            knobs.pending.append(Ask(speed=float(speed), at_ns=int(at_ns)))
        else:
            stop.ask(rest, at_once=word == "halt")
    stop.ask("the runner went away", at_once=False)


def _say(word: str) -> None:
    print(word, flush=True)


if __name__ == "__main__":
    os._exit(main())
