"""Where runs were set up differently: their specs, engines and environments, key by key."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from engines.options import REMOTE
from workbench.analysis.lookup import at
from workbench.analysis.quantities import MISSING, size_text

Kind = Literal[
    "traffic", "model", "seed", "engine", "target", "hardware", "versions", "slo", "conditions",
    "other",
]  # fmt: skip

KINDS: tuple[Kind, ...] = get_args(Kind)
"""The weightiest first."""

_KINDS: tuple[tuple[str, Kind], ...] = (
    ("seed", "seed"),
    ("traffic.calibration", "conditions"),
    ("traffic", "traffic"),
    ("trace", "traffic"),
    ("sampling", "traffic"),
    ("model.device", "hardware"),
    ("model.threads", "engine"),
    ("model", "model"),
    ("engine.model_kind", "model"),
    ("engine.model_checksum", "model"),
    ("engine.parameters", "model"),
    ("engine.device_name", "hardware"),
    ("engine.authenticated", "target"),
    ("engine.dialect", "target"),
    ("engine.http_versions", "target"),
    ("engine.metrics", "target"),
    ("engine", "engine"),
    ("target", "target"),
    ("slo.require_attainment", "other"),
    ("slo", "slo"),
    ("profile", "conditions"),
    ("environment.hardware.operating_system", "versions"),
    ("environment.hardware.kernel", "versions"),
    ("environment.hardware.driver_version", "versions"),
    ("environment.hardware.cuda_driver_version", "versions"),
    ("environment.hardware", "hardware"),
    ("environment.settings", "conditions"),
    ("environment", "versions"),
)
"""By the beginning of the key, the first that fits; a board's place on its bus apart."""

_SAYS_NOTHING = (
    "name", "record", "environment.load_average", "environment.hardware.reasons",
    "environment.hardware.python_version",
)  # fmt: skip
_OF_ENGINES = ("engine.", "model.")
_IN_BYTES = ("_bytes", ".kv_memory")
_ROUNDED = ".memory_total_bytes"
_COMMIT = "environment.commit"
_BOARDS = "environment.hardware.gpus"

_RESOLVED: dict[str, tuple[str, ...]] = {
    "traffic.rate": ("rate_per_s",),
    "traffic.duration": ("duration_s",),
    "traffic.warmup": ("warmup_s",),
    "traffic.arrival": ("traffic", "arrival"),
    "model.name": ("engine", "model"),
    "model.device": ("engine", "device"),
    "model.dtype": ("engine", "dtype"),
    "model.quantization": ("engine", "quantization"),
    "model.threads": ("engine", "threads"),
    "target.api": ("engine", "api"),
    "target.http_client": ("engine", "http_client"),
}
"""Where a run tells what became of a setting that its spec may leave open."""

_TOLD_OF_REMOTE = (
    "url", "tokenizer", "prompt_form", "retries", "max_connections", "connect_s", "first_byte_s",
    "stall_s", "total_s", "http2", "connections_opened", "connections_reused",
    "resent_on_stale_connection",
)  # fmt: skip
"""What a remote engine says of itself that the target section has, or that is a result."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A key that not all sides have the same, and what each has; a dash for what it lacks.

    Several values of one side's runs, such as their seeds, are joined by commas.
    """

    key: str
    values: tuple[str, ...]
    kind: Kind

    @property
    def traffic(self) -> bool:
        """Whether it says what was asked of the runs, so that they did not do the same work."""
        return self.kind in ("traffic", "seed")

    @property
    def shown(self) -> tuple[str, ...]:
        """The values as people read them: bytes in MiB or GiB, commits by their first digits,
        unless that hides the difference."""
        short = self.values
        if self.key.endswith(_IN_BYTES):
            short = tuple(size_text(int(each)) if each.isdecimal() else each for each in short)
        if self.key == _COMMIT:
            short = tuple(re.sub(r"\b([0-9a-f]{9})[0-9a-f]{31}\b", r"\1", each) for each in short)
        return short if len(set(short)) == len(set(self.values)) else self.values


@dataclass(frozen=True, slots=True)
class _Settings:
    """A run's settings: what they became, what its spec asked for, and which parts of the record
    ("spec", "engine", "environment") it has."""

    known: Mapping[str, str]
    asked: Mapping[str, str]
    parts: frozenset[str]


Sides = Sequence[Sequence[_Settings]]


