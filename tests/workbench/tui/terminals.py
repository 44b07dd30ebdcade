"""The app as a process in a terminal of its own, which can be closed under it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from processes import wait_for

LIMIT_S = 60
RESTORED = ("\x1b[?1049l", "\x1b[?25h", "\x1b[?1000l", "\x1b[?1003l", "\x1b[?2004l")
"""Off: the alternate screen, the hidden cursor, the mouse twice, bracketed paste."""

_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


class Terminal:
    """A pseudo-terminal whose first process is Python with `words`; all it paints is kept."""

    def __init__(
        self, *words: str, columns: int = 120, rows: int = 36, **environ: str | None
    ) -> None:
        self._master, self._slave = pty.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = self.attributes()
        given = os.environ | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"} | environ
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *words],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            start_new_session=True,
            env={name: value for name, value in given.items() if value is not None},
        )
        self._painted = bytearray()
        self._reads = threading.Event()
        self._reads.set()
        self._open = True
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.close()

    @property
    def painted(self) -> str:
        """Everything that was written to the terminal."""
        return self._painted.decode(errors="replace")

    def attributes(self) -> list[Any]:
        """What the terminal is set to."""
        return termios.tcgetattr(self._slave)

    def type(self, keys: str) -> int:
        """Types; how much was painted before."""
        painted = len(self.painted)
        os.write(self._master, keys.encode())
        return painted

    def wait_for(self, text: str, since: int = 0) -> None:
        """Waits until `text` is painted."""
        wait_for(
            lambda: text in self.painted[since:],
            lambda: (
                f"{text!r} was not painted; exit code {self.process.poll()}; last: "
                f"{self.painted[-800:]!r}"
            ),
        )

    def press(self, keys: str, text: str) -> None:
        """Types, and waits until `text` is painted after that."""
        self.wait_for(text, self.type(keys))

    def ended(self) -> int:
        """The exit code, once there is one and all that was painted has been read."""
        code = self.process.wait(LIMIT_S)
        length = -1
        while length != len(self._painted):
            length = len(self._painted)
            time.sleep(0.1)
        return code

    def is_restored(self) -> bool:
        """Whether the last that was said of each mode is that it is off."""
        painted = self.painted
        modes = all(
            painted.rfind(off) > painted.rfind(off[:-1] + ("l" if off[-1] == "h" else "h"))
            for off in RESTORED
        )
        return modes and self.attributes() == self.before

    def stop_reading(self) -> None:
        """From now on nobody reads what is painted."""
        self._reads.clear()

    def close(self) -> None:
        """Closes the window."""
        if self._open:
            self._open = False
            self._reads.set()
            self._reader.join()
            os.close(self._master)
            os.close(self._slave)

    def _read(self) -> None:
        while self._open:
            self._reads.wait()
            if select.select([self._master], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):
                    self._painted += os.read(self._master, 1 << 16)


def workbench(*words: str, **environ: str | None) -> Terminal:
    """`workbench` with `words` in a terminal."""
    return Terminal("-m", "workbench", *words, **environ)


def program(lines: Sequence[str], **environ: str | None) -> Terminal:
    """A program that may change the app, and runs it as `run_app`."""
    return Terminal("-c", "\n".join(["from workbench.tui.app import run_app", *lines]), **environ)
