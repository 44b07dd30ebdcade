"""The fields of the launch form, and the way between their texts and a spec."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engines.options import (
    ATTENTION,
    DEVICES,
    DTYPES,
    ENGINES,
    KERNELS,
    KV_DTYPES,
    QUANTIZATIONS,
)
from engines.remote.options import APIS
from engines.scheduling.config import BATCHING, POLICIES
from workbench.errors import SpecError
from workbench.flags import Flag, all_flags, with_whole_paths
from workbench.launch.command_line import bytes_text, limit_text, value_text
from workbench.sections import SLO_METRICS
from workbench.spec import RunSpec, parse_spec
from workloads.arrivals import ARRIVAL_PROCESSES
from workloads.catalogue import workloads
from workloads.thinking import KINDS as THINK_KINDS

_SECTIONS: Mapping[str, str] = {
    "Target": "target api target-model tokenizer | timeout retries http2 processes",
    "Model": "model device dtype | quantization threads",
    "Traffic": "workload trace arrival modulation rate share concurrency duration warmup | "
    "burstiness shape rate-file think think-kind drain input-tokens output-tokens shared-prefix "
    "documents document-tokens document-zipf gap-scale cancel-share cancel-after",
    "Trace": "| speed window limit jitter scale-lengths max-context skip-bad",
    "Limits": "ttft tpot itl e2e require-attainment",
    "Engine": "max-num-seqs max-num-batched-tokens block-size kv-memory chunked-prefill "
    "prefix-caching batching policy | engine num-blocks max-model-len attention kernels graphs "
    "overlap kv-cache-dtype",
    "Sampling": "temperature top-k top-p ignore-eos",
    "Run": "seed name profile",
}
"""Which fields stand where; those after the bar are seldom changed."""

_LIMITS = {
    "ttft": "time to first token, counted from the intended arrival",
    "tpot": "time per output token after the first",
    "itl": "every gap between two tokens",
    "e2e": "from the intended arrival to the last token",
}


_UNSET = {
    "--target": "none: an engine in the run",
    "--burstiness": "default",
    "--shape": "default",
    "--input-tokens": "the workload's",
    "--output-tokens": "the workload's",
    "--window": "all of it",
    "--limit": "all of them",
    "--kv-memory": "default",
    "--num-blocks": "default",
}
"""What stands for a field where nothing is written and its flag's help doesn't say."""

_NONE = "none"


@dataclass(frozen=True, slots=True)
class Field:
    """One line of the form.

    Attributes:
        name: unique; the flag's, without dashes in front.
        path: where its value goes in the spec.
        help: what it is, in a sentence; usage: how it is written as a flag.
        kind: "text", "choice" or "switch"; a switch that may be left open is a choice.
        choices: (value, what it means) of a choice or switch; the first is the default.
        placeholder: what holds where nothing is written.
        seldom: shown only among all options.
    """

    name: str
    path: tuple[str, ...]
    help: str
    usage: str
    kind: str
    choices: tuple[tuple[str, str], ...] = ()
    placeholder: str = ""
    seldom: bool = False
    flag: Flag | None = None

    @property
    def key(self) -> str:
        """Its place in the spec, as messages name it."""
        return ".".join(self.path)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with the form: the field where it shows, if it is one's, and a sentence."""

    field: str | None
    message: str


def form_sections() -> dict[str, tuple[Field, ...]]:
    """Every field of the form, by section."""
    flags = {flag.name.removeprefix("--"): flag for flag in all_flags()}
    plain = RunSpec().model_dump()
    sections: dict[str, tuple[Field, ...]] = {}
    for title, names in _SECTIONS.items():
        common, _, seldom = names.partition("|")
        fields = [(name, False) for name in common.split()]
        fields += [(name, True) for name in seldom.split()]
        sections[title] = tuple(
            _of_limit(name) if name in SLO_METRICS else _of_flag(flags[name], plain, is_seldom)
            for name, is_seldom in fields
        )
    return sections


def _of_limit(name: str) -> Field:
    usage = f"--slo {name}=LIMIT"
    said = f"limit of {_LIMITS[name]}, such as 500ms or 2s"
    return Field(name, ("slo", name), said, usage, "text", placeholder=_NONE)


