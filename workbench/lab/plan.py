"""What an experiment is to run here: two specs, how often, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from workbench.errors import SpecError
from workbench.lab.experiment import Device, Experiment, SpecData, laid_over
from workbench.launch.repeats import member_spec
from workbench.spec import RunSpec, parse_spec

BASELINE, OPTIMISED = 0, 1
START_AND_DRAIN_S = 8.0
"""About how long a run takes beyond its traffic: to load, and to drain."""

LEAST_RECORDED = 3
"""So many runs of each side make an interval that is worth recording, or checking."""

_IDENTITY = (("model", "name"), ("model", "device"), ("model", "dtype"))
"""What settings leave out: the identity of what is recorded has it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One run of the experiment: of which side, and its number in that side's group, from 1."""

    side: int
    number: int


@dataclass(frozen=True, slots=True)
class Plan:
    """An experiment on a kind of device.

    Attributes:
        specs: of the baseline and of the optimised side.
        settings: what of these was chosen, as plain data; without model, device, dtype and seed.
        given_words: the flags that laid something over the experiment, as on a command line.
    """

    experiment: Experiment
    device: Device
    specs: tuple[RunSpec, RunSpec]
    settings: tuple[SpecData, SpecData]
    repeats: int
    given_words: tuple[str, ...] = ()

    @property
    def claims(self) -> tuple[str, ...]:
        """The conditions that are judged."""
        return self.experiment.setup(self.device).claims

    @property
    def labels(self) -> tuple[str, str]:
        """What the two sides are called."""
        return self.experiment.baseline.label, self.experiment.optimised.label

    @property
    def about_s(self) -> float:
        """About how long all of it takes."""
        return self.repeats * sum(
            spec.traffic.duration_s + START_AND_DRAIN_S for spec in self.specs
        )

    def turns(self) -> Iterator[Turn]:
        """Every run in its order, A B, B A, A B, …

        Both runs of a number follow one another, so that they meet the same machine; which is
        first changes from number to number, so that what slowly gets hot or busy favours neither.
        """
        for number in range(1, self.repeats + 1):
            sides = (BASELINE, OPTIMISED) if number % 2 else (OPTIMISED, BASELINE)
            yield from (Turn(side, number) for side in sides)

    def spec_of(self, turn: Turn) -> RunSpec:
        """The spec of one run: runs of one number have the same seed on both sides."""
        return member_spec(self.specs[turn.side], turn.number)


def plan_of(
    experiment: Experiment,
    device: Device,
    given: SpecData,
    repeats: int | None = None,
    given_words: tuple[str, ...] = (),
) -> Plan:
    """The experiment with what was given on the command line laid over both sides.

    Args:
        given: plain data of a spec; a concurrency takes the place of a rate, and the other way.

    Raises:
        SpecError: a value that can't be, or a rate that each side would measure for itself.
    """
    traffic = given.get("traffic", {})
    if traffic.get("rate") == "auto":
        raise SpecError(
            "--rate auto: both sides must be offered the same, and each would measure its own "
            "capacity; give a number of requests per second, or leave the experiment's own load"
        )
    settings, specs = [], []
    labels = experiment.baseline.label, experiment.optimised.label
    for label, data in zip(labels, experiment.specs(device), strict=True):
        whole = laid_over(_without_other_load(data, traffic), {"model": {"device": device}}, given)
        name = f"lab:{experiment.name}:{label}"
        spec = parse_spec(whole | {"name": name}, "bad option")
        specs.append(spec)
        settings.append(_chosen(whole, spec.as_dict()))
    asked = experiment.repeats if repeats is None else repeats
    pair, plain = (specs[0], specs[1]), (settings[0], settings[1])
    return Plan(experiment, device, pair, plain, asked, given_words)


def _without_other_load(data: dict[str, Any], given: SpecData) -> dict[str, Any]:
    """Without the experiment's rate where a concurrency is given, and the other way; and without
    its warm-up where another duration is given, which then is a share of that."""
    out = [
        own
        for own, other in (("rate", "concurrency"), ("concurrency", "rate"), ("warmup", "duration"))
        if other in given and own not in given
    ]
    kept = {key: value for key, value in data["traffic"].items() if key not in out}
    return data | {"traffic": kept}


def _chosen(given: SpecData, whole: SpecData) -> dict[str, Any]:
    """The values of `whole` where something was given, so that "60s" and 60 are the same."""
    chosen = {
        key: {
            name: whole[key][name] for name in value if (key, name) not in _IDENTITY
        } if isinstance(value, dict) else whole[key]
        for key, value in given.items()
        if key != "seed"
    }  # fmt: skip
    return {key: value for key, value in chosen.items() if value != {}}
