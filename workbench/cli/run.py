"""`workbench run`: one run, headless, from flags or a spec file to a report."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
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
from workbench.launch.interruption import Interruption, run_to_end
from workbench.launch.launcher import Runner, create_run, log_tail
from workbench.launch.repeats import EndedRun, new_group_id, repeats_of, run_group
from workbench.runs.folder import RunFolder
from workbench.runs.groups import GroupMember
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
  workbench run --workload chat --repeat 5

Ctrl-C stops the arrivals and drains for up to 10 s; a second one stops at once. Either way the
run is saved, as "interrupted", and no further one is begun.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `workbench run`."""
    parser.epilog = EPILOG
    add_flags(parser)
    more = parser.add_argument_group("spec and output")
    add_spec_flags(more)
    more.add_argument(
        "--repeat",
        metavar="N",
        type=int,
        help="so many runs, one after another, with seeds seed, seed+1, … (default 1)",
    )
    more.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        help="the run's own folder (default in the run store); of repeated runs DIR/1, DIR/2, …",
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
    """Starts the runner, shows how it goes, and reports; so many times."""
    spec, repeats = spec_from(arguments), repeats_of(arguments.repeat)
    if arguments.print_spec:
        print(spec.as_toml(), end="")
        return EXIT_OK
    out = arguments.out.resolve() if arguments.out else None
    interruption = Interruption()

    def on_signal(number: int, _: FrameType | None) -> None:
        interruption.ask(at_once=number != signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    if repeats > 1:
        return _repeat(spec, repeats, out, interruption, arguments.json)
    folder = create_run(spec, out, RunStore())
    content = run_to_end(folder, lambda runner: _watch(runner, spec), interruption)
    return _report(EndedRun(folder, content), spec, arguments.json)


def _repeat(
    spec: RunSpec, repeats: int, out: Path | None, interruption: Interruption, as_json: bool
) -> int:
    def watch(runner: Runner, own: RunSpec, member: GroupMember) -> int:
        said = f"run {member.number} of {repeats}, seed {own.seed}: {runner.folder.path}"
        print(said, file=sys.stderr, flush=True)
        return _watch(runner, own)

    group_id, store = new_group_id(spec), RunStore()
    runs = run_group(
        spec, group_id, repeats, watch=watch, interruption=interruption, store=store, out=out
    )
    return _report_group(group_id, repeats, runs, spec, as_json)


def _watch(runner: Runner, spec: RunSpec) -> int:
    with Screen(runner, spec, sys.stderr) as screen:
        return runner.watch(screen.period_s, screen.look)


def _report(run: EndedRun, spec: RunSpec, as_json: bool) -> int:
    if not run.was_bad_use:
        if as_json:
            print(json.dumps(_as_json(run), indent=1, allow_nan=False))
        elif run.content.get("summary") is not None:
            print_report(run.folder, run.content)
    return _judged(run, spec, "the run")


def _report_group(
    group_id: str, repeats: int, runs: Sequence[EndedRun], spec: RunSpec, as_json: bool
) -> int:
    begun = [run for run in runs if not run.was_bad_use]
    if as_json and begun:
        group = {"id": group_id, "of": repeats}
        shown = {"group": group, "runs": [_as_json(run) for run in begun]}
        print(json.dumps(shown, indent=1, allow_nan=False))
    elif begun:
        print_group(group_id, repeats, begun)
    codes = {_judged(run, spec, f"run {number}") for number, run in enumerate(runs, start=1)}
    if len(runs) < repeats and EXIT_BAD_USE not in codes:
        print(f"workbench run: ended after {len(runs)} of {repeats} runs", file=sys.stderr)
        codes.add(EXIT_RUN_FAILED)
    gravest = (EXIT_BAD_USE, EXIT_RUN_FAILED, EXIT_ATTAINMENT_MISSED)
    return next((code for code in gravest if code in codes), EXIT_OK)


def _as_json(run: EndedRun) -> dict[str, Any]:
    chosen = ("run_id", "name", "state", "reason", "rate_per_s", "window", "engine", "summary")
    return {"path": str(run.folder.path)} | {key: run.content.get(key) for key in chosen}


def _judged(run: EndedRun, spec: RunSpec, what: str) -> int:
    """The run's exit code; says on stderr why it isn't 0."""
    folder, content, summary = run.folder, run.content, run.content.get("summary")
    if run.was_bad_use:
        print(f"workbench run: {content['reason']}", file=sys.stderr)
        return EXIT_BAD_USE
    if content["state"] != "finished":
        how = "was interrupted" if content["state"] == "interrupted" else "failed"
        print(f"workbench run: {what} {how}: {content['reason']}", file=sys.stderr)
        print(f"what was recorded is in {folder.path}", file=sys.stderr)
        if summary is None and (tail := log_tail(folder)):
            print(tail, file=sys.stderr)
        return EXIT_RUN_FAILED
    required = spec.slo.require_attainment
    if required is not None:
        attainment = (summary or {}).get("objectives", {}).get("attainment")
        if attainment is None or attainment < required:
            shown = "unknown" if attainment is None else f"{attainment:.1%}"
            of = "" if what == "the run" else f"{what}: "
            print(f"workbench run: {of}attainment {shown} is below {required:.1%}", file=sys.stderr)
            return EXIT_ATTAINMENT_MISSED
    return EXIT_OK


def print_report(folder: RunFolder, content: dict[str, Any]) -> None:
    """The end report on stdout, as wide as the terminal or 100 columns."""
    from workbench.analysis.report import report
    from workbench.runs.tables import load_tables

    console = _console()
    console.print(report(content, load_tables(folder)))
    console.print(f"run folder: {folder.path}", soft_wrap=True)


def print_group(group_id: str, repeats: int, runs: Sequence[EndedRun]) -> None:
    """The figures of repeated runs on stdout, and their spread."""
    from workbench.launch.group_report import GroupReport

    console = _console()
    console.print(GroupReport(group_id, repeats, [run.content for run in runs]))
    for run in runs:
        console.print(f"run folder: {run.folder.path}", soft_wrap=True)


def _console() -> Console:
    terminal = sys.stdout.isatty()
    width = None if terminal else int(os.environ.get("COLUMNS", "100"))
    return Console(width=width, highlight=False)
