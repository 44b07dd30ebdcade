"""A terminal that may go away: writing to it then is silent, and the app ends.

Textual's own driver waits for ever where its output has failed, and spins where its input has
ended.
"""

from __future__ import annotations

import contextlib
import select
import signal
from typing import IO, Any

from textual.drivers.linux_driver import LinuxDriver

HUNG_UP = 128 + signal.SIGHUP
"""The exit code of an app whose terminal was closed."""

_LOOK_EVERY_S = 0.5


class SteadyDriver(LinuxDriver):
    """Textual's driver, which ends the app once the terminal is closed."""

    def __init__(self, *words: Any, **options: Any) -> None:
        super().__init__(*words, **options)
        self._file: Any = SteadyOutput(self._file)

    def start_application_mode(self) -> None:
        """See `Driver`."""
        super().start_application_mode()  # type: ignore[no-untyped-call]
        self._app.set_interval(_LOOK_EVERY_S, self._look)

    def run_input_thread(self) -> None:
        """See `LinuxDriver`; no traceback of a terminal that is gone."""
        with contextlib.suppress(OSError):
            super().run_input_thread()

    def _look(self) -> None:
        if is_closed(self.fileno):
            self._app.exit(None, HUNG_UP)


class SteadyOutput:
    """A text file to which what can't be written any more is lost without a word."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> None:
        """Writes, if it can."""
        with contextlib.suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        """Flushes, if it can."""
        with contextlib.suppress(OSError):
            self._file.flush()

    def fileno(self) -> int:
        """Its descriptor."""
        return self._file.fileno()


def is_closed(descriptor: int) -> bool:
    """Whether a terminal was closed at its other end."""
    poll = select.poll()
    poll.register(descriptor, 0)
    gone = select.POLLHUP | select.POLLERR | select.POLLNVAL
    return any(found & gone for _, found in poll.poll(0))
