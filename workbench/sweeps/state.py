"""A sweep on disk: `sweep.json` in a folder of its own, replaced as a whole after every change."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.errors import SpecError, StoreError
from workbench.runs.store import RunStore, store_root
from workbench.spec import RunSpec, parse_spec
from workbench.sweeps.figures import Figures
from workbench.sweeps.planner import Grid, Plan, Search

SWEEP_SCHEMA = 1
SWEEP_STATES = ("running", "finished", "interrupted", "failed")
POINT_STATES = ("running", "finished", "interrupted", "failed")
_LABEL_LETTERS = 24


@dataclass(frozen=True, slots=True)
class SavedPoint:
    """One run of the sweep: where it lies, how it ended, its figures once it has.

    `value` is None for a run whose rate is yet to be calibrated; `reason` says why it failed.
    """

    value: float | None
    repeat: int
    state: str
    run_id: str
    path: str
    figures: Figures | None = None
    reason: str = ""

    @property
    def counts(self) -> bool:
        """Whether it is a result that later points are planned by."""
        return self.figures is not None and self.state in ("finished", "failed")


@dataclass(frozen=True, slots=True)
class Sweep:
    """Everything that a sweep is: what was asked, and what has come of it.

    `reason` says why it stands where it does; `points` are in the order of their running.
    """

    sweep_id: str
    name: str
    created: str
    spec: RunSpec
    axis: str
    plan: Plan
    state: str = "running"
    reason: str = ""
    points: tuple[SavedPoint, ...] = field(default=())

    @property
    def results(self) -> list[Figures]:
        """The figures of the runs that count."""
        return [p.figures for p in self.points if p.counts and p.figures is not None]

    def with_point(self, point: SavedPoint) -> Sweep:
        """The sweep with `point` as its last, in the place of a former run of the same."""
        kept = tuple(p for p in self.points if p.run_id != point.run_id)
        return replace(self, points=(*kept, point))

    def as_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        kind = "grid" if isinstance(self.plan, Grid) else "search"
        return {
            "schema": SWEEP_SCHEMA,
            "sweep_id": self.sweep_id,
            "name": self.name,
            "created": self.created,
            "state": self.state,
            "reason": self.reason,
            "axis": self.axis,
            "plan": {"kind": kind} | dataclasses.asdict(self.plan),
            "spec": self.spec.as_dict(),
            "points": [dataclasses.asdict(point) for point in self.points],
        }


def new_sweep(spec: RunSpec, axis: str, plan: Plan) -> Sweep:
    """A sweep that has not begun."""
    label = (spec.name or spec.what).lower()[:_LABEL_LETTERS]
    plain = "".join(c if c.isalnum() else "-" for c in label).strip("-")
    now = datetime.now(UTC)
    sweep_id = f"{now.strftime('%Y%m%d-%H%M%S')}-{plain}-{secrets.token_hex(2)}"
    return Sweep(sweep_id, spec.name, now.isoformat(timespec="milliseconds"), spec, axis, plan)


def sweeps_root() -> Path:
    """Where sweeps are kept: beside the runs, `$WORKBENCH_HOME/sweeps`."""
    return store_root().parent / "sweeps"


class SweepFolder:
    """A folder that holds one sweep, readable by its owner alone."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def sweep_json(self) -> Path:
        return self.path / "sweep.json"

    @property
    def at_home(self) -> bool:
        """Whether it lies beside the run store, where its id finds it."""
        return self.path.parent.resolve() == sweeps_root().resolve()

    @property
    def store(self) -> RunStore:
        """Where its runs go: the common store, or below a folder that was chosen for the sweep."""
        return RunStore() if self.at_home else RunStore(self.path / "runs")

    @classmethod
    def create(cls, sweep: Sweep, out: Path | None) -> SweepFolder:
        """Makes `out`, or the sweep's folder beside the run store, and writes the sweep there.

        Raises:
            StoreError: it exists and is not empty, or can't be made.
        """
        path = out or sweeps_root() / sweep.sweep_id
        folder = cls(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise StoreError(
                    f"{path} exists and is not an empty folder; choose another --out, or go on "
                    "with the sweep in it by --resume"
                )
            path.mkdir(mode=0o700, exist_ok=True)
            path.chmod(0o700)
        except OSError as error:
            raise StoreError(f"cannot make the sweep's folder {path}: {error.strerror}") from None
        folder.write(sweep)
        return folder

    @classmethod
    def find(cls, name: str) -> SweepFolder:
        """The sweep that `name` means: a path, an id or its unique beginning, a name, or "last".

        Raises:
            StoreError: none, or several.
        """
        if (Path(name) / "sweep.json").exists():
            return cls(Path(name).resolve())
        root = sweeps_root()
        ids = sorted(path.parent.name for path in root.glob("*/sweep.json"))
        if name == "last" and ids:
            return cls(root / ids[-1])
        named = [i for i in ids if i != name and _name_of(root / i) == name]
        for matches in ([i for i in ids if i == name] + named,
                        [i for i in ids if i.startswith(name)]):  # fmt: skip
            if len(matches) == 1:
                return cls(root / matches[0])
            if matches:
                raise StoreError(f"{name!r} means several sweeps: {', '.join(matches)}")
        known = f"there are {', '.join(ids[-5:])}" if ids else "there are none yet"
        raise StoreError(f"no sweep {name!r} in {root}; {known}")

    def write(self, sweep: Sweep) -> None:
        """Replaces `sweep.json` as a whole. Raises `StoreError` where the disk doesn't take it."""
        aside = self.path / ".sweep.json.part"
        try:
            aside.unlink(missing_ok=True)
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(json.dumps(sweep.as_dict(), indent=1, allow_nan=False).encode() + b"\n")
            aside.rename(self.sweep_json)
        except OSError as error:
            raise StoreError(f"{self.sweep_json} can't be written: {error.strerror}") from None

    def read(self) -> Sweep:
        """The sweep.

        Raises:
            StoreError: it is absent, broken, or of a newer schema.
        """
        where = self.sweep_json
        try:
            data = json.loads(where.read_bytes())
        except OSError as error:
            raise StoreError(f"{where}: {error.strerror}") from None
        except ValueError as error:
            raise StoreError(f"{where} is broken: {error}; its runs are still in the store") from (
                None
            )
        if not isinstance(data, dict) or "sweep_id" not in data:
            raise StoreError(f"{where} is not the record of a sweep")
        if data.get("schema") != SWEEP_SCHEMA:
            raise StoreError(f"{where} has schema {data.get('schema')}; this one is {SWEEP_SCHEMA}")
        try:
            return _sweep_of(data, str(where))
        except SpecError as error:
            raise StoreError(str(error)) from None
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"{where} is broken: {type(error).__name__} at {error}; its runs are still in "
                "the store"
            ) from None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the sweep, so that no other process goes on with it at the same time.

        Raises:
            StoreError: another one holds it.
        """
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise StoreError(
                    f"{self.path.name} is being run by another process; wait for it or stop it"
                ) from None
            yield
        finally:
            os.close(descriptor)


def _name_of(path: Path) -> str:
    try:
        return str(json.loads((path / "sweep.json").read_bytes()).get("name", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def _sweep_of(data: Mapping[str, Any], where: str) -> Sweep:
    points = [_point_of(point) for point in data["points"]]
    if data["state"] not in SWEEP_STATES:
        raise ValueError(f"state {data['state']!r}")
    return Sweep(
        sweep_id=str(data["sweep_id"]),
        name=str(data["name"]),
        created=str(data["created"]),
        spec=parse_spec(data["spec"], where),
        axis=str(data["axis"]),
        plan=_plan_of(data["plan"]),
        state=data["state"],
        reason=str(data["reason"]),
        points=tuple(points),
    )


def _plan_of(data: Mapping[str, Any]) -> Plan:
    options = {key: value for key, value in data.items() if key != "kind"}
    if data["kind"] == "grid":
        return Grid(**(options | {"values": tuple(options["values"])}))
    if data["kind"] == "search":
        return Search(**options)
    raise ValueError(f"plan {data['kind']!r}")


def _point_of(data: Mapping[str, Any]) -> SavedPoint:
    if data["state"] not in POINT_STATES:
        raise ValueError(f"state {data['state']!r} of a point")
    figures = data["figures"]
    return SavedPoint(
        data["value"],
        data["repeat"],
        data["state"],
        data["run_id"],
        data["path"],
        None if figures is None else Figures.from_dict(figures),
        str(data["reason"]),
    )
