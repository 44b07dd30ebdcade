"""`workbench sweep`: many runs along a rate or a concurrency, to a table and a chart."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from rich.console import Console

from workbench.cli.flags import add_flags, add_spec_flags, given
from workbench.cli.run import spec_from
from workbench.errors import (
    EXIT_ATTAINMENT_MISSED,
    EXIT_OK,
    EXIT_RUN_FAILED,
    SpecError,
)
from workbench.launch.interruption import Interruption
from workbench.launch.repeats import repeats_of
from workbench.spec import RunSpec
from workbench.sweeps.execute import Sweeper, reusable
from workbench.sweeps.live import Progress
from workbench.sweeps.planner import Grid, Plan, Search
from workbench.sweeps.ranges import Span, parse_axis, parse_tolerance
from workbench.sweeps.report import SweepReport, as_json
from workbench.sweeps.state import Sweep, SweepFolder, new_sweep

DEFAULT_ATTAINMENT = 0.9
FIND_TOLERANCE, KNEE_TOLERANCE = 0.05, 0.25
REMOTE_START_PER_S = 1.0

RANGES = {
    "--rate": "requests per second to sweep over; see below",
    "--concurrency": "requests at a time to sweep over; see below",
}

EPILOG = """\
the swept flag, --rate or --concurrency, takes
  1..64        1, 2, 4, … until the engine is saturated, then bisection around the limit
  1..8/8       8 evenly spaced values; with --points N instead, N values of equal ratio
  1,2,4,8      these, every one
  auto         (rate) as a range, from a quarter of the measured capacity (default)

examples:
  workbench sweep --workload chat --rate 0.5..8 --duration 60
  workbench sweep --workload chat --concurrency 1,2,4,8,16
  workbench sweep --find max-goodput --slo ttft=2s,tpot=150ms --attainment 0.9 --duration 120
  workbench sweep --resume last

Ctrl-C ends the running point and saves the sweep; a second one doesn't wait for it to drain.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `workbench sweep`."""
    parser.epilog = EPILOG
    sweep = parser.add_argument_group("sweep")
    sweep.add_argument(
        "--points",
        metavar="N",
        type=int,
        help="N values over the range, each the same ratio above the last",
    )
    sweep.add_argument(
        "--repeat",
        metavar="N",
        type=int,
        help="runs of every point, with seeds seed, seed+1, … (default 1)",
    )
    sweep.add_argument(
        "--find", choices=["max-goodput"], help="search the highest rate at which the SLO is kept"
    )
    sweep.add_argument(
        "--attainment",
        metavar="X",
        type=float,
        help="share of the requests that must meet every SLO (default 0.9)",
    )
    sweep.add_argument(
        "--tolerance",
        metavar="X%",
        help="relative width at which bisection ends (default 5%% for max-goodput, else 25%%)",
    )
    sweep.add_argument(
        "--resume",
        metavar="SWEEP",
        help="go on with a sweep: an id or its beginning, a name, a path, last",
    )
    add_flags(parser, RANGES)
    more = parser.add_argument_group("spec and output")
    add_spec_flags(more)
    more.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        help="the sweep's own folder, its runs below it (default beside the run store)",
    )
    more.add_argument("--json", action="store_true",
                      help="write the outcome to stdout, and nothing else")  # fmt: skip


def execute(arguments: argparse.Namespace) -> int:
    """Runs or goes on with a sweep, and reports."""
    if arguments.resume is not None:
        return _resume(arguments)
    sweep = sweep_from(arguments)
    out = arguments.out.resolve() if arguments.out else None
    folder = SweepFolder.create(sweep, out)
    with folder.held():
        return _run(folder, sweep, arguments.json)


def _resume(arguments: argparse.Namespace) -> int:
    taken = [flag.name for flag, _ in given(arguments)]
    own = ("points", "repeat", "find", "attainment", "tolerance", "slo", "spec", "out")
    taken += [f"--{name}" for name in own if getattr(arguments, name) is not None]
    if taken:
        raise SpecError(
            f"--resume takes everything from the sweep; leave {', '.join(taken)} out, or start "
            "a sweep anew"
        )
    folder = SweepFolder.find(arguments.resume)
    with folder.held():
        sweep, again = reusable(folder.read())
        for sentence in again:
            print(sentence, file=sys.stderr)
        return _run(folder, sweep, arguments.json)


