"""Runs a sweep, point after point: each a run of its own, saved before the next is chosen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import EXIT_BAD_USE, SpecError, StoreError
from workbench.launch.interruption import Interruption, run_to_end
from workbench.launch.launcher import Runner, create_run, log_tail
from workbench.launch.repeats import FAILURES_IN_A_ROW
from workbench.runs.folder import LIVE_STATES, RunFolder
from workbench.runs.store import load_run
from workbench.spec import RunSpec, parse_spec
from workbench.sweeps.figures import figures_of
from workbench.sweeps.planner import AUTO_SHARE, Ask, Done, Search
from workbench.sweeps.state import SavedPoint, Sweep, SweepFolder

Watch = Callable[[Runner, RunSpec, Ask], int]
"""Waits for the runner to end, showing how it goes; returns its exit code."""


@dataclass(slots=True)
class Sweeper:
    """A sweep while it runs; `tell` gets the sweep after every run that ended."""

    folder: SweepFolder
    sweep: Sweep
    watch: Watch
    tell: Callable[[Sweep], None]
    interruption: Interruption

    def run(self) -> Sweep:
        """Runs what is left and returns the sweep as it ended, which is saved.

        Raises:
            SpecError: a point can't be run as it was asked for; what was run before is saved.
        """
        failures = 0
        self._save(state="running", reason="")
        while not self.interruption.asked:
            ask = self._next()
            if isinstance(ask, Done):
                return self._save(state="finished", reason=ask.why)
            point = self._run_point(ask)
            if point.state == "interrupted":
                break
            self.tell(self.sweep)
            failures = failures + 1 if point.state == "failed" else 0
            if failures == FAILURES_IN_A_ROW:
                why = f"{failures} runs in a row failed: {point.reason}"
                return self._save(state="failed", reason=why)
        return self._save(state="interrupted", reason="interrupted")

    def _next(self) -> Ask | Done:
        plan = self.sweep.plan
        if isinstance(plan, Search) and plan.low is None and self.sweep.results:
            plan = plan.calibrated(min(run.value for run in self.sweep.results))
            self._save(plan=plan)
        return plan.next(self.sweep.results)

    def _run_point(self, ask: Ask) -> SavedPoint:
        spec = spec_of(self.sweep, ask)
        run = create_run(spec, None, self.folder.store)
        name = str(run.read()["run_id"])
        point = SavedPoint(ask.value, ask.repeat, "running", name, str(run.path))
        self._save(sweep=self.sweep.with_point(point))
        content = run_to_end(run, lambda runner: self.watch(runner, spec, ask), self.interruption)
        point = self._judged(point, content)
        if content.get("exit_code") == EXIT_BAD_USE:
            kept = tuple(p for p in self.sweep.points if p.run_id != name)
            self._save(points=kept, state="failed", reason=str(content["reason"]))
            raise SpecError(str(content["reason"]))
        self._save(sweep=self.sweep.with_point(point))
        return point

    def _judged(self, point: SavedPoint, content: dict[str, Any]) -> SavedPoint:
        state = str(content["state"])
        if state != "finished":
            stopped = self.interruption.asked
            state = "interrupted" if stopped else "failed"
        reason = "" if state == "finished" else str(content.get("reason") or state)
        if state == "failed" and not content.get("summary"):
            reason = ": ".join(filter(None, (reason, log_tail(RunFolder(Path(point.path)), 1))))
        value = content.get("rate_per_s") if point.value is None else point.value
        figures = None
        if value is not None and state != "interrupted":
            figures = figures_of(content, value, point.repeat)
        return dataclasses.replace(point, value=value, state=state, figures=figures, reason=reason)

    def _save(self, *, sweep: Sweep | None = None, **changes: Any) -> Sweep:
        self.sweep = dataclasses.replace(sweep or self.sweep, **changes)
        self.folder.write(self.sweep)
        return self.sweep


def spec_of(sweep: Sweep, ask: Ask) -> RunSpec:
    """The spec of one run of the sweep: its load, its seed and its name."""
    data = sweep.spec.as_dict()
    traffic = data["traffic"]
    if sweep.axis == "concurrency":
        traffic["concurrency"] = int(ask.value or 1)
    elif ask.value is None:
        traffic |= {"rate": "auto", "share": AUTO_SHARE}
    else:
        traffic["rate"] = ask.value
    data["seed"] = sweep.spec.seed + ask.repeat
    data["name"] = run_name(sweep, ask)
    return parse_spec(data, f"sweep {sweep.sweep_id}")


def run_name(sweep: Sweep, ask: Ask) -> str:
    """Such as sweep-3f2a:r2.83, or sweep-3f2a:c8+1 for the second run of concurrency 8."""
    tail = sweep.sweep_id.rsplit("-", 1)[-1]
    value = "auto" if ask.value is None else f"{ask.value:.4g}"
    again = f"+{ask.repeat}" if ask.repeat else ""
    return f"sweep-{tail}:{sweep.axis[0]}{value}{again}"


def reusable(sweep: Sweep) -> tuple[Sweep, list[str]]:
    """The sweep with the runs that still stand, and a sentence on each that must be run again.

    A run that finished is kept if its folder is there. One that had not ended for the sweep, but
    has finished since, is taken as it is.

    Raises:
        StoreError: a run of the sweep is still going on.
    """
    kept: list[SavedPoint] = []
    said: list[str] = []
    for point in sweep.points:
        again, label = _stands(point), f"{sweep.axis} {_shown(point.value)} ({point.run_id})"
        if isinstance(again, SavedPoint):
            kept.append(again)
        else:
            said.append(f"{label} {again}; it is run again")
    return dataclasses.replace(sweep, points=tuple(kept)), said


def _stands(point: SavedPoint) -> SavedPoint | str:
    """The point, if it needs no new run, or why it does."""
    folder = RunFolder(Path(point.path))
    if not folder.path.exists():
        return f"has no run folder any more at {point.path}"
    try:
        run = load_run(folder)
    except StoreError as error:
        return f"can't be read: {error}"
    if run.state in LIVE_STATES:
        raise StoreError(f"run {run.run_id} of this sweep is still {run.state}; let it end first")
    if run.state == "finished":
        value = run.content.get("rate_per_s") if point.value is None else point.value
        if value is None:
            return "has no rate"
        figures = figures_of(run.content, value, point.repeat)
        return dataclasses.replace(point, value=value, state="finished", figures=figures)
    return "did not end" if run.state == "dead" else f"is {run.state}"


def _shown(value: float | None) -> str:
    return "auto" if value is None else f"{value:.4g}"
