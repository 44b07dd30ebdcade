"""The run store: a folder of run folders."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from workbench.errors import StoreError
from workbench.runs.control_socket import discard_socket
from workbench.runs.folder import ENDED_STATES, RunFolder

HOME_VARIABLE = "WORKBENCH_HOME"


def home() -> Path:
    """Where everything is kept: `$WORKBENCH_HOME`, or the user's data directory."""
    chosen = os.environ.get(HOME_VARIABLE)
    if chosen:
        return Path(chosen)
    return Path(platformdirs.user_data_dir("workbench", appauthor=False))


def store_root() -> Path:
    """Where runs are kept: the folder `runs` of `home`."""
    return home() / "runs"


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run in the store; `state` is "dead" where the runner is gone and did not end it."""

    folder: RunFolder
    content: dict[str, Any]
    state: str

    @property
    def run_id(self) -> str:
        return str(self.content["run_id"])


class RunStore:
    """Finds, lists and removes runs."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or store_root()

    def path_for(self, run_id: str) -> Path:
        """Where a new run goes; the store is made, readable by its owner alone.

        Raises:
            StoreError: it can't be made.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreError(f"cannot make the run store {self.root}: {error.strerror}") from None
        return self.root / run_id

    def runs(self) -> tuple[list[StoredRun], list[str]]:
        """All runs, oldest first, and what was wrong with the folders that are none."""
        found: list[StoredRun] = []
        broken: list[str] = []
        try:
            paths = sorted(self.root.iterdir()) if self.root.is_dir() else []
        except OSError as error:
            return [], [f"{self.root} can't be read: {error.strerror}"]
        for path in paths:
            try:
                if path.is_dir():
                    found.append(load_run(RunFolder(path)))
            except StoreError as error:
                broken.append(str(error))
            except OSError as error:
                broken.append(f"{path} can't be read: {error.strerror}")
        found.sort(key=lambda run: (str(run.content.get("created", "")), run.run_id))
        return found, broken

    def find(self, name: str) -> StoredRun:
        """The run that `name` means: a path, an id or its unique beginning, a name, or
        "last", "last~1", …

        Raises:
            StoreError: none, or several.
        """
        path = Path(name)
        with contextlib.suppress(OSError):  # a name that no path can have, or a closed folder
            if (path / "run.json").exists():
                return load_run(RunFolder(path.resolve()))
        if os.sep in name:
            raise StoreError(f"{name} is not a run: it has no run.json")
        runs, _ = self.runs()
        if name == "last" or name.startswith("last~"):
            return self._from_the_end(name, runs)
        for matches in (
            [run for run in runs if run.run_id == name or run.content.get("name") == name],
            [run for run in runs if run.run_id.startswith(name)],
        ):
            if len(matches) == 1:
                return matches[0]
            if matches:
                several = ", ".join(run.run_id for run in matches)
                raise StoreError(f"{name!r} means several runs: {several}; give more of the id")
        raise StoreError(
            f"no run {name!r} in {self.root}; `workbench runs list` shows what there is"
        )

    def _from_the_end(self, name: str, runs: list[StoredRun]) -> StoredRun:
        back = name.removeprefix("last").removeprefix("~") or "0"
        if not back.isdigit():
            raise StoreError(f"{name!r}: write last, last~1, last~2, …")
        if not runs:
            raise StoreError(f"there is no run in {self.root} yet; `workbench run` makes one")
        if int(back) >= len(runs):
            raise StoreError(f"{name!r}: there are {len(runs)} runs in {self.root}")
        return runs[-1 - int(back)]


def load_run(folder: RunFolder) -> StoredRun:
    """A run and the state that it really is in.

    Raises:
        StoreError: as `RunFolder.read` does, which also refuses a newer version's runs.
    """
    content = folder.read()
    state = str(content["state"])
    if state not in ENDED_STATES and not folder.is_alive:
        # It may have ended between the two looks.
        content = folder.read()
        state = str(content["state"])
        if state not in ENDED_STATES:
            state = "dead"
    return StoredRun(folder, content, state)


def remove(run: StoredRun) -> None:
    """Deletes a run.

    Raises:
        StoreError: it is alive, or can't be deleted.
    """
    if run.folder.is_alive:
        raise StoreError(f"{run.run_id} is still running; stop it first")
    discard_socket(run.folder, run.content.get("control"))
    try:
        run.folder.remove()
    except OSError as error:
        raise StoreError(f"{run.folder.path} can't be deleted: {error.strerror}") from None


def recover(run: StoredRun, finish: Callable[[RunFolder, str, str], dict[str, Any]]) -> str:
    """Makes a dead run whole from its segments; `finish` builds tables and summary.

    Returns:
        A sentence that says what was recovered.

    Raises:
        StoreError: it is alive, or nothing is wrong with it.
    """
    folder = run.folder
    if folder.is_alive:
        raise StoreError(f"{run.run_id} is still running; there is nothing to recover")
    if run.state != "dead" and not any(folder.path.glob("segments*/*.seg")):
        raise StoreError(f"{run.run_id} is {run.state} and whole; there is nothing to recover")
    state = "killed" if run.state == "dead" else run.state
    reason = str(run.content.get("reason") or "its runner ended without saying why")
    content = finish(folder, state, reason)
    counts = content.get("summary", {}).get("requests", {})
    return f"{run.run_id}: recovered as {state!r} with {counts.get('recorded', 0)} requests"
