"""An experiment as it goes: one updating line on a terminal, a line per run elsewhere."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from workbench.analysis.live import LiveState
from workbench.analysis.lookup import at
from workbench.analysis.quantities import milliseconds, number
from workbench.lab.execute import LabRun
from workbench.lab.plan import Plan, Turn
from workbench.launch.launcher import Runner
from workbench.launch.run_line import run_line
from workbench.spec import RunSpec

_TERMINAL_PERIOD_S = 0.5
_PLAIN_PERIOD_S = 0.25


class Progress:
    """Says what is being run, and in a line what came of each run."""

    def __init__(self, plan: Plan, stream: TextIO) -> None:
        self.plan = plan
        self.console = Console(file=stream, highlight=False, soft_wrap=True)

    def begin(self) -> None:
        """A line on what is to come."""
        first, second = self.plan.labels
        self.console.print(
            Text(
                f"{self.plan.experiment.name}: {first} against {second}, "
                f"{self.plan.repeats} × 2 runs, about {minutes_text(self.plan.about_s)}"
            )
        )

    def watch(self, runner: Runner, spec: RunSpec, turn: Turn) -> int:
        """Waits for `runner` to end; returns its exit code."""
        if not self.console.is_terminal:
            return runner.watch(_PLAIN_PERIOD_S, lambda: None)
        state, head = LiveState(), Text(self._head(turn), "bold")
        with Live(console=self.console, auto_refresh=False, transient=True) as live:
            return runner.watch(
                _TERMINAL_PERIOD_S,
                lambda: live.update(
                    run_line(runner, spec, state, head, self.console.width), refresh=True
                ),
            )

    def told(self, run: LabRun) -> None:
        """A line on the run that ended last."""
        head = self._head(run.turn)
        if not run.finished:
            self.console.print(Text(f"{head}: failed: {run.reason}"))
            return
        summary = run.ended.content.get("summary")
        said = [
            f"{at(summary, 'requests', 'measured') or 0:,} requests",
            f"{number(at(summary, 'throughput', 'output_tokens_per_s'))} tok/s",
            f"TTFT p50 {milliseconds(at(summary, 'latency', 'ttft_ms', 'p50'))}",
            f"ITL p99 {milliseconds(at(summary, 'latency', 'itl_ms', 'p99'))}",
        ]
        self.console.print(Text(f"{head}: {', '.join(said)}"))

    def _head(self, turn: Turn) -> str:
        place = 2 * turn.number - (turn == self._first_of(turn.number))
        return (
            f"{self.plan.experiment.name} {place}/{2 * self.plan.repeats}, "
            f"{self.plan.labels[turn.side]} {turn.number}"
        )

    def _first_of(self, number: int) -> Turn:
        return next(turn for turn in self.plan.turns() if turn.number == number)


def minutes_text(seconds: float) -> str:
    """ "45 s", "12 min", "2.5 h": about how long something takes."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
