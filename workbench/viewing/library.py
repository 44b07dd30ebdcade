"""The library: every run of the store as a row, read again only where its files have changed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from workbench.analysis.lookup import at
from workbench.analysis.printable import plain
from workbench.errors import StoreError
from workbench.runs.annotations import FILE_NAME, Annotations, read_annotations
from workbench.runs.folder import ENDED_STATES, RunFolder
from workbench.runs.store import RunStore, load_run

BROKEN = "broken"

_Stamp = tuple[int, int]


@dataclass(frozen=True, slots=True)
class LibraryRow:
    """A folder of the store: a run, or what is wrong with it; None where a figure is undefined.

    Attributes:
        state: as `load_run` says, "dead" where the runner is gone; "broken" where `problem` says
            why it can't be read.
        created: when it began, in local time; a broken one's folder's last change.
    """

    path: Path
    run_id: str
    state: str
    created: str
    problem: str = ""
    name: str = ""
    workload: str = ""
    model: str = ""
    engine: str = ""
    content: Mapping[str, Any] = field(default_factory=dict, compare=False)
    annotations: Annotations = Annotations()  # noqa: RUF009

    @property
    def is_live(self) -> bool:
        """Whether its runner lives."""
        return self.state not in (*ENDED_STATES, "dead", BROKEN)

    def figure(self, *path: str) -> float | None:
        """A figure of its summary."""
        found = at(self.content, "summary", *path)
        return found if isinstance(found, int | float) else None

    def matches(self, words: tuple[str, ...]) -> bool:
        """Whether every word is in its id, name, state, workload, model, engine, tags or note."""
        said = " ".join(
            (
                *(self.run_id, self.name, self.state, self.workload, self.model, self.engine),
                *(*self.annotations.tags, self.annotations.note, self.problem),
            )
        ).lower()
        return all(word in said for word in words)


class Library:
    """Keeps what it has read. Loader thread only."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._known: dict[Path, tuple[tuple[_Stamp | None, ...], LibraryRow]] = {}

    def rows(self) -> tuple[LibraryRow, ...]:
        """A row for each folder, newest first."""
        root = self._store.root
        try:
            paths = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
        except OSError as error:
            raise StoreError(f"{root} can't be read: {error.strerror or error}") from None
        self._known = {path: self._known_or_read(path) for path in paths}
        rows = [row for _, row in self._known.values()]
        return tuple(sorted(rows, key=lambda row: (row.created, row.run_id), reverse=True))

    def _known_or_read(self, path: Path) -> tuple[tuple[_Stamp | None, ...], LibraryRow]:
        stamps = (_stamp(path / "run.json"), _stamp(path / FILE_NAME))
        known = self._known.get(path)
        if known is not None and known[0] == stamps and not known[1].is_live:
            return known
        return stamps, _read(path)


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


def _read(path: Path) -> LibraryRow:
    try:
        run = load_run(RunFolder(path))
    except (StoreError, OSError) as error:
        return LibraryRow(path, path.name, BROKEN, _changed(path), problem=str(error))
    content, problem = run.content, ""
    try:
        annotations = read_annotations(run.folder)
    except StoreError as error:
        annotations, problem = Annotations(), str(error)
    spec = at(content, "spec")
    trace = at(spec, "trace", "file")
    return LibraryRow(
        path=path,
        run_id=plain(run.run_id),
        state=run.state,
        created=_local(content.get("created")),
        problem=problem,
        name=plain(content.get("name") or ""),
        workload=plain(Path(str(trace)).name if trace else at(spec, "traffic", "workload") or ""),
        model=plain(at(content, "engine", "model") or at(spec, "model", "name") or ""),
        engine=plain(at(content, "engine", "name") or at(spec, "engine", "name") or ""),
        content=content,
        annotations=annotations,
    )


def _local(created: Any) -> str:
    try:
        moment = datetime.fromisoformat(str(created)).astimezone()
    except (ValueError, OverflowError):
        return ""
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _changed(path: Path) -> str:
    stamp = _stamp(path)
    moment = datetime.fromtimestamp(stamp[0] / 1e9).astimezone() if stamp is not None else None
    return moment.strftime("%Y-%m-%d %H:%M:%S") if moment is not None else ""


def folder_bytes(path: Path) -> int:
    """How much disk space a folder takes, what can't be read left out."""
    total = 0
    for parent, _, files in os.walk(path):
        for name in files:
            try:
                total += (Path(parent) / name).lstat().st_size
            except OSError:
                continue
    return total
