"""The flags that say how a trace is read and changed, and the options that they make."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

from workbench.errors import SpecError
from workbench.units import parse_window, ratio, seconds
from workloads.fitting import FITTING_RULE
from workloads.traces.options import TraceOptions

Value = TypeVar("Value")


def add_trace_flags(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for each of `TraceOptions`, and `--seed`."""
    group = parser.add_argument_group("what is taken of the trace, and how it is changed")
    group.add_argument(
        "--skip-bad", action="store_true", help="leave broken rows out instead of refusing the file"
    )
    group.add_argument(
        "--window",
        type=_reader(parse_window),
        metavar="FROM..TO",
        help="only this part of its time, such as 10m..20m",
    )
    group.add_argument("--limit", type=int, metavar="N", help="at most N requests")
    group.add_argument(
        "--jitter",
        type=_reader(seconds),
        default=0.0,
        metavar="S",
        help="move each arrival later by up to S, such as 3s, where stamps were rounded",
    )
    group.add_argument(
        "--speed", type=float, default=1.0, metavar="X", help="its time passes X times as fast"
    )
    group.add_argument(
        "--scale-lengths",
        type=_reader(ratio),
        default=1.0,
        metavar="X",
        help="prompts, answers and blocks X times as long, such as 0.25 or 1/4",
    )
    group.add_argument(
        "--max-context",
        type=int,
        metavar="TOKENS",
        help=f"longest prompt + output after scaling. {FITTING_RULE}",
    )
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of the jitter (default 0)")


def trace_options(arguments: argparse.Namespace) -> TraceOptions:
    """The options that the flags make. Raises `WorkloadError` for values that make no sense."""
    return TraceOptions(
        skip_bad=arguments.skip_bad,
        window_s=arguments.window,
        limit=arguments.limit,
        jitter_s=arguments.jitter,
        speed=arguments.speed,
        scale_lengths=arguments.scale_lengths,
        max_context=arguments.max_context,
    )


def _reader(read: Callable[[str], Value]) -> Callable[[str], Value]:
    """`read`, with its error's own words as argparse shows them."""

    def checked(text: str) -> Value:
        try:
            return read(text)
        except SpecError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked
