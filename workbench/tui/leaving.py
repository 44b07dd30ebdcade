"""Leaving on a signal; and where something is stuck, by force, with the terminal restored."""

from __future__ import annotations

import contextlib
import os
import signal
import termios
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

_PATIENCE_S = 3.0
_STDIN = 0
_RESTORE = (
    b"\x1b[<u\x1b[?2004l\x1b[?7h\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?2048l"
    b"\x1b[?1004l\x1b[?1049l\x1b[?25h"
)
"""Keyboard protocol, paste, line wrap, mouse, resizes, focus, alternate screen, cursor."""


class Leaving:
    """Hears `SIGNALS`, and remembers what the terminal was set to.

    Args:
        leave: asks the app to end with an exit code; called between any two instructions of the
            main thread.
    """

    def __init__(self, leave: Callable[[int], None]) -> None:
        self._leave = leave
        self._before = _attributes()

    def listen(self) -> None:
        """From now on a signal ends the app, with 128 more than its number."""
        for number in SIGNALS:
            signal.signal(number, self._hear)

    def wait_for_loads(self, code: int) -> None:
        """Ends the process where a load doesn't: an interpreter waits for its threads."""
        deadline = time.monotonic() + _PATIENCE_S
        for thread in threading.enumerate():
            if thread.name.startswith("loader"):
                thread.join(max(0.0, deadline - time.monotonic()))
                if thread.is_alive():
                    self._end(code)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        code = 128 + number
        threading.Thread(target=self._end_later, args=(code,), daemon=True).start()
        self._leave(code)

    def _end_later(self, code: int) -> None:
        time.sleep(_PATIENCE_S)
        self._end(code)

    def _end(self, code: int) -> None:
        if self._before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(_STDIN, termios.TCSANOW, self._before)
            # The screen may be one that nobody reads any more; a description of its own doesn't
            # wait for that, and leaves the shell's as it is.
            with contextlib.suppress(OSError):
                screen = os.open("/dev/tty", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
                os.write(screen, _RESTORE)
        os._exit(code)


def _attributes() -> list[Any] | None:
    try:
        return termios.tcgetattr(_STDIN)
    except termios.error:
        return None
