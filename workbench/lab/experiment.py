"""An experiment: a pair of specs that differ in what a claim is about, and the claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from workbench.errors import SpecError

SpecData = Mapping[str, Any]
"""Plain data of a run spec, or of a part of it, as a spec file has it."""

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class Side:
    """One side of the pair: what it is called, and what it lays over the spec of both."""

    label: str
    spec: SpecData


@dataclass(frozen=True, slots=True)
class Setup:
    """What both sides run on one kind of device, and what is claimed of it there.

    Attributes:
        spec: of both sides; its traffic has a fixed rate or a concurrency, so that both are
            offered the same.
        claims: conditions on the optimised side against the baseline, as `--fail-if` of
            `workbench compare` writes them: "output_throughput > +30%".
        baseline, optimised: what only this device's sides need beside their own spec.
    """

    spec: SpecData
    claims: tuple[str, ...]
    baseline: SpecData = field(default_factory=dict)
    optimised: SpecData = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Experiment:
    """A named pair.

    Attributes:
        title: a few words; claim: what should come out and why, in a sentence or two.
        source: whose claim it is, with the figures that they give and what they measured it on.
        cuda: what runs on a GPU.
        cpu: what runs on a CPU; None where the claim is about a GPU.
        repeats: runs of each side where nothing else is asked for.
    """

    name: str
    title: str
    claim: str
    source: str
    baseline: Side
    optimised: Side
    cpu: Setup | None
    cuda: Setup
    repeats: int = 5

    def runs_on(self, device: Device) -> bool:
        """Whether there is a setup for that kind of device."""
        return device == "cuda" or self.cpu is not None

    def setup(self, device: Device) -> Setup:
        """What runs on that kind of device.

        Raises:
            SpecError: the claim is about a GPU.
        """
        if device == "cuda":
            return self.cuda
        if self.cpu is None:
            raise SpecError(
                f"{self.name} needs a GPU, and this is a CPU: it is about what only the engine on "
                "a GPU has; run it where there is one, with --device cuda"
            )
        return self.cpu

    def specs(self, device: Device) -> tuple[dict[str, Any], dict[str, Any]]:
        """Plain data of both sides' specs on that kind of device, the baseline first."""
        setup = self.setup(device)
        return (
            laid_over(setup.spec, self.baseline.spec, setup.baseline),
            laid_over(setup.spec, self.optimised.spec, setup.optimised),
        )


def laid_over(base: SpecData, *changes: SpecData) -> dict[str, Any]:
    """`base` with the values of `changes` in the place of its own, table by table."""
    merged = {
        key: dict(value) if isinstance(value, Mapping) else value for key, value in base.items()
    }
    for change in changes:
        for key, value in change.items():
            if isinstance(value, Mapping):
                merged[key] = merged.get(key, {}) | dict(value)
            else:
                merged[key] = value
    return merged
