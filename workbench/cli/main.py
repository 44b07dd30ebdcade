"""The command line: what each command is called, and how its errors end."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from workbench.errors import (
    EXIT_BAD_USE,
    EXIT_OK,
    EXIT_RUN_FAILED,
    USER_ERRORS,
    did_you_mean,
    exit_code_of,
)

COMMANDS = {
    "attach": "open a run in the terminal app, live or ended",
    "top": "one screen of the run that is going on",
    "run": "run traffic against an engine and report what happened",
    "sweep": "run a range of rates or concurrencies; find the highest goodput",
    "compare": "put runs side by side: what differs, whether it is real, and why",
    "lab": "run named experiments, a baseline against an optimisation, and judge their claims",
    "runs": "list, show, remove and recover saved runs",
    "workloads": "list the named workloads, their statistics and sources",
    "trace": "show what is in a recorded trace, and convert it",
    "bench": "measure this program's own parts: engine, loop, recorder, prefill and decode, …",
    "perplexity": "how well a model predicts a text, and what a setting of the engine costs there",
    "export": "a run's data as CSV, JSON Lines, Parquet, or as AIPerf or GuideLLM write it",
    "models": "list the models that --model takes",
}
"""Every command, in the order that help shows; the module of each is `workbench.cli.<name>`."""


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one message: what, and what there is instead."""

    def __init__(self, *words: Any, **options: Any) -> None:
        super().__init__(*words, **({"allow_abbrev": False} | options))
        self.set_defaults(parser=self)

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_BAD_USE, f"{self.prog}: {message}\n(see {self.prog} --help)\n")

    def refuse(self, word: str) -> NoReturn:
        """Ends with the option or argument that is not known, and the nearest that is."""
        options = [name for action in self._actions for name in action.option_strings]
        near = difflib.get_close_matches(word.split("=")[0], options, n=1)
        self.error(f"unknown option {word}" + (f"; did you mean {near[0]}?" if near else ""))


def build_parser(command: str | None) -> Parser:
    """The parser; only `command`'s own options are filled in, so that others cost no import."""
    parser = Parser(
        prog="workbench",
        description="A terminal laboratory for LLM serving: real engines, real traffic, and the "
        "reason why a request was slow. Without a command it opens the terminal app.",
        epilog="exit codes: 0 fine, 1 the run failed or was interrupted, 2 bad use, "
        "3 attainment below --require-attainment, 4 a condition or a claim of a comparison failed",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument(
        "--ascii", action="store_true", help="the app, drawn with 7-bit characters alone"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name, summary in COMMANDS.items():
        sub = commands.add_parser(
            name, help=summary, description=summary[0].upper() + summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        if name == command:
            import_module(f"workbench.cli.{name}").add_arguments(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code; the console script `workbench`."""
    words = list(sys.argv[1:] if argv is None else argv)
    command = next((word for word in words if not word.startswith("-")), None)
    if command is not None and command not in COMMANDS:
        hint = did_you_mean(command, COMMANDS, cutoff=0.4)
        print(
            f"workbench: unknown command {command!r}; {hint}there are {', '.join(COMMANDS)}",
            file=sys.stderr,
        )
        return EXIT_BAD_USE
    parser = build_parser(command)
    try:
        arguments, unknown = parser.parse_known_args(words)
        if unknown:
            arguments.parser.refuse(unknown[0])
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else EXIT_BAD_USE
    if arguments.version:
        from importlib.metadata import version

        print(f"workbench {version('workbench')}")
        return EXIT_OK
    try:
        if command is None:
            opened: int = import_module("workbench.cli.opening").open_app(
                ascii_only=arguments.ascii
            )
            return opened
        code: int = import_module(f"workbench.cli.{command}").execute(arguments)
        return code
    except USER_ERRORS as error:
        print(f"workbench {command or ''}".rstrip() + f": {error}", file=sys.stderr)
        return exit_code_of(error)
    except KeyboardInterrupt:
        print(f"workbench {command}: interrupted", file=sys.stderr)
        return EXIT_RUN_FAILED
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
