"""An experiment whose runs are made in a moment: the lighter load is the optimised side."""

from __future__ import annotations

import shutil
from pathlib import Path

from recorded import recorded_run

from workbench.lab.experiment import Experiment, Setup, Side
from workbench.lab.plan import OPTIMISED, Plan, Turn, plan_of
from workbench.launch.repeats import EndedRun
from workbench.runs.folder import RunFolder
from workbench.runs.groups import GroupMember
from workbench.spec import RunSpec


def experiment(*claims: str) -> Experiment:
    setup = Setup({"traffic": {"rate": 2.0, "duration": 20.0}}, claims or ("ttft_p50 < -20%",))
    return Experiment(
        name="made-up",
        title="a light load against a heavy one",
        claim="Less to do is done sooner.",
        source="everybody",
        baseline=Side("heavy", {"engine": {"policy": "fcfs"}}),
        optimised=Side("light", {"engine": {"policy": "priority"}}),
        cpu=setup,
        cuda=setup,
    )


def plan(repeats: int, *claims: str) -> Plan:
    return plan_of(experiment(*claims), "cpu", {}, repeats)


class Runs:
    """Makes recorded runs below a folder; `failing` turns end as failed, by their place from 0.

    `templates` is a folder in which runs are kept once they are made, to be copied from then on.
    """

    def __init__(self, folder: Path, templates: Path, *, failing: tuple[int, ...] = ()) -> None:
        self.folder = folder
        self.templates = templates
        self.failing = failing
        self.made = 0

    def __call__(self, spec: RunSpec, member: GroupMember, turn: Turn) -> EndedRun:
        folder = RunFolder(self.folder / member.run_id)
        shutil.copytree(self._template(turn.side, spec.seed), folder.path)
        folder.update(run_id=member.run_id, group=member.as_dict())
        if self.made in self.failing:
            folder.update(state="failed", reason="it was told to")
        self.made += 1
        return EndedRun(folder, folder.read())

    def _template(self, side: int, seed: int) -> Path:
        path = self.templates / f"{side}-{seed}"
        if not path.exists():
            rate_per_s = 1.0 if side == OPTIMISED else 2.5
            recorded_run(path, seed=seed, requests=40, rate_per_s=rate_per_s)
        return path
