"""The order of an experiment's runs, their seeds and groups, and what ends it early."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up import Runs, plan

from workbench.errors import SpecError
from workbench.lab.execute import Execution, Interleaver, LabRun
from workbench.launch.interruption import Interruption
from workbench.launch.repeats import EndedRun
from workbench.runs.folder import RunFolder
from workbench.runs.groups import GroupMember, member_of
from workbench.spec import RunSpec


class Ended:
    """A runner of which nothing is left but how its runs ended."""

    def __init__(self, *states: str) -> None:
        self.states = list(states)
        self.members: list[GroupMember] = []
        self.specs: list[RunSpec] = []

    def __call__(self, spec: RunSpec, member: GroupMember, turn: object) -> EndedRun:
        self.members.append(member)
        self.specs.append(spec)
        state = self.states.pop(0) if self.states else "finished"
        content = {"state": state, "reason": "" if state == "finished" else "by accident"}
        if state == "bad use":
            content |= {"state": "failed", "exit_code": 2, "reason": "no such model"}
        return EndedRun(RunFolder(Path("/nowhere")), content | {"summary": {"made": "up"}})


def execute(
    runner: Ended, repeats: int, interruption: Interruption | None = None
) -> tuple[Execution, list[LabRun]]:
    told: list[LabRun] = []
    interruption = interruption or Interruption()
    return Interleaver(plan(repeats), runner, told.append, interruption).execute(), told


def test_sides_are_run_in_turn_and_which_is_first_changes() -> None:
    runner = Ended()
    execution, told = execute(runner, 3)
    sides = [spec.engine.policy for spec in runner.specs]
    assert sides == ["fcfs", "priority", "priority", "fcfs", "fcfs", "priority"]
    assert [spec.seed for spec in runner.specs] == [0, 0, 1, 1, 2, 2]
    assert execution.ending == "finished" and list(execution.runs) == told


def test_each_side_is_a_group_of_its_own() -> None:
    runner = Ended()
    execution, _ = execute(runner, 2)
    first, second = execution.groups
    assert first != second and "heavy" in first and "light" in second
    assert runner.members == [
        GroupMember(first, 1, 2), GroupMember(second, 1, 2),
        GroupMember(second, 2, 2), GroupMember(first, 2, 2),
    ]  # fmt: skip


def test_a_failed_run_takes_its_pair_out_and_the_rest_goes_on() -> None:
    runner = Ended("finished", "finished", "failed")
    execution, told = execute(runner, 3)
    assert len(execution.runs) == len(told) == 6
    assert execution.ending == "failed" and execution.reason == "1 of 6 runs failed"
    assert [len(side) for side in execution.complete()] == [2, 2]


def test_three_failures_in_a_row_are_enough() -> None:
    runner = Ended("failed", "failed", "failed")
    execution, _ = execute(runner, 5)
    assert len(runner.specs) == 3 and execution.ending == "failed"
    assert execution.complete() == ((), ())


def test_bad_use_ends_it_with_the_reason() -> None:
    with pytest.raises(SpecError, match="made-up, heavy: no such model"):
        execute(Ended("bad use"), 2)


def test_an_interruption_ends_it_and_keeps_what_is_there() -> None:
    interruption = Interruption()
    runner = Ended("finished", "finished", "finished", "interrupted")

    def and_stop(spec: RunSpec, member: GroupMember, turn: object) -> EndedRun:
        if len(runner.specs) == 3:
            interruption.ask(at_once=False)
        return runner(spec, member, turn)

    told: list[LabRun] = []
    execution = Interleaver(plan(4), and_stop, told.append, interruption).execute()
    assert execution.ending == "interrupted" and len(told) == 3
    assert [len(side) for side in execution.complete()] == [1, 1]


def test_a_run_that_ends_well_after_the_interruption_still_counts() -> None:
    interruption = Interruption()

    def and_stop(spec: RunSpec, member: GroupMember, turn: object) -> EndedRun:
        if member.number == 2:
            interruption.ask(at_once=False)
        return Ended()(spec, member, turn)

    execution = Interleaver(plan(4), and_stop, lambda run: None, interruption).execute()
    assert execution.ending == "interrupted" and len(execution.runs) == 3


def test_recorded_runs_belong_to_their_groups(tmp_path: Path, templates: Path) -> None:
    runs = Runs(tmp_path, templates)
    execution = Interleaver(plan(1), runs, lambda run: None, Interruption()).execute()
    members = [member_of(run.ended.content) for run in execution.runs]
    assert members == [GroupMember(group, 1, 1) for group in execution.groups]
