"""A program in a terminal of its own: starts it, types, and tells when something was painted."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import psutil


class Terminal:
    """A pseudo-terminal of `columns` × `rows` with a program in it.

    What the program paints is read and searched as it comes, in the thread that waits for it.
    """

    def __init__(self, words: Sequence[str], columns: int, rows: int, **environ: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.started = time.perf_counter()
        self._process = subprocess.Popen(
            words,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env=os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"} | environ,
        )
        os.close(slave)
        self.process = psutil.Process(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self.read_for(0.2)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._master)

    def type(self, keys: str) -> float:
        """Types `keys`; when, on the clock of `time.perf_counter`."""
        os.write(self._master, keys.encode())
        return time.perf_counter()

    def wait_for(self, *texts: str, limit_s: float = 30.0) -> float:
        """When one of `texts` was painted, on the clock of `time.perf_counter`.

        Raises:
            TimeoutError: it was not painted in time; the message has the last that was.
        """
        wanted, seen = [text.encode() for text in texts], b""
        deadline = time.perf_counter() + limit_s
        while time.perf_counter() < deadline:
            seen = seen[-(1 << 20) :] + self._read(deadline - time.perf_counter())
            if any(text in seen for text in wanted):
                return time.perf_counter()
        raise TimeoutError(f"{texts} were not painted in {limit_s:g} s; last: {seen[-500:]!r}")

    def read_for(self, seconds: float) -> int:
        """Reads what is painted in so many seconds; how many bytes that were."""
        deadline, count = time.perf_counter() + seconds, 0
        while (left := deadline - time.perf_counter()) > 0:
            count += len(self._read(left))
        return count

    def _read(self, limit_s: float) -> bytes:
        ready, _, _ = select.select([self._master], [], [], max(0.0, limit_s))
        if not ready:
            return b""
        try:
            return os.read(self._master, 1 << 16)
        except OSError:  # the program has ended
            time.sleep(max(0.0, min(limit_s, 0.05)))
            return b""
