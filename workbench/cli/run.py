"""`workbench run`: one run, headless, from flags or a spec file to a report."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from workbench.cli.flags import add_flags, add_spec_flags, given
from workbench.cli.screen import Screen
from workbench.errors import (
    EXIT_ATTAINMENT_MISSED,
    EXIT_BAD_USE,
    EXIT_OK,
    EXIT_RUN_FAILED,
    SpecError,
)
from workbench.flags import with_whole_paths
from workbench.launch.launcher import Runner, create_run, log_tail, settle
from workbench.runs.folder import RunFolder
from workbench.runs.store import RunStore
from workbench.spec import RunSpec, parse_slo, parse_spec, read_spec

EPILOG = """\
examples:
  workbench run --workload chat --duration 120
  workbench run --workload code --rate 0.5 --slo ttft=2s,tpot=100ms --require-attainment 0.9
  workbench run --workload chat --concurrency 8 --model random:qwen3-0.6b --device cuda
  workbench run --trace azure.csv --window 10m..20m --speed 2
  workbench run --target http://127.0.0.1:8000/v1 --workload multiturn --rate 4
  workbench run --spec nightly.toml --seed 7 --json > summary.json

Ctrl-C stops the arrivals and drains for up to 10 s; a second one stops at once. Either way the
run is saved, as "interrupted".
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `workbench run`."""
    parser.epilog = EPILOG
    add_flags(parser)
    more = parser.add_argument_group("spec and output")
    add_spec_flags(more)
    more.add_argument(
        "--out", metavar="DIR", type=Path, help="the run's own folder (default in the run store)"
    )
    more.add_argument(
        "--json", action="store_true", help="write the summary to stdout, and nothing else"
    )
    more.add_argument(
        "--print-spec", action="store_true", help="print the whole spec as TOML and exit"
    )


def spec_from(arguments: argparse.Namespace) -> RunSpec:
    """The spec file, if any, with the flags laid over it. Raises `SpecError`."""
    data: dict[str, Any] = read_spec(arguments.spec) if arguments.spec else {}
    for flag, value in given(arguments):
        if flag.kind == "rate":
            value = flag.read(value)
        section: Any = data
        for key in flag.path[:-1]:
            section = section.setdefault(key, {})
            if not isinstance(section, dict):
                raise SpecError(f"spec {arguments.spec}: {key} must be a table")
        section[flag.path[-1]] = value
    data = with_whole_paths(data)
    # A flag for one kind of loop takes the place of the spec file's other kind.
    if arguments.concurrency is not None and arguments.rate is None:
        data["traffic"].pop("rate", None)
    if arguments.rate is not None and arguments.concurrency is None:
        data["traffic"].pop("concurrency", None)
    if arguments.slo:
        data.setdefault("slo", {}).update(parse_slo(arguments.slo))
    where = f"spec {arguments.spec}" if arguments.spec else "bad option"
    return parse_spec(data, where)


def execute(arguments: argparse.Namespace) -> int:
    """Starts the runner, shows how it goes, and reports."""
    spec = spec_from(arguments)
    if arguments.print_spec:
        print(spec.as_toml(), end="")
        return EXIT_OK
    out = arguments.out.resolve() if arguments.out else None
    folder = create_run(spec, out, RunStore())
    runner = Runner(folder)

    def on_signal(number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT:
            runner.interrupt()
        else:
            runner.terminate()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    with Screen(runner, spec, sys.stderr) as screen:
        code = runner.watch(screen.period_s, screen.look)
    content = settle(folder, code)
    return _report(folder, content, spec, arguments.json)


def _report(folder: RunFolder, content: dict[str, Any], spec: RunSpec, as_json: bool) -> int:
    if content.get("exit_code") == EXIT_BAD_USE:
        print(f"workbench run: {content['reason']}", file=sys.stderr)
        return EXIT_BAD_USE
    state, summary = content["state"], content.get("summary")
    if as_json:
        chosen = ("run_id", "name", "state", "reason", "rate_per_s", "window", "engine", "summary")
        summary_json = {"path": str(folder.path)} | {key: content.get(key) for key in chosen}
        print(json.dumps(summary_json, indent=1, allow_nan=False))
    elif summary is not None:
        print_report(folder, content)
    if state != "finished":
        what = "was interrupted" if state == "interrupted" else "failed"
        print(f"workbench run: the run {what}: {content['reason']}", file=sys.stderr)
        print(f"what was recorded is in {folder.path}", file=sys.stderr)
        if summary is None and (tail := log_tail(folder)):
            print(tail, file=sys.stderr)
        return EXIT_RUN_FAILED
    required = spec.slo.require_attainment
    if required is not None:
        attainment = (summary or {}).get("objectives", {}).get("attainment")
        if attainment is None or attainment < required:
            shown = "unknown" if attainment is None else f"{attainment:.1%}"
            print(f"workbench run: attainment {shown} is below {required:.1%}", file=sys.stderr)
            return EXIT_ATTAINMENT_MISSED
    return EXIT_OK


def print_report(folder: RunFolder, content: dict[str, Any]) -> None:
    """The end report on stdout, as wide as the terminal or 100 columns."""
    from workbench.analysis.report import report
    from workbench.runs.tables import load_tables

    terminal = sys.stdout.isatty()
    width = None if terminal else int(os.environ.get("COLUMNS", "100"))
    console = Console(width=width, highlight=False)
    console.print(report(content, load_tables(folder)))
    console.print(f"run folder: {folder.path}", soft_wrap=True)
