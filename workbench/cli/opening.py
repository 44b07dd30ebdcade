"""Opens the terminal app: the one place where the command line knows of it."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

from workbench.errors import SpecError


def open_app(start: str = "", folder: Path | None = None, ascii_only: bool = False) -> int:
    """Runs the app and returns the exit code.

    Args:
        start: the screen to begin with.
        folder: a run to open.

    Raises:
        SpecError: this is no terminal.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise SpecError(
            "the app needs a terminal for input and output; `workbench run` runs without one, "
            "and `workbench --help` lists the rest"
        )
    if os.environ.get("TERM", "") == "dumb":
        raise SpecError("TERM is dumb: the app needs a terminal that can move its cursor")
    gc.disable()  # while it starts: nothing that is imported is garbage
    from workbench.tui.app import run_app

    return run_app(start, folder, ascii_only)
