"""Specs to start from again: those of the newest runs, and those saved under a name."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import SpecError, StoreError
from workbench.flags import with_whole_paths
from workbench.runs.folder import RunFolder
from workbench.runs.store import home, store_root
from workbench.spec import RunSpec, parse_spec, read_spec

MOST_RECENT = 20
_LOOKED_AT = 200
_NAME = re.compile(r"[\w+-][\w .:+-]{0,79}")


@dataclass(frozen=True, slots=True)
class RecentSpec:
    """The spec of a run: the newest run that has it."""

    run_id: str
    created: str
    spec: RunSpec


@dataclass(frozen=True, slots=True)
class SavedSpec:
    """A spec in a file of its own."""

    name: str
    path: Path
    spec: RunSpec


def recent_specs(runs: Path | None = None) -> list[RecentSpec]:
    """The specs of the newest runs in the store `runs`, each once, newest first.

    Runs that can't be read, or whose spec this version doesn't know, are passed over.
    """
    root = runs or store_root()
    found: list[RecentSpec] = []
    # A run's id begins with its time.
    paths = sorted(root.iterdir(), reverse=True) if root.is_dir() else []
    for path in paths[:_LOOKED_AT]:
        with contextlib.suppress(StoreError, SpecError):
            content = RunFolder(path).read()
            spec = parse_spec(content.get("spec") or {}, str(path))
            if all(each.spec != spec for each in found):
                run_id, created = str(content["run_id"]), str(content.get("created", ""))
                found.append(RecentSpec(run_id, created, spec))
        if len(found) == MOST_RECENT:
            break
    return found


def specs_root() -> Path:
    """Where saved specs are kept: the folder `specs` of `runs.store.home`."""
    return home() / "specs"


def load_spec(path: Path) -> RunSpec:
    """The spec in a TOML file, the files that it names as absolute paths.

    Raises:
        SpecError: absent, unreadable, not TOML, or not a spec.
    """
    return parse_spec(with_whole_paths(read_spec(path)), f"spec {path}")


def saved_specs(root: Path | None = None) -> tuple[list[SavedSpec], list[str]]:
    """The saved specs by name, and what is wrong with the files that are none."""
    folder = root or specs_root()
    found, broken = [], []
    for path in sorted(folder.glob("*.toml")):
        try:
            found.append(SavedSpec(path.stem, path, load_spec(path)))
        except SpecError as error:
            broken.append(str(error))
    return found, broken


def is_saved(name: str, root: Path | None = None) -> bool:
    """Whether a spec is saved under this name."""
    return bool(_NAME.fullmatch(name)) and ((root or specs_root()) / f"{name}.toml").exists()


def save_spec(
    spec: RunSpec, name: str, *, overwrite: bool = False, root: Path | None = None
) -> Path:
    """Writes the spec as TOML under `name`, readable by its owner alone; returns the file.

    Raises:
        SpecError: the name is none for a file, or is taken and `overwrite` is off.
        StoreError: the file can't be written.
    """
    if not _NAME.fullmatch(name):
        raise SpecError(
            f"{name!r} is no name for a spec: letters, digits, spaces and .:+-_, at most 80"
        )
    folder = root or specs_root()
    path = folder / f"{name}.toml"
    aside = folder / f".{name}.toml.part"
    if is_saved(name, folder) and not overwrite:
        raise SpecError(f"a spec {name!r} is there already: {path}")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside.unlink(missing_ok=True)
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(spec.as_toml())
        aside.rename(path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from None
    return path
