"""The engine's and the model's flags, of `workbench run`, for commands that make no run."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from workbench.errors import SpecError
from workbench.flags import GROUPS, Flag

if TYPE_CHECKING:
    from engines.options import EngineOptions

_SECTIONS = ("engine", "model")


def engine_flags(names: Iterable[str] | None = None) -> list[Flag]:
    """These flags of the engine and the model, or all, in the order of `workbench run --help`."""
    wanted = None if names is None else set(names)
    flags = [flag for section in _SECTIONS for flag in GROUPS[section]]
    return [flag for flag in flags if wanted is None or flag.name in wanted]


def add_engine_flags(
    parser: argparse.ArgumentParser,
    names: Iterable[str] | None = None,
    defaults: Mapping[str, str] | None = None,
) -> None:
    """Adds them to a parser; texts are read by `engine_options`. `defaults` are by flag."""
    group = parser.add_argument_group("engine")
    for flag in engine_flags(names):
        if flag.kind == "switch":
            group.add_argument(flag.name, action=argparse.BooleanOptionalAction, help=flag.help)
        else:
            default = (defaults or {}).get(flag.name)
            text = flag.help if default is None else f"default {default}"
            group.add_argument(flag.name, metavar=flag.metavar, default=default, help=text)


def engine_options(
    arguments: argparse.Namespace,
    names: Iterable[str] | None = None,
    instead: Mapping[str, str] | None = None,
) -> EngineOptions:
    """The options that these flags ask for; `instead` has texts by flag that go before.

    Raises:
        SpecError: a value is impossible.
    """
    from workbench.spec import parse_spec

    data: dict[str, Any] = {}
    for flag in engine_flags(names):
        value = (instead or {}).get(flag.name, getattr(arguments, flag.attribute))
        if value is None:
            continue
        if isinstance(value, str):
            value = _read(flag, value)
        section, key = flag.path
        data.setdefault(section, {})[key] = value
    return parse_spec(data, "bad option").engine_options()


def _read(flag: Flag, text: str) -> int | float | str:
    try:
        return flag.read(text)
    except SpecError as error:
        raise SpecError(f"{flag.name}: {error}") from None
