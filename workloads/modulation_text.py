"""Modulations as a command line writes them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from workloads.errors import WorkloadError
from workloads.modulation import Diurnal, Modulation, Ramp, Sine, Square, Steady, Steps
from workloads.names import unknown_name
from workloads.numerals import is_number


@dataclass(frozen=True, slots=True)
class ModulationForm:
    """How a command line writes one modulation.

    `usage` shows every option with its default (for `steps`, an example), `summary` says in a
    line what it does, and `options` maps each option to the argument of `build` that it sets.
    """

    build: Callable[..., Modulation]
    usage: str
    summary: str
    options: Mapping[str, str] = field(default_factory=dict)


_BEGIN: Final = {"begin": "begin_s"}

MODULATIONS: Final[Mapping[str, ModulationForm]] = MappingProxyType(
    {
        "steady": ModulationForm(Steady, "steady", "the base rate throughout"),
        "square": ModulationForm(
            Square,
            "square:period=60s,low=0.5,high=3,duty=0.2,begin=0s",
            "calm and burst by turns; the mean stays the base rate",
            {
                "period": "period_s",
                "low": "low",
                "high": "high",
                "duty": "duty",
                "begin": "begin_s",
            },
        ),
        "sine": ModulationForm(
            Sine,
            "sine:period=60s,amplitude=0.8,begin=0s",
            "a wave around the base rate",
            {"period": "period_s", "amplitude": "amplitude"} | _BEGIN,
        ),
        "diurnal": ModulationForm(
            Diurnal,
            "diurnal:period=24h,trough=0.25,peak=1.45,begin=0h",
            "day and night; the mean stays the base rate",
            {"period": "period_s", "trough": "trough", "peak": "peak"} | _BEGIN,
        ),
        "ramp": ModulationForm(
            Ramp,
            "ramp:from=0,to=2",
            "a straight line between two factors of the base rate over the run",
            {"from": "start", "to": "end"},
        ),
        "steps": ModulationForm(
            Steps, "steps:0.5,1,2", "equally long steps over the run, as factors of the base rate"
        ),
    }
)
"""Every modulation by the name that the command line takes; `RateFile` is given by its file."""


def modulation(text: str) -> Modulation:
    """The modulation written as NAME or NAME:OPTION=VALUE,… (`steps` as steps:FACTOR,…).

    Periods are in seconds or have a unit: 500ms, 30s, 5m, 24h. What is left out has the default
    that `MODULATIONS` shows. Raises `WorkloadError` for an unknown name or option (all are
    listed, the nearest first), for what is no number, and for impossible values.
    """
    name, colon, listed = (part.strip() for part in text.partition(":"))
    form = MODULATIONS.get(name)
    if form is None:
        raise unknown_name("modulation", name, MODULATIONS)
    items = [item.strip() for item in listed.split(",")] if colon else []
    if form.build is Steps:
        return Steps(tuple(_number("steps", "factor", item) for item in items))
    if items and not form.options:
        raise WorkloadError(f"{name} takes no options, here {listed!r}: write {form.usage}")
    values: dict[str, float] = {}
    for item in items:
        option, equals, value = (part.strip() for part in item.partition("="))
        if not equals:
            raise WorkloadError(f"{name}: {item!r} is not OPTION=VALUE: write it as {form.usage}")
        if option not in form.options:
            raise unknown_name(f"option of {name}", option, form.options)
        if form.options[option] in values:
            raise WorkloadError(f"{name}: {option} is given twice: give it once")
        read = _seconds if form.options[option].endswith("_s") else _number
        values[form.options[option]] = read(name, option, value)
    return form.build(**values)


_UNITS: Final = MappingProxyType({"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0})
_QUANTITY: Final = re.compile(r"(.*?)\s*(ms|s|m|h|)")


def _number(name: str, option: str, text: str) -> float:
    if not (is_number(text) and math.isfinite(float(text))):
        raise WorkloadError(f"{name}: {option} is {text!r}: give a number")
    return float(text)


def _seconds(name: str, option: str, text: str) -> float:
    match = _QUANTITY.fullmatch(text)
    if match is None or not (is_number(match[1]) and math.isfinite(float(match[1]))):
        raise WorkloadError(
            f"{name}: {option} is {text!r}: give a duration such as 500ms, 30s, 5m or 24h"
        )
    return float(match[1]) * _UNITS[match[2]]
