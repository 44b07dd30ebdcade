"""The run store: a folder of run folders."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import platformdirs

from workbench.errors import StoreError, did_you_mean
from workbench.runs.annotations import read_annotations
from workbench.runs.control_socket import discard_socket
from workbench.runs.folder import ENDED_STATES, RunFolder
from workbench.runs.groups import GroupMember, member_of
from workbench.runs.matching import TAG, is_glob, matching, words_for

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

    @property
    def name(self) -> str:
        """What its user called it; empty where nobody did."""
        return str(self.content.get("name") or "")

    @property
    def group(self) -> GroupMember | None:
        """Its place among repeated runs; None of a run that is alone."""
        return member_of(self.content)


@dataclass(frozen=True, slots=True)
class Found:
    """Runs, oldest first, and what was wrong with those that can't be read."""

    runs: tuple[StoredRun, ...]
    problems: tuple[str, ...]


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
        try:
            paths = sorted(self.root.iterdir()) if self.root.is_dir() else []
        except OSError as error:
            return [], [f"{self.root} can't be read: {error.strerror}"]
        found = _load(paths)
        return list(found.runs), list(found.problems)

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

    def find_all(self, word: str) -> tuple[StoredRun, ...]:
        """Every run that `word` means and that can be read, oldest first; see `look_up`.

        Raises:
            StoreError: there is none, or nobody can tell which.
        """
        return self.look_up(word).runs

    def look_up(self, word: str) -> Found:
        """Every run that `word` means; never none. It may be

        - a path of a run's folder, or of a folder that holds such;
        - an id or its unique beginning, or a group's: then all runs of the group;
        - a name: all runs that are called so;
        - "last", "last~1", …: the newest run, the one before; runs of a group count as one;
        - "tag:NAME", or a tag alone where it means nothing else;
        - a pattern of ids and names, such as "chat-*".

        Raises:
            StoreError: there is none that can be read, or nobody can tell which.
        """
        there = _at_path(Path(word))
        if there is None and os.sep in word and not word.startswith(TAG):
            raise StoreError(f"{word} is not a run: it has no run.json, and holds no runs")
        found = there or self._among_all(word)
        if not found.runs:
            raise StoreError("; ".join(found.problems))
        return found

    def _among_all(self, word: str) -> Found:
        with contextlib.suppress(OSError):  # a name that no path can have, or a closed folder
            if (self.root / word / "run.json").exists():
                return _load([self.root / word])
        runs, _ = self.runs()
        found = tuple(matching(word, runs, _tags))
        unread = self._unread(word, runs) if is_glob(word) or not found else Found((), ())
        if found or unread.problems:
            return Found(found, unread.problems)
        hint = did_you_mean(word, dict.fromkeys(words_for(runs, _tags)))
        raise StoreError(
            f"no run {word!r} in {self.root}; {hint}`workbench runs list` shows what there is"
        )

    def _unread(self, word: str, runs: Iterable[StoredRun]) -> Found:
        """What is wrong with the folders that `word` may mean, and that are none of `runs`."""
        read = {run.folder.path for run in runs}
        pattern = word if is_glob(word) else f"{word}*"
        paths = self.root.iterdir() if word and self.root.is_dir() else ()
        return _load(
            path for path in sorted(paths) if path not in read and fnmatchcase(path.name, pattern)
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


class StoreSnapshot(RunStore):
    """A store whose runs are read once, for many words to be looked up."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._runs: tuple[list[StoredRun], list[str]] | None = None

    def runs(self) -> tuple[list[StoredRun], list[str]]:
        if self._runs is None:
            self._runs = super().runs()
        return self._runs


def _at_path(path: Path) -> Found | None:
    """The run in this folder, or the runs in its folders; None where there are none."""
    with contextlib.suppress(OSError):  # a name that no path can have, or a closed folder
        if (path / "run.json").exists():
            return _load([path.resolve()])
        if path.is_dir():
            inside = [each for each in path.resolve().iterdir() if (each / "run.json").exists()]
            return _load(sorted(inside)) if inside else None
    return None


def _load(paths: Iterable[Path]) -> Found:
    """The runs in these folders, oldest first; what is no folder is passed over."""
    runs: list[StoredRun] = []
    problems: list[str] = []
    for path in paths:
        try:
            if path.is_dir():
                runs.append(load_run(RunFolder(path)))
        except StoreError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{path} can't be read: {error.strerror}")
    runs.sort(key=lambda run: (str(run.content.get("created", "")), run.run_id))
    return Found(tuple(runs), tuple(problems))


def _tags(run: StoredRun) -> frozenset[str]:
    try:
        return read_annotations(run.folder).tags
    except StoreError:
        return frozenset()


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
