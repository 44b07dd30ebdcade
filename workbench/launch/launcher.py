"""Starts the runner as a process of its own and watches its folder.

The watcher and the runner share nothing but the folder, one pipe that says that the watcher is
alive, and signals. So drawing costs the engine nothing, and a crash of one side never takes the
other.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from workbench.errors import EXIT_BAD_USE, StoreError
from workbench.launch.finish import finish_run
from workbench.launch.threads import spin_briefly
from workbench.runs.folder import RunFolder, new_run_id
from workbench.runs.follow import SegmentFollower
from workbench.runs.groups import GroupMember
from workbench.runs.segments import SegmentTables
from workbench.runs.store import RunStore, load_run, recover
from workbench.spec import RunSpec

DETACHED = "--detached"
"""Tells the runner to go on when whoever started it is gone."""


def create_run(
    spec: RunSpec, out: Path | None, store: RunStore, group: GroupMember | None = None
) -> RunFolder:
    """Makes the run's folder: `out`, or one in the store. Raises `StoreError`.

    Args:
        group: its place among repeated runs, which also gives it its id.
    """
    run_id = new_run_id(spec.name or spec.what) if group is None else group.run_id
    return RunFolder.create(out or store.path_for(run_id), spec.as_dict(), run_id, group)


class Runner:
    """A running run, seen from outside."""

    def __init__(self, folder: RunFolder, detached: bool = False) -> None:
        """Starts the process.

        Args:
            detached: it goes on when this process ends; otherwise it then drains and ends.

        Raises:
            StoreError: the run is being run already, or the process can't be started.
        """
        self.folder = folder
        self._follower = SegmentFollower(folder)
        environ = dict(os.environ)
        spin_briefly(environ)
        lock = folder.lock()
        if lock is None:
            raise StoreError(f"{folder.path} is locked by another runner")
        words = [sys.executable, "-P", "-m", "workbench.launch.process", str(folder.path)]
        try:
            with folder.log.open("ab") as log:
                folder.log.chmod(0o600)
                self._process = subprocess.Popen(
                    [*words, DETACHED] if detached else words,
                    stdin=subprocess.DEVNULL if detached else subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env=environ,
                    pass_fds=(lock,),
                    start_new_session=True,
                )
        except OSError as error:
            raise StoreError(f"the runner can't be started: {error.strerror}") from None
        finally:
            os.close(lock)

    @property
    def pid(self) -> int:
        """The runner's process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative where a signal killed it."""
        return self._process.poll()

    def interrupt(self) -> None:
        """Asks it to stop arrivals and drain; the second time, to stop at once."""
        self._signal(signal.SIGINT)

    def terminate(self) -> None:
        """Asks it to stop at once and save."""
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            self._process.send_signal(number)

    def new_segments(self) -> Iterator[SegmentTables]:
        """Segments that have come since the last call, in order."""
        return self._follower.new()

    def watch(self, period_s: float, look: Callable[[], None]) -> int:
        """Calls `look` every `period_s` until the runner has ended; returns its exit code."""
        while (code := self._process.poll()) is None:
            look()
            self._wait(period_s)
        look()
        return code

    def _wait(self, period_s: float) -> None:
        deadline = time.monotonic() + period_s
        while time.monotonic() < deadline and self._process.poll() is None:
            time.sleep(min(0.05, period_s))


def log_tail(folder: RunFolder, lines: int = 12) -> str:
    """The last lines that the runner printed."""
    try:
        return "\n".join(folder.log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def settle(folder: RunFolder, code: int) -> dict[str, Any]:
    """The end of a run whose process is gone: recovered if it died without ending the run.

    A run that never began because of bad use leaves no folder behind.
    """
    run = load_run(folder)
    if run.content.get("exit_code") == EXIT_BAD_USE and "clock" not in run.content:
        folder.remove()
        return run.content
    if run.state == "dead":
        signal_name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        reason = f"its process ended by {signal_name}"
        try:
            folder.update(reason=reason)
            recover(load_run(folder), finish_run)
        except OSError as error:
            # What is there stays there: it can be recovered once the disk takes it.
            return run.content | {
                "state": "failed",
                "reason": f"{reason}, and it can't be recovered now: {error.strerror or error}",
            }
    return folder.read()
