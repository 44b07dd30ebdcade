"""`workbench top`: one screen of whichever run is going on."""

from __future__ import annotations

import argparse

from workbench.cli.opening import open_app
from workbench.runs.store import RunStore


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A run to stay with, and how to draw."""
    parser.add_argument(
        "run", metavar="RUN", nargs="?",
        help="stay with this run (default: the newest that is alive, then the next one)",
    )  # fmt: skip
    parser.add_argument("--ascii", action="store_true", help="draw with 7-bit characters alone")


def execute(arguments: argparse.Namespace) -> int:
    """Opens the one-screen view."""
    folder = None if arguments.run is None else RunStore().find(arguments.run).folder.path
    return open_app("top", folder, arguments.ascii)
