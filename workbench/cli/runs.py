"""`workbench runs`: list, show, remove and recover saved runs."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from workbench.analysis.lookup import at
from workbench.errors import EXIT_OK, StoreError
from workbench.runs.store import RunStore, StoredRun, recover, remove


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `workbench runs`."""
    parser.epilog = "RUN is an id or its beginning, a name, a path, last, last~1, …"
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="every run, oldest first")
    listing.add_argument("--json", action="store_true", help="as JSON, whole")
    show = actions.add_parser("show", help="the report of a run")
    show.add_argument("run", metavar="RUN", nargs="?", default="last", help="default: last")
    show.add_argument("--json", action="store_true", help="its run.json")
    removal = actions.add_parser("rm", help="delete runs")
    removal.add_argument("run", metavar="RUN", nargs="+")
    removal.add_argument("--yes", action="store_true", help="don't ask")
    recovery = actions.add_parser("recover", help="make runs whole whose runner was killed")
    recovery.add_argument("run", metavar="RUN", nargs="*", help="default: every dead run")


def execute(arguments: argparse.Namespace) -> int:
    """Does one action on the store."""
    store = RunStore()
    actions = {"list": _list, "show": _show, "rm": _remove, "recover": _recover}
    actions[arguments.action](store, arguments)
    return EXIT_OK


def _list(store: RunStore, arguments: argparse.Namespace) -> None:
    runs, broken = store.runs()
    if arguments.json:
        print(json.dumps([run.content | {"state": run.state} for run in runs], indent=1))
    elif not runs:
        print(f"no runs in {store.root} yet; `workbench run` makes one")
    else:
        _print_table(runs)
    for problem in broken:
        print(f"not a run: {problem}", file=sys.stderr)


def _print_table(runs: list[StoredRun]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("run", "state", "workload", "engine"):
        table.add_column(heading, overflow="fold")
    for heading in ("req/s", "requests", "TTFT p50 ms", "TPOT p50 ms", "out tok/s"):
        table.add_column(heading, justify="right")
    for run in runs:
        content, summary = run.content, run.content.get("summary") or {}
        spec = content.get("spec", {})
        name = f"{run.run_id} ({run.name})" if run.name else run.run_id
        if run.group is not None:
            name += f", {run.group.number} of {run.group.of}"
        table.add_row(
            name,
            run.state,
            _text(spec, "traffic", "workload"),
            _text(spec, "engine", "name"),
            _figure(content.get("rate_per_s")),
            _figure(at(summary, "requests", "recorded")),
            _figure(at(summary, "latency", "ttft_ms", "p50")),
            _figure(at(summary, "latency", "tpot_ms", "p50")),
            _figure(at(summary, "throughput", "output_tokens_per_s")),
        )
    console.print(table)


def _show(store: RunStore, arguments: argparse.Namespace) -> None:
    run = store.find(arguments.run)
    if arguments.json:
        print(json.dumps(run.content | {"state": run.state}, indent=1))
        return
    if run.content.get("summary") is None:
        reason = run.content.get("reason")
        print(f"{run.run_id} is {run.state}" + (f": {reason}" if reason else ""))
        if run.state == "dead":
            print(f"its runner is gone; `workbench runs recover {run.run_id}` makes it whole")
        return
    from workbench.cli.run import print_report

    print_report(run.folder, run.content)


def _remove(store: RunStore, arguments: argparse.Namespace) -> None:
    runs = [store.find(name) for name in arguments.run]
    if not arguments.yes:
        for run in runs:
            print(f"{run.run_id}  {run.state}  {run.folder.path}")
        if not sys.stdin.isatty():
            raise StoreError("deleting needs a yes: run it in a terminal, or give --yes")
        if input(f"delete {len(runs)} run(s)? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing was deleted")
            return
    for run in runs:
        remove(run)
        print(f"deleted {run.run_id}")


def _recover(store: RunStore, arguments: argparse.Namespace) -> None:
    from workbench.launch.finish import finish_run

    if arguments.run:
        runs = [store.find(name) for name in arguments.run]
    else:
        runs = [run for run in store.runs()[0] if run.state == "dead"]
        if not runs:
            print("no dead runs")
    for run in runs:
        print(recover(run, finish_run))


def _text(data: dict[str, Any], *path: str) -> str:
    return str(at(data, *path) or "–")


def _figure(value: Any) -> str:
    if not isinstance(value, (int, float)):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 or isinstance(value, int) else f"{value:.3g}"
