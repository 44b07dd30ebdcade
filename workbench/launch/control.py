"""The runner's side of the control channel: one thread hears a user, and hands over to the loop."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from workbench.errors import RunError, did_you_mean
from workbench.runs.control import (
    COMMANDS,
    LEAST_FACTOR,
    LONGEST_MARK,
    MOST_FACTOR,
    STOP_REASON,
)
from workbench.runs.control_socket import (
    discard_socket,
    is_own_peer,
    place_socket,
    read_line,
)
from workbench.runs.folder import RunFolder
from workbench.runs.knobs import Ask, Knobs
from workbench.runs.runner import StopRequest

_PATIENCE_S = 0.5
# One client at a time: a silent one must not use up the time that the next one waits.


@dataclass(slots=True)
class Course:
    """How far the run is, set by the runner's main thread.

    Attributes:
        phase: the run's state.
        rate_per_s: the planned mean rate; None where there is none.
        closed: arrivals follow the answers, so they have no rate.
    """

    phase: str = "starting"
    rate_per_s: float | None = None
    closed: bool = False


class ControlServer:
    """Hears `runs.control.COMMANDS` until it is closed.

    It holds what is asked for, and the loop does it: pace and marks go into `knobs`, `stop` and
    `halt` into `stop`. A client that says nonsense, or nothing, gets an error or is left.

    Raises:
        OSError: no socket can be made where the run's folder is.
    """

    def __init__(self, folder: RunFolder, course: Course, knobs: Knobs, stop: StopRequest) -> None:
        self.path = place_socket(folder)
        self._folder = folder
        self._course = course
        self._knobs = knobs
        self._stop = stop
        self._factor = 1.0
        self._paused = False
        self._closing = False
        self._commands: dict[str, Callable[[Mapping[str, Any]], str]] = {
            "rate": self._rate,
            "pause": self._pause,
            "resume": self._resume,
            "stop": self._stop_arrivals,
            "halt": self._halt,
            "mark": self._mark,
            "status": lambda _: self._course.phase,
        }
        self._listener = _listen_at(self.path)
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the thread and removes the socket; may be called again."""
        if not self._closing:
            self._closing = True
            with contextlib.suppress(OSError), _connected(self.path):
                self._thread.join(_PATIENCE_S)
            self._listener.close()
            discard_socket(self._folder, str(self.path))

    def _serve(self) -> None:
        while not self._closing:
            try:
                channel, _ = self._listener.accept()
            except OSError:
                return  # closed
            with channel:
                if not self._closing:
                    with contextlib.suppress(OSError):
                        self._converse(channel)

    def _converse(self, channel: socket.socket) -> None:
        channel.settimeout(_PATIENCE_S)
        if not is_own_peer(channel):
            return
        try:
            reply = self._reply(read_line(channel, _PATIENCE_S))
        except (ValueError, ArithmeticError, RecursionError) as error:
            reply = {"ok": False, "error": f"that is no request: {error}"}
        channel.sendall(json.dumps(reply).encode() + b"\n")

    def _reply(self, line: bytes) -> dict[str, Any]:
        request = json.loads(line)
        command = request.get("command") if isinstance(request, dict) else None
        if not isinstance(command, str) or command not in COMMANDS:
            near = did_you_mean(command, COMMANDS) if isinstance(command, str) else ""
            return {
                "ok": False,
                "error": f"unknown command {command!r:.60}; {near}known are {', '.join(COMMANDS)}",
            }
        try:
            said = self._commands[command](request)
        except RunError as error:
            return {"ok": False, "error": str(error)}
        return {"ok": True, "said": said, **self._status()}

    def _status(self) -> dict[str, Any]:
        speed = 0.0 if self._paused else self._factor
        rate_per_s = self._course.rate_per_s
        return {
            "phase": self._course.phase,
            "factor": self._factor,
            "paused": self._paused,
            "speed": speed,
            "rate_per_s": None if rate_per_s is None else rate_per_s * speed,
            "offered": self._knobs.offered,
        }

    # -- the commands: each returns what was done, in words, or raises `RunError` ---------------

    def _rate(self, request: Mapping[str, Any]) -> str:
        if self._course.closed:
            raise RunError(
                "a closed loop has no rate: its arrivals follow the answers; pause it, or start a "
                "run with another --concurrency"
            )
        self._check_arrivals()
        if ("factor" in request) == ("by" in request):
            raise RunError("rate takes either factor (of the planned rate) or by (of the present)")
        by = "by" in request
        asked = request["by" if by else "factor"]
        if isinstance(asked, bool) or not isinstance(asked, int | float):
            raise RunError(f"rate {asked!r}: give a number")
        factor = round(asked * self._factor if by else float(asked), 6)
        if not math.isfinite(factor) or not LEAST_FACTOR <= factor <= MOST_FACTOR:
            raise RunError(
                f"{factor:g} times the planned rate: from {LEAST_FACTOR:g} to {MOST_FACTOR:g} is "
                "possible"
            )
        self._factor = factor
        said = f"rate {factor:g} x"
        if self._course.rate_per_s is not None:
            rate_per_s = self._course.rate_per_s * factor
            said += f": {rate_per_s:.2f} req/s" if rate_per_s >= 1 else f": {rate_per_s:.3g} req/s"
        if self._paused:
            return self._ask(f"{said}, once arrivals resume", None)
        return self._ask(said, factor)

    def _pause(self, _: Mapping[str, Any]) -> str:
        self._check_arrivals()
        if self._paused:
            return "arrivals are paused already"
        self._paused = True
        return self._ask("arrivals paused", 0.0)

    def _resume(self, _: Mapping[str, Any]) -> str:
        self._check_arrivals()
        if not self._paused:
            return "arrivals are not paused"
        self._paused = False
        return self._ask("arrivals resumed", self._factor)

    def _stop_arrivals(self, _: Mapping[str, Any]) -> str:
        if self._stop.wanted:
            return "it is stopping already"
        self._stop.ask(STOP_REASON, at_once=False)
        return "stopping: no more arrivals, and what runs may end"

    def _halt(self, _: Mapping[str, Any]) -> str:
        self._stop.ask(STOP_REASON, at_once=True)
        return "stopping at once"

    def _mark(self, request: Mapping[str, Any]) -> str:
        if self._course.phase not in ("running", "draining"):
            raise RunError(f"the run is {self._course.phase}: there is no moment to mark")
        text = request.get("text")
        if not isinstance(text, str) or len(text) > LONGEST_MARK:
            raise RunError(f"mark takes text of at most {LONGEST_MARK} characters")
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        if not text:
            raise RunError("mark takes text; this one is empty")
        self._knobs.pending.append(Ask("mark", text))
        return f"marked: {text}"

    def _check_arrivals(self) -> None:
        phase = self._course.phase
        if self._stop.wanted or phase in ("draining", "saving"):
            raise RunError("its arrivals have ended: there is no pace to change")
        if phase != "running":
            raise RunError(f"the run is {phase}: its arrivals have not begun; try again then")

    def _ask(self, said: str, speed: float | None) -> str:
        self._knobs.pending.append(Ask("knob", said, speed))
        return said


def _listen_at(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[None]:
    """A connection that wakes the thread from its wait."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.settimeout(_PATIENCE_S)
        channel.connect(str(path))
        yield
