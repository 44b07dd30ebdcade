"""Where runs were set up differently: their specs, engines and environments, key by key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.analysis.lookup import at
from workbench.analysis.quantities import MISSING, size_text

_TRAFFIC = ("traffic", "trace", "sampling", "seed", "rate_per_s", "duration_s", "warmup_s")
_SAYS_NOTHING = ("name", "record", "environment.load_average", "environment.hardware.reasons")
_IN_BYTES = ("_bytes", ".kv_memory")
_RESOLVED = {
    "rate_per_s": "traffic.rate",
    "duration_s": "traffic.duration",
    "warmup_s": "traffic.warmup",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """A key that not all runs have the same, and what each has; a dash for what it lacks.

    `traffic`: it says what was asked of the run, so that the runs did not do the same work.
    """

    key: str
    values: tuple[str, ...]
    traffic: bool

    @property
    def shown(self) -> tuple[str, ...]:
        """The values as people read them: bytes in MiB or GiB, unless that hides the difference."""
        if not self.key.endswith(_IN_BYTES):
            return self.values
        sizes = tuple(
            size_text(int(value)) if value.isdecimal() else value for value in self.values
        )
        return sizes if len(set(sizes)) == len(set(self.values)) else self.values


def setting_differences(contents: Sequence[Mapping[str, Any]]) -> tuple[Setting, ...]:
    """What differs between runs' `run.json`, traffic first, then spec, engine and environment.

    The engine's keys are those that it chose itself where the spec leaves them open.
    """
    flat = [_settings(content) for content in contents]
    keys = list(dict.fromkeys(key for settings in flat for key in settings))
    found = []
    asked = {
        key: tuple(settings.get(key, MISSING) for settings in flat) for key in _RESOLVED.values()
    }
    for key in keys:
        values = tuple(settings.get(key, MISSING) for settings in flat)
        if len(set(values)) > 1 and values != asked.get(_RESOLVED.get(key, "")):
            found.append(Setting(key, values, key.split(".")[0] in _TRAFFIC))
    return tuple(sorted(found, key=lambda setting: not setting.traffic))


def _settings(content: Mapping[str, Any]) -> dict[str, str]:
    spec = _flat(at(content, "spec") or {})
    resolved = {name: content[name] for name in _RESOLVED if content.get(name) is not None}
    chosen = _flat({"engine": at(content, "engine") or {}})
    environment = _flat({"environment": at(content, "environment") or {}})
    spoken = spec | {key: value for key, value in chosen.items() if spec.get(key) in (None, "auto")}
    every = spoken | _flat(resolved) | environment
    return {key: _text(value) for key, value in every.items() if not _is_noise(key)}


def _is_noise(key: str) -> bool:
    return any(key == noise or key.startswith(f"{noise}.") for noise in _SAYS_NOTHING)


def _flat(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{name}.")
        else:
            flat[before + str(name)] = value
    return flat


def _text(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value)
