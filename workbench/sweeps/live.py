"""A sweep as it goes, on stderr: one updating line on a terminal, a line per run elsewhere."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from workbench.analysis.live import LiveState
from workbench.analysis.quantities import MISSING, milliseconds, number, percent
from workbench.launch.launcher import Runner
from workbench.launch.run_line import run_line
from workbench.spec import RunSpec
from workbench.sweeps.planner import Ask
from workbench.sweeps.state import Sweep
from workbench.sweeps.verdicts import judge

_TERMINAL_PERIOD_S = 0.5
_PLAIN_PERIOD_S = 0.25


class Progress:
    """Says what is being run, and in a line what came of each run."""

    def __init__(self, axis: str, target: float | None, stream: TextIO) -> None:
        self.axis = axis
        self.target = target
        self.console = Console(file=stream, highlight=False, soft_wrap=True)

    def say(self, line: str) -> None:
        """A line that stays."""
        self.console.print(Text(line))

    def watch(self, runner: Runner, spec: RunSpec, ask: Ask) -> int:
        """Waits for `runner` to end; returns its exit code."""
        if not self.console.is_terminal:
            return runner.watch(_PLAIN_PERIOD_S, lambda: None)
        state = LiveState()
        with Live(console=self.console, auto_refresh=False, transient=True) as live:
            return runner.watch(
                _TERMINAL_PERIOD_S,
                lambda: live.update(self._line(runner, spec, ask, state), refresh=True),
            )

    def told(self, sweep: Sweep) -> None:
        """A line on the run that ended last."""
        last = sweep.points[-1]
        run = last.figures
        head = f"{self.axis} {'auto' if last.value is None else f'{last.value:.4g}'}"
        if last.repeat:
            head += f", run {last.repeat + 1}"
        if run is None or run.failed:
            self.say(f"{head}: failed: {last.reason}")
            return
        point = next(p for p in judge(sweep.results, self.target) if p.value == run.value)
        said = [
            f"{run.measured:,} requests",
            f"{number(run.output_tokens_per_s)} tok/s",
            f"TTFT p99 {milliseconds(run.ttft_p99_ms)}",
            f"TPOT p99 {milliseconds(run.tpot_p99_ms)}",
        ]
        if run.met is not None and run.measured:
            said.append(f"attainment {percent(100 * run.met / run.measured)}")
        self.say(f"{head}: {', '.join(said)}: {point.verdict}")

    def _line(self, runner: Runner, spec: RunSpec, ask: Ask, state: LiveState) -> Text:
        value = MISSING if ask.value is None else f"{ask.value:.4g}"
        head = Text.assemble((f"{self.axis} {value}", "bold"), f" ({ask.why})")
        return run_line(runner, spec, state, head, self.console.width)
