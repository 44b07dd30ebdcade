"""`workbench attach`: a run in the app, from any terminal, live or ended."""

from __future__ import annotations

import argparse

from workbench.cli.opening import open_app
from workbench.runs.store import RunStore


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run, and how to draw."""
    parser.add_argument(
        "run", metavar="RUN", nargs="?", default="last",
        help="an id or its beginning, a name, a path, last, last~1 (default last)",
    )  # fmt: skip
    parser.add_argument("--ascii", action="store_true", help="draw with 7-bit characters alone")


def execute(arguments: argparse.Namespace) -> int:
    """Opens the run on the live screen."""
    run = RunStore().find(arguments.run)
    return open_app("live", run.folder.path, arguments.ascii)
