"""`workbench lab`: experiments, each a baseline and an optimised side run in turn, and a claim."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.errors import EXIT_GATE_FAILED, EXIT_OK, EXIT_RUN_FAILED, SpecError
from workbench.flags import all_flags

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

    from workbench.lab.experiment import Device, Experiment
    from workbench.lab.outcome import Outcome
    from workbench.lab.plan import Plan
    from workbench.launch.interruption import Interruption

OVERRIDES = {
    "--model": "see `workbench models` (default smollm2-135m-instruct)",
    "--device": "auto (default), cpu or cuda; each has a load of its own",
    "--dtype": "auto (default), float32 or bfloat16",
    "--rate": "requests per second, a number",
    "--concurrency": "closed loop of N requests at a time instead of a rate",
    "--duration": "length of each run's traffic, such as 120 or 2m",
    "--seed": "of the first run of each side; the next have seed+1, … (default 0)",
}
"""The flags of `workbench run` that an experiment takes, and what they are for here."""

EPILOG = """\
examples:
  workbench lab list
  workbench lab run continuous-batching
  workbench lab run prefix-caching chunked-prefill --repeat 8 --json > lab.json
  workbench lab run all --model random:llama-3.1-8b --device cuda --update-expectations
  workbench lab run all --check
"""

RUN_EPILOG = """\
Both sides of a pair are run in turn, A B, B A, A B, …, with the same seeds. Each side's runs are
kept as a group, which `workbench compare` takes by its name. Ctrl-C ends the running run and the
experiment; what is complete is compared if it is two runs of each side or more.

exit codes: 0 fine, 1 a run failed or it was interrupted, 2 bad use, 4 the evidence refutes a claim
or, with --check, shows a drift from what was recorded
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `workbench lab`."""
    parser.epilog = EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="every experiment, and what it came to here before")
    _add_overrides(listing, ("--model", "--device"))
    listing.add_argument("--json", action="store_true", help="as JSON")
    run = actions.add_parser(
        "run",
        help="run experiments and judge their claims",
        epilog=RUN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("name", metavar="NAME", nargs="+", help="see `workbench lab list`; or all")
    run.add_argument(
        "--repeat", metavar="N", type=int, help="runs of each side (default 5, of some 10)"
    )
    _add_overrides(run, OVERRIDES)
    run.add_argument(
        "--check", action="store_true", help="exit 4 where a figure drifted from what was recorded"
    )
    run.add_argument(
        "--update-expectations",
        action="store_true",
        help="record what it comes to, for this hardware and model",
    )
    run.add_argument("--json", action="store_true", help="write the outcome to stdout as JSON")


def _add_overrides(parser: argparse.ArgumentParser, names: Iterable[str]) -> None:
    group = parser.add_argument_group("for both sides, in the place of the experiment's own")
    flags = {flag.name: flag for flag in all_flags()}
    for name in names:
        metavar = "N" if name == "--rate" else flags[name].metavar
        group.add_argument(name, metavar=metavar, help=OVERRIDES[name])


def execute(arguments: argparse.Namespace) -> int:
    """Lists experiments, or runs some."""
    return _list(arguments) if arguments.action == "list" else _run(arguments)


def _list(arguments: argparse.Namespace) -> int:
    from workbench.lab.catalogue import experiments
    from workbench.lab.listing import listed, listing
    from workbench.lab.shelf import Shelf

    asked = _asked(arguments)
    plans = [
        _plan(each, asked if each.runs_on(asked.device) else asked.on_gpu(), None)
        for each in experiments()
    ]
    shelf = Shelf.here(asked.device)
    if arguments.json:
        shown = [listed(plan, shelf) for plan in plans]
        print(json.dumps({"hardware_key": shelf.key, "experiments": shown}, indent=1))
    else:
        _print(listing(plans, shelf))
    return EXIT_OK


def _run(arguments: argparse.Namespace) -> int:
    from workbench.lab.plan import LEAST_RECORDED
    from workbench.lab.shelf import Shelf
    from workbench.launch.interruption import Interruption
    from workbench.launch.repeats import repeats_of

    repeats = None if arguments.repeat is None else repeats_of(arguments.repeat)
    if (arguments.check or arguments.update_expectations) and (repeats or 99) < LEAST_RECORDED:
        raise SpecError(
            f"--repeat {repeats}: what is recorded or checked takes {LEAST_RECORDED} runs of each "
            "side or more"
        )
    asked = _asked(arguments)
    plans = [_plan(each, asked, repeats) for each in runnable(arguments.name, asked.device)]
    shelf, interruption = Shelf.here(asked.device), Interruption()

    def on_signal(number: int, _: FrameType | None) -> None:
        interruption.ask(at_once=number != signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    outcomes: list[Outcome] = []
    try:
        for plan in plans:
            if interruption.asked:
                break
            outcomes.append(_experiment(plan, shelf, interruption, arguments))
    finally:
        if arguments.json:
            _print_json(outcomes)
    return _exit_code(outcomes, len(plans), arguments.check)


def _experiment(
    plan: Plan, shelf: Any, interruption: Interruption, arguments: argparse.Namespace
) -> Outcome:
    from workbench.lab.execute import Interleaver, in_process
    from workbench.lab.live import Progress
    from workbench.lab.outcome import outcome_of
    from workbench.lab.report import compare_command, report
    from workbench.runs.store import RunStore

    progress = Progress(plan, sys.stderr)
    progress.begin()
    run_one = in_process(RunStore(), interruption, progress.watch)
    execution = Interleaver(plan, run_one, progress.told, interruption).execute()
    outcome = outcome_of(execution, shelf.key, shelf.recorded)
    if not arguments.json:
        _print(report(outcome))
        if outcome.comparison is not None:
            print(f"every metric: {compare_command(outcome)}\n")
    if arguments.update_expectations:
        print(f"workbench lab: {plan.experiment.name}: {shelf.record(outcome)}", file=sys.stderr)
    return outcome


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the command line says of every experiment: the device, and what it lays over both
    sides, as plain data of a spec and as words."""

    device: Device
    given: dict[str, Any]
    words: tuple[str, ...]

    def on_gpu(self) -> _Asked:
        """The same for a GPU, which need not be here."""
        model = {key: value for key, value in self.given.get("model", {}).items()
                 if key != "device"}  # fmt: skip
        return _Asked("cuda", self.given | {"model": model}, self.words)