def _of_flag(flag: Flag, plain: dict[str, Any], seldom: bool) -> Field:
    default = _at(plain, flag.path)
    choices = _choices(flag, default)
    is_switch = flag.kind == "switch" and default is not None
    kind = "switch" if is_switch else "choice" if choices else "text"
    said = re.search(r"\(default:? ([^)]*)\)", flag.help)
    if default not in (None, ""):
        placeholder = value_text(default)
    else:
        placeholder = said[1] if said is not None else _UNSET.get(flag.name, _NONE)
    usage = f"{flag.name} {flag.metavar}".rstrip()
    name = flag.name.removeprefix("--")
    return Field(name, flag.path, flag.help, usage, kind, choices, placeholder, seldom, flag)


def _choices(flag: Flag, default: Any) -> tuple[tuple[str, str], ...]:
    if flag.kind == "switch" and default is None:
        return (("", "where possible"), ("on", "on"), ("off", "off"))
    if flag.kind == "switch":
        return (("on", "on"), ("off", "off")) if default else (("off", "off"), ("on", "on"))
    if flag.name == "--workload":
        return tuple((each.name, f"{each.name}: {each.description}") for each in workloads())
    if flag.name == "--arrival":
        own = ("", "the workload's own")
        return (own, *((name, name) for name in ARRIVAL_PROCESSES))
    known: dict[str, tuple[str, ...]] = {
        "--think-kind": THINK_KINDS,
        "--api": APIS,
        "--engine": ENGINES,
        "--policy": POLICIES,
        "--batching": BATCHING,
        "--device": DEVICES,
        "--dtype": DTYPES,
        "--quantization": QUANTIZATIONS,
        "--attention": ATTENTION,
        "--kernels": KERNELS,
        "--kv-cache-dtype": KV_DTYPES,
        "--profile": ("minimal", "none"),
    }
    return tuple((name, name) for name in sorted(known.get(flag.name, ()), key=default.__ne__))


def texts_of(spec: RunSpec, fields: Iterator[Field]) -> dict[str, str]:
    """The text of each field that says what the spec has; empty where that is the default."""
    data, plain = spec.model_dump(), RunSpec().model_dump()
    return {field.name: _text(field, _at(data, field.path), _at(plain, field.path))
            for field in fields}  # fmt: skip


def _text(field: Field, value: Any, default: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if field.kind == "choice":
        return value or ""
    if value == default:
        return ""
    if field.path[0] == "slo" and field.flag is None:
        return limit_text(value) or f"{value!r}ms"
    return bytes_text(value) if field.name == "kv-memory" else value_text(value)


def beside_the_form(spec: RunSpec, fields: Iterator[Field]) -> dict[str, Any]:
    """What the spec says that no field shows, as plain data."""
    data = spec.model_dump(exclude_defaults=True)
    for field in fields:
        section = data
        for key in field.path[:-1]:
            section = section.get(key, {})
        section.pop(field.path[-1], None)
    return {key: value for key, value in data.items() if value != {}}


def read_form(
    texts: Mapping[str, str], fields: Mapping[str, Field], beside: Mapping[str, Any]
) -> RunSpec | Problem:
    """The spec that the texts mean, or the first thing that is wrong with them."""
    data = {key: dict(value) if isinstance(value, dict) else value for key, value in beside.items()}
    for name, text in texts.items():
        field, text = fields[name], text.strip()
        if not text:
            continue
        try:
            value = _read(field, text)
        except SpecError as error:
            return Problem(name, str(error))
        section = data
        for key in field.path[:-1]:
            section = section.setdefault(key, {})
        section[field.path[-1]] = value
    try:
        return parse_spec(with_whole_paths(data), "form")
    except SpecError as error:
        message = str(error).removeprefix("form: ")
        return Problem(_field_of(message, fields), message)


def _read(field: Field, text: str) -> Any:
    if field.flag is not None and field.flag.kind == "switch":
        return text == "on"
    return text if field.flag is None else field.flag.read(text)


def _field_of(message: str, fields: Mapping[str, Field]) -> str | None:
    """The field that a message of the spec is about: the one whose flag or key it begins with, or
    the first one that it names, of the section that it begins with."""
    flag = re.match(r"--([\w-]+)", message)
    if flag is not None and flag[1] in fields:
        return flag[1]
    head = re.match(r"[\w.]+(?= = |: )", message)
    key = head[0] if head is not None else ""
    for name, field in fields.items():
        if field.key == key:
            return name
    here = {field.path[-1]: name for name, field in fields.items() if field.path[0] == key}
    named = here or {field.path[-1]: name for name, field in fields.items()}
    words = re.findall(r"\w+", message[len(key) :])
    return next((named[word] for word in words if word in named), next(iter(here.values()), None))


def _at(data: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = data
    for key in path:
        value = value[key]
    return value