def _run(folder: SweepFolder, sweep: Sweep, json_wanted: bool) -> int:
    progress = Progress(sweep.axis, sweep.plan.target, sys.stderr)
    interruption = Interruption()

    def on_signal(number: int, _: FrameType | None) -> None:
        interruption.ask(at_once=number != signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    progress.say(f"sweep {sweep.sweep_id} in {folder.path}")
    sweeper = Sweeper(folder, sweep, progress.watch, progress.told, interruption)
    try:
        sweep = sweeper.run()
    except SpecError:
        if sweeper.sweep.results:
            _report(folder, sweeper.sweep, json_wanted)
        raise
    _report(folder, sweep, json_wanted)
    if sweep.state != "finished":
        what = "was interrupted" if sweep.state == "interrupted" else f"ended: {sweep.reason}"
        where = sweep.sweep_id if folder.at_home else folder.path
        print(f"workbench sweep: it {what}", file=sys.stderr)
        print(f"go on with: workbench sweep --resume {where}", file=sys.stderr)
        return EXIT_RUN_FAILED
    if not any(not run.failed for run in sweep.results):
        return EXIT_RUN_FAILED
    return _attained(sweep)


def _attained(sweep: Sweep) -> int:
    """Exit code 3 where --require-attainment was given and a search found no rate that keeps it."""
    if sweep.spec.slo.require_attainment is None:
        return EXIT_OK
    found = as_json(sweep, Path())["max_goodput"]
    return EXIT_ATTAINMENT_MISSED if found and found["rate_per_s"] is None else EXIT_OK


def _report(folder: SweepFolder, sweep: Sweep, json_wanted: bool) -> None:
    if json_wanted:
        print(json.dumps(as_json(sweep, folder.path), indent=1, allow_nan=False))
        return
    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", "100"))
    console = Console(width=width, highlight=False)
    console.print(SweepReport(sweep))
    console.print(f"sweep folder: {folder.path}", soft_wrap=True)


def sweep_from(arguments: argparse.Namespace) -> Sweep:
    """The sweep that the flags ask for. Raises `SpecError`."""
    if arguments.rate is not None and arguments.concurrency is not None:
        raise SpecError("sweep either a --rate or a --concurrency")
    axis = "rate" if arguments.concurrency is None else "concurrency"
    text = arguments.rate or arguments.concurrency or "auto"
    values = parse_axis(axis, text, arguments.points)
    first = values.low if isinstance(values, Span) else values.values[0]
    spec = _base_spec(arguments, axis, first)
    if first is None and spec.target.url:
        # Nobody can calibrate a server that isn't ours: it starts low and goes where it must.
        first = REMOTE_START_PER_S
    target = _target(arguments, spec)
    repeats = repeats_of(arguments.repeat)
    find = arguments.find is not None
    if find and (axis != "rate" or not isinstance(values, Span)):
        raise SpecError(
            "--find max-goodput searches a rate: give a range, such as --rate 0.5..64, or auto"
        )
    if find and target is None:
        raise SpecError("--find max-goodput needs limits, such as --slo ttft=500ms,tpot=50ms")
    if isinstance(values, Span):
        tolerance = FIND_TOLERANCE if find else KNEE_TOLERANCE
        if arguments.tolerance is not None:
            tolerance = parse_tolerance(arguments.tolerance)
        plan: Plan = Search(axis, first, values.high, tolerance, target, find, repeats)
    elif arguments.tolerance is not None:
        raise SpecError("--tolerance ends a bisection; a list of values has none")
    else:
        plan = Grid(values.values, values.whole, target, repeats)
    return new_sweep(spec, axis, plan)


def _base_spec(arguments: argparse.Namespace, axis: str, first: float | None) -> RunSpec:
    """The spec of every run, with the first load in it, so that it can be checked now."""
    once = argparse.Namespace(**vars(arguments))
    once.rate = once.concurrency = None
    if axis == "concurrency":
        once.concurrency = int(first or 1)
    elif first is not None:
        once.rate = str(first)
    elif getattr(once, "target", None):
        once.rate = str(REMOTE_START_PER_S)
    else:
        once.rate = "auto"
    spec = spec_from(once)
    if spec.trace.file and spec.traffic.rate == "auto" and spec.traffic.concurrency is None:
        raise SpecError("a sweep of a trace needs --rate or --concurrency, such as --rate 1..64")
    return spec


def _target(arguments: argparse.Namespace, spec: RunSpec) -> float | None:
    """The share of requests that must meet every SLO; None where no SLO is set."""
    chosen: float | None = arguments.attainment
    if chosen is not None and not 0 < chosen <= 1:
        raise SpecError(f"--attainment {chosen:g}: a share above 0 and at most 1, such as 0.9")
    if not spec.slo.limits:
        if chosen is not None:
            raise SpecError("--attainment needs limits, such as --slo ttft=500ms,tpot=50ms")
        return None
    if chosen is not None:
        return chosen
    return spec.slo.require_attainment or DEFAULT_ATTAINMENT
