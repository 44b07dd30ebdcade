"""Load from several processes: the runner starts the others, and each offers a part of the traffic.

One process of Python sends some thousands of requests a second. `--processes N` deals the requests
out to N of them: the runner is number 0, and each writes segments of its own into the run's
folder, on the runner's clock.

    runner → shard   "start ORIGIN_NS", "pace AT_NS SPEED", "stop REASON", "halt REASON", one a
                     line on its stdin
    shard → runner   "ready", then "ended" or "failed REASON", one a line on its stdout
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from types import TracebackType
from typing import IO, Self

from workbench.errors import RunError, SpecError
from workbench.runs.folder import RunFolder

START_IN_NS = 100_000_000
"""How far ahead of now the common start is set, so that every process has heard of it."""

PACE_IN_NS = 50_000_000
"""The same for another pace of the traffic."""


class Shards:
    """The further load processes of a run, seen from the runner. Ends them when it is left."""

    def __init__(self, folder: RunFolder, processes: int) -> None:
        """Starts processes 1 to `processes` - 1.

        Raises:
            RunError: one can't be started.
        """
        self._processes: list[subprocess.Popen[bytes]] = []
        for number in range(1, processes):
            words = [
                sys.executable, "-P", "-m", "workbench.launch.shard",
                str(folder.path), str(number), str(processes),
            ]  # fmt: skip
            try:
                with folder.log.open("ab") as log:
                    process = subprocess.Popen(
                        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
                    )
            except OSError as error:
                self.close()
                raise RunError(f"load process {number} can't be started: {error}") from None
            self._processes.append(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def wait_ready(self) -> None:
        """Returns when every process could start at once.

        Raises:
            SpecError: one can't, with its reason.
        """
        for number, process in enumerate(self._processes, 1):
            said = _line(process.stdout)
            if said != "ready":
                raise SpecError(f"load process {number}: {_reason(said)}")

    def start(self, origin_ns: int) -> None:
        """Sets every process's clock to the run's and lets it begin."""
        self._tell(f"start {origin_ns}")

    def stop(self, reason: str, at_once: bool) -> None:
        """Asks them to stop; may be called from a signal handler, and again."""
        self._tell(f"{'halt' if at_once else 'stop'} {reason}")

    def pace(self, at_ns: int, speed: float) -> None:
        """Lets their traffic pass at `speed` from a moment of the run on."""
        self._tell(f"pace {at_ns} {speed!r}")

    def failures(self) -> list[str]:
        """Waits until all have ended; why those that failed did."""
        failed = []
        for number, process in enumerate(self._processes, 1):
            said = _line(process.stdout)
            process.wait()
            if said != "ended":
                failed.append(f"load process {number}: {_reason(said)}")
        return failed

    def close(self) -> None:
        """Makes them go, whatever they do."""
        for process in self._processes:
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
            if process.poll() is None:
                process.kill()
                process.wait()

    def _tell(self, message: str) -> None:
        for process in self._processes:
            assert process.stdin is not None
            # Below the pipe's atomic size, and unbuffered: a signal handler may interrupt another.
            with contextlib.suppress(OSError):
                os.write(process.stdin.fileno(), message.encode() + b"\n")


def _line(stream: IO[bytes] | None) -> str:
    assert stream is not None
    return stream.readline().decode(errors="replace").strip()


def _reason(said: str) -> str:
    return said.removeprefix("failed ").strip() or "it ended without saying why; see runner.log"
