"""Repeated runs: one spec several times, one run after another, each with the next seed.

The runs are a group. A rate that is calibrated is calibrated once, so that all get the same load.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import EXIT_BAD_USE, SpecError, StoreError
from workbench.launch.interruption import Interruption, run_to_end
from workbench.launch.launcher import Runner, create_run
from workbench.runs.folder import RunFolder, check_is_free, new_run_id
from workbench.runs.groups import GroupMember
from workbench.runs.store import RunStore
from workbench.spec import RunSpec, parse_spec

FAILURES_IN_A_ROW = 3
"""After so many failed runs in a row it is given up: the fault is no accident."""
MOST_REPEATS = 100

Watch = Callable[[Runner, RunSpec, GroupMember], int]
"""Waits for the runner to end, showing how it goes; returns its exit code."""


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run that has ended: its folder, and its `run.json`.

    One that never began for bad use has no folder any more.
    """

    folder: RunFolder
    content: dict[str, Any]

    @property
    def was_bad_use(self) -> bool:
        """Whether it can't be run as it was asked for; the content's `reason` says why."""
        return self.content.get("exit_code") == EXIT_BAD_USE


def repeats_of(repeats: int | None) -> int:
    """How many runs `--repeat` asks for. Raises `SpecError`."""
    if repeats is None:
        return 1
    if not 1 <= repeats <= MOST_REPEATS:
        raise SpecError(f"--repeat {repeats}: from 1 to {MOST_REPEATS}")
    return repeats


def new_group_id(spec: RunSpec) -> str:
    """A name for a group of runs of this spec, as runs have them."""
    return new_run_id(spec.name or spec.what)


def member_spec(spec: RunSpec, number: int, rate_per_s: float | None = None) -> RunSpec:
    """The spec of a group's run `number`, from 1: with its seed, and the rate that was calibrated.

    Raises:
        SpecError: there is no such seed.
    """
    data = spec.as_dict() | {"seed": spec.seed + number - 1}
    if rate_per_s is not None:
        data["traffic"] |= {"rate": rate_per_s}
    return parse_spec(data, f"run {number} of the group")


def calibrated_rate(content: Mapping[str, Any]) -> float | None:
    """The `rate` that a run with rate "auto" found, requests per second; None if it found none.

    It is what the spec's `rate` would have to be. The run's `rate_per_s` is the mean of what was
    offered, which differs from it where a modulation changes the mean.
    """
    calibration = content.get("calibration")
    if not calibration:
        return None
    return float(calibration["share"]) * float(calibration["requests_per_s"])


def run_member(
    spec: RunSpec,
    member: GroupMember,
    *,
    watch: Watch,
    interruption: Interruption,
    store: RunStore,
    out: Path | None = None,
) -> EndedRun:
    """Runs this very spec as a member of a group, in `out` or in the store, to its end.

    Raises:
        StoreError: its folder can't be made, or its runner can't be started.
    """
    folder = create_run(spec, out, store, member)
    content = run_to_end(folder, lambda runner: watch(runner, spec, member), interruption)
    return EndedRun(folder, content)


def run_group(
    spec: RunSpec,
    group_id: str,
    repeats: int,
    *,
    watch: Watch,
    interruption: Interruption,
    store: RunStore,
    out: Path | None = None,
) -> tuple[EndedRun, ...]:
    """Runs a spec so many times, in `out`/1, `out`/2, … or in the store; the runs that were begun.

    It ends early with a run that was interrupted or can't be run as asked, and after
    `FAILURES_IN_A_ROW`.

    Raises:
        SpecError: there is no such seed.
        StoreError: `out` holds something, or a run can't be started.
    """
    member_spec(spec, repeats)
    if out is not None:
        try:
            check_is_free(out)
        except OSError as error:
            raise StoreError(f"{out} can't be read: {error.strerror}") from None
    ended: list[EndedRun] = []
    rate_per_s, failures = None, 0
    for number in range(1, repeats + 1):
        if interruption.asked or failures == FAILURES_IN_A_ROW:
            break
        run = run_member(
            member_spec(spec, number, rate_per_s),
            GroupMember(group_id, number, repeats),
            watch=watch,
            interruption=interruption,
            store=store,
            out=None if out is None else out / str(number),
        )
        ended.append(run)
        if run.was_bad_use or run.content["state"] == "interrupted":
            break
        rate_per_s = calibrated_rate(run.content) or rate_per_s
        failures = 0 if run.content["state"] == "finished" else failures + 1
    return tuple(ended)