def _asked(arguments: argparse.Namespace) -> _Asked:
    from workbench.launch.fit import device_kind

    given: dict[str, Any] = {}
    words: list[str] = []
    for flag in all_flags():
        text = getattr(arguments, flag.attribute, None) if flag.name in OVERRIDES else None
        if text is None:
            continue
        words += [flag.name, text]
        section = given
        for key in flag.path[:-1]:
            section = section.setdefault(key, {})
        section[flag.path[-1]] = flag.read(text)
    asked = given.get("model", {}).get("device", "auto")
    return _Asked("cuda" if device_kind(asked) == "cuda" else "cpu", given, tuple(words))


def runnable(names: list[str], device: Device) -> list[Experiment]:
    """The experiments of these names; of "all", those that the device can run, and a line on
    stderr for each that it can't."""
    from workbench.lab.catalogue import ALL, chosen

    found = []
    for each in chosen(names):
        if each.runs_on(device) or ALL not in names:
            found.append(each)
        else:
            print(f"workbench lab: {each.name}: left out, it needs a GPU", file=sys.stderr)
    return found


def _plan(experiment: Experiment, asked: _Asked, repeats: int | None) -> Plan:
    from workbench.lab.plan import plan_of

    return plan_of(experiment, asked.device, asked.given, repeats, asked.words)


def _print(shown: Any) -> None:
    from rich.console import Console

    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", "100"))
    Console(width=width, highlight=False).print(shown)


def _print_json(outcomes: list[Outcome]) -> None:
    from workbench.lab.report import as_json

    shown = {"experiments": [as_json(outcome) for outcome in outcomes]}
    print(json.dumps(shown, indent=1, allow_nan=False))


def _exit_code(outcomes: list[Outcome], planned: int, check: bool) -> int:
    """Says on stderr what did not end well."""
    ended = True
    for outcome in outcomes:
        execution = outcome.execution
        if execution.ending != "finished":
            ended = False
            name = execution.plan.experiment.name
            print(f"workbench lab: {name}: {execution.reason}", file=sys.stderr)
    if not ended or len(outcomes) < planned:
        return EXIT_RUN_FAILED
    refuted = any(outcome.refuted for outcome in outcomes)
    drifted = check and any(outcome.drifted for outcome in outcomes)
    return EXIT_GATE_FAILED if refuted or drifted else EXIT_OK
