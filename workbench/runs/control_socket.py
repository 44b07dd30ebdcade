"""The control channel's socket: where it lies, who is on its other side, and a line from there."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import tempfile
import time
from pathlib import Path

from workbench.runs.folder import RunFolder

LONGEST_LINE_BYTES = 64 << 10

SOCKET_NAME = "control.sock"
ASIDE_PREFIX = "workbench-"
LONGEST_PATH_BYTES = 100
"""A Unix socket's path may have 107 bytes on Linux and 103 on macOS."""


def read_line(channel: socket.socket, within_s: float) -> bytes:
    """What the other side sends up to its first newline.

    Raises:
        ValueError: it ended before, or the line is too long.
        TimeoutError: it did not come in this time.
    """
    line, deadline_s = bytearray(), time.monotonic() + within_s
    while b"\n" not in line:
        if len(line) > LONGEST_LINE_BYTES:
            raise ValueError(f"a line has at most {LONGEST_LINE_BYTES} bytes")
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the line does not end")
        channel.settimeout(left_s)
        more = channel.recv(4096)
        if not more:
            raise ValueError("the line has no end")
        line += more
    return bytes(line[: line.index(b"\n")])


def is_own_peer(channel: socket.socket) -> bool:
    """Whether the process on the other side is the same user's; true where the system can't say."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    told = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, user, _ = struct.unpack("3i", told)
    return bool(user == os.getuid())


def inside_socket(folder: RunFolder) -> Path | None:
    """The socket's path in the run's folder; None where that is too long for one."""
    path = folder.path.absolute() / SOCKET_NAME
    return path if len(os.fsencode(path)) <= LONGEST_PATH_BYTES else None


def place_socket(folder: RunFolder) -> Path:
    """Where the socket goes: into the folder, or into a short one beside it, of the owner's alone.

    Raises:
        OSError: no folder can be made.
    """
    return inside_socket(folder) or Path(tempfile.mkdtemp(prefix=ASIDE_PREFIX)) / SOCKET_NAME


def discard_socket(folder: RunFolder, recorded: object) -> None:
    """Removes a socket that a runner has left, in the folder or where `run.json` says it was.

    A path in a file is no permission: only a socket of this user goes, by its name, and a folder
    only if it is empty and one of `place_socket`.
    """
    home = folder.path.absolute()
    paths = {home / SOCKET_NAME}
    if isinstance(recorded, str):
        paths.add(Path(recorded))
    for path in paths:
        aside = path.parent.name.startswith(ASIDE_PREFIX) and path.parent != home
        if path.name != SOCKET_NAME or not (aside or path.parent == home):
            continue
        with contextlib.suppress(OSError, ValueError):
            found = path.lstat()
            if stat.S_ISSOCK(found.st_mode) and found.st_uid == os.getuid():
                path.unlink()
        if aside and path.parent.parent == Path(tempfile.gettempdir()):
            with contextlib.suppress(OSError, ValueError):
                path.parent.rmdir()
