"""The command that does what a spec says, with only what differs from the defaults."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.flags import Flag, all_flags
from workbench.spec import RunSpec, parse_slo

_PROGRAM = ("workbench", "run")
_KEPT_DIGITS = range(6, 18)


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A command that a shell takes.

    Attributes:
        argv: its words, the program's first.
        needs_spec: what the spec says and no flag can, by key, such as "record.flush": it takes a
            spec file.
    """

    argv: tuple[str, ...]
    needs_spec: tuple[str, ...]

    @property
    def text(self) -> str:
        """The words as a shell reads them, quoted where they must be."""
        return shlex.join(self.argv)


def command_line(spec: RunSpec, program: Sequence[str] = _PROGRAM) -> CommandLine:
    """The command that starts `spec` from no spec file.

    `--workload` is said even where it is the default, unless a trace takes its place.
    """
    data, plain = spec.model_dump(), RunSpec().model_dump()
    words: list[str] = []
    unsaid = dict(_differences(data, plain))
    for flag in all_flags():
        value = _at(data, flag.path)
        always = flag.name == "--workload" and not spec.trace.file
        if not always and ".".join(flag.path) not in unsaid:
            continue
        unsaid.pop(".".join(flag.path), None)
        words += _words(flag, value)
    limits = [f"{name}={text}" for name, text in _limits(spec) if unsaid.pop(f"slo.{name}", None)]
    if limits:
        words += ["--slo", ",".join(limits)]
    return CommandLine((*program, *words), tuple(unsaid))


def _differences(data: dict[str, Any], plain: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Keys, as `section.name`, whose value is not the default one."""
    for key, value in data.items():
        if isinstance(plain[key], dict) and plain[key]:
            for name, each in value.items():
                if each != plain[key][name]:
                    yield f"{key}.{name}", each
        elif value != plain[key]:
            yield key, value


def _at(data: dict[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = data
    for key in path:
        value = value[key]
    return value


def _words(flag: Flag, value: Any) -> list[str]:
    """The flag with its value."""
    if flag.kind == "switch":
        return [flag.name if value else f"--no-{flag.name.removeprefix('--')}"]
    text = bytes_text(value) if flag.name == "--kv-memory" else value_text(value)
    # A value that begins with a dash would be taken for a flag.
    return [f"{flag.name}={text}"] if text.startswith("-") else [flag.name, text]


def value_text(value: Any) -> str:
    """A value of a spec as a flag takes it: numbers without a fraction of 0."""
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def bytes_text(value: int) -> str:
    """Bytes as `--kv-memory` takes them, exactly, in the largest unit that divides them."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value % factor == 0:
            return f"{value // factor}{unit}"
    return str(value)


def limit_text(limit_ms: float) -> str | None:
    """A limit as `--slo` takes it, in s from a second up and in ms below; None where no text of 17
    digits means exactly this one."""
    texts = [f"{limit_ms / 1e3:.{digits}g}s" for digits in _KEPT_DIGITS if limit_ms >= 1e3]
    texts += [f"{limit_ms:.{digits}g}ms" for digits in _KEPT_DIGITS]
    return next((text for text in texts if parse_slo(f"ttft={text}")["ttft"] == limit_ms), None)


def _limits(spec: RunSpec) -> Iterator[tuple[str, str]]:
    for name, limit_ms in spec.slo.limits.items():
        text = limit_text(limit_ms)
        if text is not None:
            yield name, text
