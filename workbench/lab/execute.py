"""Runs an experiment: both sides in turn, each run saved as a member of its side's group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from workbench.errors import SpecError
from workbench.lab.plan import Plan, Turn
from workbench.launch.interruption import Interruption
from workbench.launch.launcher import Runner, log_tail
from workbench.launch.repeats import (
    FAILURES_IN_A_ROW,
    EndedRun,
    new_group_id,
    run_member,
)
from workbench.runs.groups import GroupMember
from workbench.runs.store import RunStore
from workbench.spec import RunSpec

Ending = Literal["finished", "failed", "interrupted"]

RunOne = Callable[[RunSpec, GroupMember, Turn], EndedRun]
"""Runs this spec as this member of a group, to its end."""


@dataclass(frozen=True, slots=True)
class LabRun:
    """A run that has ended, and its turn; `reason` says why it didn't finish, "" if it did."""

    turn: Turn
    ended: EndedRun

    @property
    def finished(self) -> bool:
        """Whether its figures count."""
        return bool(self.ended.content["state"] == "finished")

    @property
    def reason(self) -> str:
        """Why it did not finish; "" where it did."""
        if self.finished:
            return ""
        content = self.ended.content
        told = str(content.get("reason") or content["state"])
        tail = "" if content.get("summary") else log_tail(self.ended.folder, 1)
        return ": ".join(filter(None, (told, tail)))


@dataclass(frozen=True, slots=True)
class Execution:
    """The runs of an experiment.

    Attributes:
        groups: the ids of the two groups.
        ending: "finished" if every run was made and finished.
        reason: why it did not finish, in a sentence.
    """

    plan: Plan
    groups: tuple[str, str]
    runs: tuple[LabRun, ...]
    ending: Ending
    reason: str = ""

    def complete(self) -> tuple[tuple[EndedRun, ...], tuple[EndedRun, ...]]:
        """The runs of each side whose number finished on both sides, in the order of numbers."""
        done = {(run.turn.side, run.turn.number): run.ended for run in self.runs if run.finished}
        both = [n for n in range(1, self.plan.repeats + 1) if (0, n) in done and (1, n) in done]
        return tuple(done[0, n] for n in both), tuple(done[1, n] for n in both)


@dataclass(slots=True)
class Interleaver:
    """Makes the runs of a plan; `tell` hears of each that ended."""

    plan: Plan
    run_one: RunOne
    tell: Callable[[LabRun], None]
    interruption: Interruption
    runs: list[LabRun] = field(default_factory=list)

    def execute(self) -> Execution:
        """Every run, or as many as there were until it was interrupted or failed too often.

        Raises:
            SpecError: a side can't be run as it was asked for.
            StoreError: a run can't be started.
        """
        first, second = (new_group_id(spec) for spec in self.plan.specs)
        groups = (first, second)
        failures = 0
        for turn in self.plan.turns():
            if self._is_stopped():
                return self._ended(groups, "interrupted", "it was interrupted")
            member = GroupMember(groups[turn.side], turn.number, self.plan.repeats)
            run = LabRun(turn, self.run_one(self.plan.spec_of(turn), member, turn))
            if run.ended.was_bad_use:
                label = self.plan.labels[turn.side]
                raise SpecError(f"{self.plan.experiment.name}, {label}: {run.reason}")
            self.runs.append(run)
            if self._is_stopped() and not run.finished:
                return self._ended(groups, "interrupted", "it was interrupted")
            self.tell(run)
            failures = 0 if run.finished else failures + 1
            if failures == FAILURES_IN_A_ROW:
                return self._ended(groups, "failed", f"{failures} runs in a row failed")
        failed = sum(not run.finished for run in self.runs)
        if failed:
            return self._ended(groups, "failed", f"{failed} of {len(self.runs)} runs failed")
        return self._ended(groups, "finished")

    def _is_stopped(self) -> bool:
        return self.interruption.asked

    def _ended(self, groups: tuple[str, str], ending: Ending, reason: str = "") -> Execution:
        return Execution(self.plan, groups, tuple(self.runs), ending, reason)


def in_process(
    store: RunStore,
    interruption: Interruption,
    watch: Callable[[Runner, RunSpec, Turn], int],
) -> RunOne:
    """Runs each in a process of its own, kept in the store."""

    def run_one(spec: RunSpec, member: GroupMember, turn: Turn) -> EndedRun:
        return run_member(
            spec,
            member,
            watch=lambda runner, spec, _: watch(runner, spec, turn),
            interruption=interruption,
            store=store,
        )

    return run_one
