"""What experiments came to on a kind of hardware, as files: one per hardware key."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiles.errors import ProfileError
from profiles.hardware import HardwareDescription, cpu_key

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class ExpectedRatio:
    """A figure of the optimised side ÷ that of the baseline.

    Attributes:
        low, high: its 95 % interval between repeated runs.
        degrees: degrees of freedom of that interval; None of a normal one.
        n: runs of each side.
    """

    ratio: float
    low: float
    high: float
    degrees: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Expectation:
    """What an experiment came to with one model.

    Attributes:
        dtype: of weights and KV.
        date: "2026-11-21"; command: what measures it again.
        commit: of this program; None where that isn't known.
        versions: of the packages that matter, by name.
        settings: the plain data of both sides' specs, "baseline" and "optimised", without a seed.
        ratios: by the metric's name.
    """

    experiment: str
    model: str
    dtype: str
    date: str
    command: str
    commit: str | None
    versions: Mapping[str, str]
    settings: Mapping[str, Any]
    ratios: Mapping[str, ExpectedRatio]

    @property
    def identity(self) -> tuple[str, str, str]:
        """What there is one expectation of in a file."""
        return self.experiment, self.model, self.dtype


def key_on(machine: HardwareDescription, device: str) -> str:
    """What expectations of runs on `device`, "cpu" or "cuda", are filed under: the machine's own
    key, or its CPU's where a run leaves the GPU alone."""
    if device == "cpu":
        return cpu_key(machine.cpu_model, machine.usable_cores)
    return machine.hardware_key


def shipped_folder() -> Path:
    """The folder of the expectations that come with this program."""
    return Path(__file__).parent / "expectations"


def read_expectations(key: str, folders: Sequence[Path]) -> tuple[Expectation, ...]:
    """Everything that is recorded for a hardware key, by name; a later folder's takes the place of
    an earlier one's.

    Raises:
        ProfileError: a file can't be read, is broken, or is a newer version's.
    """
    found: dict[tuple[str, str, str], Expectation] = {}
    for folder in folders:
        found |= {each.identity: each for each in _read(_file(key, folder))}
    return tuple(found[identity] for identity in sorted(found))


def write_expectation(key: str, folder: Path, expectation: Expectation) -> Path:
    """Puts it into the folder's file for `key`, in the place of an older one; returns the file.

    Raises:
        ProfileError: the file that is there is broken, or can't be written.
    """
    path = _file(key, folder)
    kept = {each.identity: each for each in _read(path)} | {expectation.identity: expectation}
    content = {
        "schema": SCHEMA_VERSION,
        "hardware_key": key,
        "expectations": [dataclasses.asdict(kept[identity]) for identity in sorted(kept)],
    }
    aside = path.with_name(f".{path.name}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        aside.write_text(
            json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
            encoding="utf-8",
        )
        aside.replace(path)
    except OSError as error:
        raise ProfileError(f"{path} can't be written: {error.strerror or error}") from None
    return path


def can_write(folder: Path) -> bool:
    """Whether files can be put there."""
    return folder.is_dir() and os.access(folder, os.W_OK)


def _file(key: str, folder: Path) -> Path:
    return folder / f"{key}.json"


def _read(path: Path) -> list[Expectation]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ProfileError(f"{path} can't be read: {error.strerror or error}") from None
    except ValueError as error:
        raise _broken(path, str(error)) from None
    if not isinstance(content, dict) or not isinstance(content.get("expectations"), list):
        raise _broken(path, "it has no list of expectations")
    schema = content.get("schema")
    if schema != SCHEMA_VERSION:
        raise ProfileError(
            f"{path} has schema {schema!s:.20}, and this version reads {SCHEMA_VERSION}: use the "
            "version that wrote it, or remove the file"
        )
    found = []
    for number, each in enumerate(content["expectations"], start=1):
        try:
            found.append(_expectation(each))
        except (KeyError, TypeError, ValueError) as error:
            what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise _broken(path, f"expectation {number}: {what}") from None
    return found


def _broken(path: Path, why: str) -> ProfileError:
    return ProfileError(
        f"{path} is broken: {why}; mend or remove it, and record it anew with "
        "`workbench lab run NAME --update-expectations`"
    )


def _expectation(data: Any) -> Expectation:
    if not isinstance(data, dict):
        raise ValueError("it is no object")
    texts = {name: data[name] for name in ("experiment", "model", "dtype", "date", "command")}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise ValueError(f"{name} is {text!r}, and must be a text")
    parts = {name: data[name] for name in ("versions", "settings", "ratios")}
    for name, part in parts.items():
        if not isinstance(part, dict):
            raise ValueError(f"{name} is {part!r}, and must be an object")
    ratios = {name: _ratio(name, ratio) for name, ratio in parts["ratios"].items()}
    return Expectation(**texts, **(parts | {"ratios": ratios}), commit=data["commit"])


def _ratio(name: str, data: Any) -> ExpectedRatio:
    ratio = ExpectedRatio(**data)
    ordered = 0 < ratio.low <= ratio.ratio <= ratio.high < math.inf
    if not ordered or not (ratio.degrees is None or ratio.degrees > 0) or ratio.n < 1:
        raise ValueError(
            f"{name}: the ratio {ratio.ratio:g} with interval {ratio.low:g} to {ratio.high:g}, "
            f"{ratio.degrees} degrees of freedom and {ratio.n} runs is none"
        )
    return ratio
