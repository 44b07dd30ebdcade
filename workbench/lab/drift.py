"""Whether an experiment comes to what was recorded, as far as noise lets anybody tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from profiles.expected import Expectation, ExpectedRatio
from workbench.comparison.comparison import CONFIDENCE, TOO_NOISY_ABOVE, Comparison
from workbench.comparison.intervals import detectable, t_interval, t_reach, t_tail
from workbench.comparison.verdicts import holm

DriftVerdict = Literal["as expected", "drifted", "can't tell"]

_BETWEEN_RUNS = ("runs", "paired runs")
_KEPT_DIGITS = 5


@dataclass(frozen=True, slots=True)
class Drift:
    """A metric's ratio now against the recorded one; `sentence` has the figures."""

    metric: str
    verdict: DriftVerdict
    sentence: str


def ratios_of(comparison: Comparison, metrics: Sequence[str]) -> dict[str, ExpectedRatio]:
    """Optimised ÷ baseline of each metric, by its name, between repeated runs.

    Left out are metrics without one: where a figure can be 0, and where a side has one run.
    """
    found = {}
    for name in metrics:
        row = comparison.row(name)
        change = None if row is None else row.cells[1].change
        if change is None or change.effect is None or change.basis not in _BETWEEN_RUNS:
            continue
        effect = change.effect
        if not effect.log:
            continue
        logs = t_interval(effect.estimate, effect.error, effect.degrees)
        low, ratio, high = (
            _rounded(math.exp(value)) for value in (logs.low, effect.estimate, logs.high)
        )
        if low > 0:
            n = min(len(side.runs) for side in comparison.sides)
            found[name] = ExpectedRatio(ratio, low, high, _rounded(effect.degrees), n)
    return found


def drifts(recorded: Expectation, now: Mapping[str, ExpectedRatio]) -> tuple[Drift, ...]:
    """Of every recorded metric. A drift is one beyond doubt: the difference of the logarithms of
    the two ratios is tested with both their errors, corrected for the number of metrics (Holm)."""
    names = [name for name in recorded.ratios if name in now]
    tests = [_test(recorded.ratios[name], now[name]) for name in names]
    adjusted = dict(zip(names, holm([p for p, _ in tests]), strict=True))
    found = []
    for name, was in recorded.ratios.items():
        if name not in now:
            sentence = f"{name} was {ratio_text(was)} on {recorded.date}; now it has no interval"
            found.append(Drift(name, "can't tell", sentence))
            continue
        least = tests[names.index(name)][1]
        found.append(_judged(name, recorded.date, was, now[name], adjusted[name], least))
    return tuple(found)


def ratio_text(ratio: ExpectedRatio) -> str:
    """ "×2.31 [2.20, 2.43]": the ratio and its 95 % interval."""
    return f"×{ratio.ratio:.3g} [{ratio.low:.3g}, {ratio.high:.3g}]"


def _judged(
    name: str, date: str, was: ExpectedRatio, now: ExpectedRatio, p: float, least: float
) -> Drift:
    figures = f"was {ratio_text(was)} on {date}, is {ratio_text(now)}"
    if p <= 1 - CONFIDENCE:
        return Drift(name, "drifted", f"{name} {figures}")
    # What matters is measured by the effect itself: half of it, if that is much.
    matters = max(math.log1p(TOO_NOISY_ABOVE), abs(math.log(was.ratio)) / 2)
    hidden = f"{100 * math.expm1(least):.0f} %" if least < 2 else "a multiple"
    if least > matters:
        return Drift(name, "can't tell", f"{name} {figures}: too noisy, {hidden} would not show")
    return Drift(name, "as expected", f"{name} {figures}; a drift of {hidden} would show")


def _test(was: ExpectedRatio, now: ExpectedRatio) -> tuple[float, float]:
    """The probability of such a difference where there is none, two-sided; and the smallest drift,
    as a logarithm, that would be found with a probability of 80 %. Degrees of freedom are
    Welch's."""
    difference = math.log(now.ratio / was.ratio)
    parts = [(_error(ratio) ** 2, ratio.degrees or math.inf) for ratio in (was, now)]
    total = sum(part for part, _ in parts)
    if not total:
        return float(difference == 0), 0.0
    unsure = sum(part**2 / degrees for part, degrees in parts)
    degrees = total**2 / unsure if unsure else math.inf
    error = math.sqrt(total)
    p = min(1.0, 2 * t_tail(abs(difference) / error, degrees))
    return p, detectable(error, degrees, 1)


def _error(ratio: ExpectedRatio) -> float:
    """Standard error of the logarithm, from the interval."""
    reach = t_reach(ratio.degrees or math.inf)
    return math.log(ratio.high / ratio.low) / (2 * reach)


def _rounded(value: float) -> float:
    return float(f"{value:.{_KEPT_DIGITS}g}")


def recorded_text(expectation: Expectation) -> str:
    """ "output_throughput ×1.85 [1.80, 1.91] (2026-11-21)"."""
    told = ", ".join(f"{name} {ratio_text(ratio)}" for name, ratio in expectation.ratios.items())
    return f"{told} ({expectation.date})"
