"""Runs one after another that can be stopped: the one that runs, and those that would follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workbench.launch.launcher import Runner, settle
from workbench.runs.folder import RunFolder


@dataclass(slots=True)
class Interruption:
    """Whether somebody asked to stop, and the run that must hear of it."""

    asked: bool = False
    runner: Runner | None = None

    def ask(self, at_once: bool) -> None:
        """Stops the run that is running, which drains first unless `at_once`; none shall follow."""
        self.asked = True
        if self.runner is not None:
            if at_once:
                self.runner.terminate()
            else:
                self.runner.interrupt()


def run_to_end(
    folder: RunFolder, watch: Callable[[Runner], int], interruption: Interruption
) -> dict[str, Any]:
    """Starts the run in `folder`; its `run.json` once it has ended, whatever the way.

    Args:
        watch: waits for the runner to end, showing how it goes; returns its exit code.

    Raises:
        StoreError: it can't be started.
    """
    interruption.runner = runner = Runner(folder)
    if interruption.asked:  # between the last look and now
        runner.interrupt()
    try:
        return settle(folder, watch(runner))
    finally:
        interruption.runner = None
