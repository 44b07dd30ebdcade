"""Where expectations lie: those that come with the program, and the user's own above them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from profiles.expected import (
    Expectation,
    can_write,
    key_on,
    read_expectations,
    shipped_folder,
    write_expectation,
)
from profiles.hardware import describe
from workbench.lab.experiment import Device
from workbench.lab.plan import LEAST_RECORDED, Plan
from workbench.runs.store import home

if TYPE_CHECKING:
    from workbench.lab.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Shelf:
    """What is recorded for a hardware key, and where more of it goes."""

    key: str
    recorded: tuple[Expectation, ...]
    folder: Path

    @classmethod
    def here(cls, device: Device) -> Shelf:
        """For runs of this machine on that kind of device.

        Raises:
            ProfileError: a file of expectations is broken.
        """
        shipped, own = shipped_folder(), home() / "expectations"
        key = key_on(describe(), device)
        is_checkout = (shipped.parents[1] / ".git").exists() and can_write(shipped.parent)
        folder = shipped if is_checkout else own
        return cls(key, read_expectations(key, (shipped, own)), folder)

    def of(self, plan: Plan) -> tuple[Expectation, ...]:
        """What is recorded of an experiment, with whichever models."""
        name = plan.experiment.name
        return tuple(each for each in self.recorded if each.experiment == name)

    def record(self, outcome: Outcome) -> str:
        """Keeps what an experiment came to; a sentence on where, or why it was not kept.

        Raises:
            ProfileError: it can't be written.
        """
        if outcome.execution.ending != "finished":
            return f"not recorded: {outcome.execution.reason}"
        if outcome.measured is None:
            return f"not recorded: it takes {LEAST_RECORDED} runs of each side, and figures above 0"
        return f"recorded in {write_expectation(self.key, self.folder, outcome.measured)}"
