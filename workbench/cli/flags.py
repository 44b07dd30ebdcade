"""The flags of `workbench run` for argparse.

A flag that isn't given leaves the spec file's value; values are checked by the spec.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from workbench.errors import SpecError
from workbench.flags import GROUPS, Flag, all_flags


def add_flags(parser: argparse.ArgumentParser, ranges: Mapping[str, str] | None = None) -> None:
    """Adds every flag, in its group; those in `ranges` take a text, with the help given there."""
    ranges = ranges or {}
    for title, flags in GROUPS.items():
        group = parser.add_argument_group(title)
        for flag in flags:
            if flag.name in ranges:
                group.add_argument(flag.name, metavar="RANGE", help=ranges[flag.name])
            elif flag.kind == "switch":
                group.add_argument(flag.name, action=argparse.BooleanOptionalAction, help=flag.help)
            else:
                read = str if flag.kind in ("text", "rate") else _reader(flag)
                group.add_argument(flag.name, metavar=flag.metavar, type=read, help=flag.help)


def add_spec_flags(group: argparse._ArgumentGroup) -> None:
    """--slo and --spec, which are no single value of the spec."""
    group.add_argument(
        "--slo",
        metavar="LIMITS",
        help="limits per request, such as ttft=500ms,tpot=50ms (also itl, e2e)",
    )
    group.add_argument(
        "--spec",
        metavar="FILE.toml",
        type=Path,
        help="read the spec from a file; flags override it",
    )


def given(arguments: argparse.Namespace) -> list[tuple[Flag, Any]]:
    """The flags that were given, with their values."""
    values = [(flag, getattr(arguments, flag.attribute)) for flag in all_flags()]
    return [(flag, value) for flag, value in values if value is not None]


def _reader(flag: Flag) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return flag.read(text)
        except SpecError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read
