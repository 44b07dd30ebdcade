"""One run's folder: who owns it, what state it is in, and where its parts lie.

run.json            spec, environment, engine, state, summary; replaced as a whole
segments/*.seg      while it lives; segments-N/*.seg of further load processes
*.parquet           once it has ended
control.sock        where the runner hears what is asked of it, while it lives
annotations.json    what people wrote on it
lock                held by the runner as long as it lives
reserve-segments    disk space that is given up when the disk is full, for what is in memory,
reserve-end         and for the last run.json
runner.log          what the runner printed
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.errors import StoreError
from workbench.runs.groups import GroupMember
from workbench.runs.schema import SCHEMA_VERSION

RESERVES = {"reserve-segments": 1 << 20, "reserve-end": 128 << 10}
ENDED_STATES = ("finished", "failed", "interrupted", "killed")
LIVE_STATES = ("starting", "loading", "calibrating", "running", "draining", "saving")
MOST_BYTES = 4 << 20
"""A `run.json` above this, some hundred times what runs have, is not read."""
_MOST_LEVELS = 50
_STATES = ENDED_STATES + LIVE_STATES
_PARTS = (
    "spec", "group", "environment", "engine", "clock", "traffic", "calibration", "window", "summary"
)  # fmt: skip


class RunFolder:
    """A folder that holds one run. Everything in it is readable by its owner alone."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def run_json(self) -> Path:
        return self.path / "run.json"

    @property
    def segments(self) -> Path:
        return self.path / "segments"

    def segments_of(self, shard: int) -> Path:
        """Where load process number `shard` (0 is the runner itself) puts its segments."""
        return self.path / f"segments-{shard}" if shard else self.segments

    @property
    def segment_folders(self) -> list[Path]:
        """Every folder of segments that there is."""
        try:
            return sorted(path for path in self.path.glob("segments*") if path.is_dir())
        except OSError:
            return []  # it is being removed

    @property
    def log(self) -> Path:
        return self.path / "runner.log"

    def parquet(self, table: str) -> Path:
        return self.path / f"{table}.parquet"

    @classmethod
    def create(
        cls, path: Path, spec: Mapping[str, Any], run_id: str, group: GroupMember | None = None
    ) -> RunFolder:
        """Makes the folder and its `run.json` in state "starting".

        Raises:
            StoreError: it exists and is not empty, or can't be made.
        """
        folder = cls(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            check_is_free(path)
            path.mkdir(mode=0o700, exist_ok=True)
            path.chmod(0o700)
            folder.segments.mkdir(mode=0o700)
            for name, size in RESERVES.items():
                folder._write_new(path / name, b"\0" * size)
            folder._write_new(path / "lock", b"")
            folder.write(
                {
                    "schema": SCHEMA_VERSION,
                    "run_id": run_id,
                    "name": spec.get("name") or "",
                    **({} if group is None else {"group": group.as_dict()}),
                    "state": "starting",
                    "reason": "",
                    "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
                    "spec": dict(spec),
                }
            )
        except OSError as error:
            raise StoreError(f"cannot make the run folder {path}: {error.strerror}") from None
        return folder

    def read(self) -> dict[str, Any]:
        """The content of `run.json`.

        Raises:
            StoreError: it is absent or broken, or a newer version of the program made it.
        """
        try:
            size = self.run_json.stat().st_size
            if size > MOST_BYTES:
                raise StoreError(f"{self.run_json} is broken: {size:,} bytes are no run's record")
            content = json.loads(self.run_json.read_bytes())
        except FileNotFoundError:
            raise StoreError(f"{self.path} is not a run: it has no run.json") from None
        except OSError as error:
            raise StoreError(f"{self.run_json}: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise StoreError(f"{self.run_json} is broken: {error}") from None
        if not isinstance(content, dict) or _is_deep(content):
            raise StoreError(f"{self.run_json} is not the record of a run")
        schema = content.get("schema", SCHEMA_VERSION)
        if isinstance(schema, int) and schema > SCHEMA_VERSION:
            raise StoreError(
                f"{self.path} was made by a newer workbench (schema {schema!s:.20}; this one reads "
                f"up to {SCHEMA_VERSION})"
            )
        if not isinstance(content.get("run_id"), str) or content.get("state") not in _STATES:
            raise StoreError(f"{self.run_json} is not the record of a run")
        for part in _PARTS:
            if not isinstance(content.get(part), dict | None):
                raise StoreError(f"{self.run_json} is broken: its {part!r} has no parts")
        return content

    def write(self, content: Mapping[str, Any]) -> None:
        """Replaces `run.json` as a whole.

        Raises:
            OSError: the disk is full or can't be written.
        """
        aside = self.path / ".run.json.part"
        aside.unlink(missing_ok=True)
        self._write_new(aside, json.dumps(content, indent=1, allow_nan=False).encode() + b"\n")
        aside.rename(self.run_json)

    def update(self, **fields: Any) -> dict[str, Any]:
        """Replaces some fields of `run.json` and returns the whole."""
        content = self.read() | fields
        self.write(content)
        return content

    def give_up(self, reserve: str) -> None:
        """Frees one of `RESERVES`, so that a full disk still takes the end of the record."""
        (self.path / reserve).unlink(missing_ok=True)

    def lock(self) -> int | None:
        """Takes the run's lock; its file descriptor, or None where a living runner holds it.

        The lock goes with the last process that holds the descriptor, however that dies.
        """
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        return descriptor

    @property
    def is_alive(self) -> bool:
        """Whether a runner holds it now; false where the lock can't be looked at."""
        try:
            if not (self.path / "lock").exists():
                return False
        except OSError:
            return False
        descriptor = self.lock()
        if descriptor is None:
            return True
        os.close(descriptor)
        return False

    def remove(self) -> None:
        """Deletes the folder."""
        shutil.rmtree(self.path)

    def _write_new(self, path: Path, data: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)


def check_is_free(path: Path) -> None:
    """Whether a folder can be made at `path`, or an empty one is there.

    Raises:
        StoreError: something else is there.
        OSError: it can't be looked at.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise StoreError(
            f"{path} exists and is not an empty folder; choose another --out, or remove it"
        )


def _is_deep(content: dict[str, Any]) -> bool:
    """Whether it is nested so deep that no run wrote it, and that recursion could fail."""
    parts: list[Any] = [content]
    for _ in range(_MOST_LEVELS):
        if not parts:
            return False
        values = (part.values() if isinstance(part, dict) else part for part in parts)
        parts = [value for each in values for value in each if isinstance(value, dict | list)]
    return bool(parts)


def new_run_id(label: str) -> str:
    """A name that sorts by time and says what it was: 20261121-054812-chat-3f2a."""
    plain = "".join(c if c.isalnum() else "-" for c in label.lower()).strip("-")
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return f"{now}-{plain}-{secrets.token_hex(2)}"
