"""What can be asked of a run while it goes, and how: a Unix socket of its owner's alone.

    client → runner   one JSON object on a line: {"command": "rate", "factor": 1.5}
    runner → client   one JSON object on a line: {"ok": true, "said": "…", …status…}
                      or {"ok": false, "error": "…"}

One request and one reply a connection. The runner writes the socket's path into `run.json` as
`control`.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from workbench.errors import RunError, StoreError
from workbench.runs.control_socket import inside_socket, is_own_peer, read_line
from workbench.runs.folder import RunFolder
from workbench.runs.store import load_run

COMMANDS = {
    "rate": "another rate: `factor` times the planned one, or `by` times the present one",
    "pause": "no more arrivals until `resume`",
    "resume": "arrivals go on where they were paused",
    "stop": "no more arrivals, and what runs may end",
    "halt": "stop at once, and save",
    "mark": "put `text` on this moment into the run's events",
    "status": "how it goes",
}
LEAST_FACTOR, MOST_FACTOR = 0.05, 20.0
LONGEST_MARK = 200
TIMEOUT_S = 2.0
STOP_REASON = "stopped on request"


def send(folder: RunFolder, command: str, **fields: Any) -> dict[str, Any]:
    """Asks the runner of `folder` for one of `COMMANDS`; returns its reply.

    The reply has `said` (what was done, in words) and the status: `phase`, `factor` (of the
    planned rate), `paused`, `speed` (0 while paused, `factor` otherwise), `rate_per_s` (requests
    per second now, None where the plan has no rate) and `offered` (requests so far; of several
    load processes, the first one's).

    Raises:
        StoreError: the run has ended, its runner is gone, or it has no control channel.
        RunError: the runner refuses, or does not answer.
    """
    path = _socket_of(folder)
    line = json.dumps({"command": command} | fields).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            channel.settimeout(TIMEOUT_S)
            channel.connect(str(path))
            if not is_own_peer(channel):
                raise StoreError(f"{path} is another user's; the run can't be controlled by it")
            channel.sendall(line)
            reply = json.loads(read_line(channel, TIMEOUT_S))
    except (TimeoutError, BlockingIOError):
        raise RunError(f"the runner of {folder.path} did not answer in {TIMEOUT_S:g} s") from None
    except (FileNotFoundError, ConnectionError):
        raise StoreError(f"the runner of {folder.path} is gone") from None
    except OSError as error:
        raise StoreError(f"{path} can't be used: {error.strerror or error}") from None
    except ValueError:
        raise RunError(f"the runner of {folder.path} gave no answer that can be read") from None
    if not isinstance(reply, dict) or reply.get("ok") is not True:
        why = reply.get("error") if isinstance(reply, dict) else None
        raise RunError(str(why or f"the runner of {folder.path} refused without a reason"))
    return reply


def _socket_of(folder: RunFolder) -> Path:
    run = load_run(folder)
    if run.state == "dead":
        raise StoreError(f"the runner of {folder.path} is gone; `workbench runs recover` saves it")
    if not folder.is_alive:
        raise StoreError(f"{run.run_id} has ended ({run.state}); there is nothing to control")
    recorded = run.content.get("control")
    if not isinstance(recorded, str):
        why = run.content.get("control_error") or "its runner opened none, or has not yet"
        raise StoreError(f"{run.run_id} has no control channel: {why}")
    inside = inside_socket(folder)
    return Path(recorded) if inside is None or not inside.exists() else inside