def setting_differences(contents: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[Setting, ...]:
    """What differs between sides, each the `run.json` of its runs: the weightiest kind first, by
    `KINDS`, then in the order of spec, engine and environment.

    A setting is what the run made of it: a rate that was calibrated, the engine's own choice. Where
    a side has no run that got so far, what was asked for is compared; what a side's record doesn't
    tell at all is left out. The order of a side's values is no difference.
    """
    defaults = _defaults([content for side in contents for content in side])
    sides = [[_settings(content, defaults) for content in side] for side in contents]
    keys = dict.fromkeys(key for side in sides for run in side for key in (*run.asked, *run.known))
    found = []
    for key in keys:
        values = _values(key, sides)
        if values is not None and len({frozenset(each) for each in values}) > 1:
            texts = tuple(", ".join(_in_order(each)) for each in values)
            found.append(Setting(key, texts, _kind(key)))
    found = _without_consequences(found, sides)
    return tuple(sorted(found, key=lambda setting: KINDS.index(setting.kind)))


def _defaults(contents: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """What a setting is that a run's version did not have yet; nothing where all have the same."""
    given = [frozenset(_flat(at(content, "spec") or {})) for content in contents]
    if len(set(given)) == 1:
        return {}
    from workbench.spec import RunSpec

    return RunSpec().as_dict()


def _without_consequences(found: list[Setting], sides: Sides) -> list[Setting]:
    """Without what the rate is made from where the rate is the same, and without a duration that
    was asked for alike: of limited traffic it follows from the seed or another setting."""
    keys = {setting.key for setting in found}
    dropped: set[str] = set()
    if "traffic.rate" not in keys and all(
        any("traffic.rate" in run.known for run in side) for side in sides
    ):
        dropped |= {"traffic.share", "traffic.calibration"}
    lengths = {"traffic.duration", "traffic.warmup"}
    if any(setting.traffic for setting in found if setting.key not in lengths):
        dropped |= {
            key
            for key in lengths
            if len({run.asked.get(key) for side in sides for run in side}) == 1
        }
    return [setting for setting in found if setting.key not in dropped]


def _values(key: str, sides: Sides) -> list[list[str]] | None:
    """The distinct values of each side; None where a side's record doesn't tell."""
    known = [_distinct([run.known[key] for run in side if key in run.known]) for side in sides]
    if all(known):
        return known
    if any(key in run.asked for side in sides for run in side):
        asked = [_distinct([run.asked[key] for run in side if key in run.asked]) for side in sides]
        return [each or [MISSING] for each in asked] if _all_have("spec", sides) else None
    # An engine that doesn't speak of something has no setting of it; a package may be missing.
    if key.startswith("environment.") and _all_have("environment", sides):
        return [each or [MISSING] for each in known]
    return None


def _all_have(part: str, sides: Sides) -> bool:
    return all(any(part in run.parts for run in side) for side in sides)


def _distinct(values: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _in_order(values: Sequence[str]) -> Sequence[str]:
    return sorted(values, key=int) if all(value.isdecimal() for value in values) else values


def _kind(key: str) -> Kind:
    if key.endswith(".pci_bus_id"):
        return "conditions"
    fits = (kind for start, kind in _KINDS if key == start or key.startswith(f"{start}."))
    return next(fits, "other")


def _settings(content: Mapping[str, Any], defaults: Mapping[str, Any]) -> _Settings:
    remote = at(content, "engine", "name") == REMOTE or bool(at(content, "spec", "target", "url"))
    asked = _asked(content, defaults, remote)
    told = _told_by_engine(content, remote)
    known = {key: value for key, value in asked.items() if not _is_resolved(key)}
    became = {key: at(content, *path) for key, path in _RESOLVED.items()}
    known |= {key: value for key, value in became.items() if value is not None}
    known |= told | _flat({"environment": at(content, "environment") or {}})
    known.pop(_BOARDS, None)  # an empty list: each board has keys of its own
    parts = frozenset(part for part in ("spec", "engine", "environment") if content.get(part))
    return _Settings(_texts(known), _texts(asked), parts)


def _is_resolved(key: str) -> bool:
    return key in _RESOLVED or key.startswith("engine.")


def _asked(content: Mapping[str, Any], defaults: Mapping[str, Any], remote: bool) -> dict[str, Any]:
    """The spec's settings, those that its version did not have by default; without those that have
    no say over a server."""
    given = at(content, "spec")
    if not given:
        return {}
    spec = _flat(defaults) | _flat(given)
    if remote:
        model = spec.pop("target.model", None)
        spec = {key: value for key, value in spec.items() if not key.startswith(_OF_ENGINES)}
        spec["model.name"] = model
    return spec


def _told_by_engine(content: Mapping[str, Any], remote: bool) -> dict[str, Any]:
    told = _flat({"engine": at(content, "engine") or {}})
    named = {".".join(path) for path in _RESOLVED.values() if path[0] == "engine"}
    if remote:
        named |= {f"engine.{name}" for name in _TOLD_OF_REMOTE}
    return {key: value for key, value in told.items() if key not in named}


def _texts(settings: Mapping[str, Any]) -> dict[str, str]:
    return {key: _text(key, value) for key, value in settings.items() if not _is_noise(key)}


def _is_noise(key: str) -> bool:
    return any(key == noise or key.startswith(f"{noise}.") for noise in _SAYS_NOTHING)


def _flat(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{name}.")
        elif isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
            for place, one in enumerate(value):
                named = {key: each for key, each in one.items() if key != "device"}
                flat |= _flat(named, f"{before}{name}.{one.get('device', place)}.")
        else:
            flat[before + str(name)] = value
    return flat


def _text(key: str, value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, float):
        return f"{value:.6g}"
    if key.endswith(_ROUNDED) and isinstance(value, int):
        return size_text(value)
    return value if isinstance(value, str) else json.dumps(value)
