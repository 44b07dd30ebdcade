"""What the runs of a point say: it holds, misses its SLO, is saturated, or nothing certain."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import mean

from workbench.analysis.throughput import ACHIEVED_SHARE
from workbench.sweeps.figures import Figures

OK, MISSES, SATURATED = "ok", "misses SLO", "saturated"
UNDECIDED, FAILED = "undecided", "failed"

Z95 = 1.959964
"""Quantile of the normal distribution for two-sided 95 %."""

FEW_REQUESTS = 30
"""A point with fewer measured requests is marked: its percentiles mean little."""

_STEP_UP, _GAIN = 1.25, 1.02
_LEAST_GROWTH = math.log(_GAIN) / math.log(_STEP_UP)


@dataclass(frozen=True, slots=True)
class Point:
    """All runs at one value, judged together.

    Attributes:
        runs: by repeat; some may have failed.
        verdict: `OK`, `MISSES`, `SATURATED`, `UNDECIDED` or `FAILED`.
        passes: which side of the limit a search takes it for; an undecided point counts by its
            attainment as it is.
        why: what the verdict rests on, where that is not the attainment.
        measured, met: requests of all windows, and those that met every SLO; met is None without
            an SLO.
        interval: 95 % Wilson interval of the attainment, 0 to 1.
    """

    value: float
    runs: tuple[Figures, ...]
    verdict: str
    passes: bool
    why: str
    measured: int
    met: int | None
    interval: tuple[float, float] | None

    @property
    def attainment(self) -> float | None:
        """Requests that met every SLO ÷ all, over all windows, 0 to 1."""
        return self.met / self.measured if self.met is not None and self.measured else None

    @property
    def good_runs(self) -> list[Figures]:
        return [run for run in self.runs if not run.failed]


def wilson(met: int, of: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval for a share, 0 to 1 (Wilson 1927); (0, 1) where `of` is 0."""
    if not of:
        return 0.0, 1.0
    share, z2 = met / of, z * z
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = z / (1 + z2 / of) * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def requests_needed(attainment: float, target: float, z: float = Z95) -> int | None:
    """Requests from which Wilson's interval around `attainment` would leave `target` out.

    None where the two are equal: no number decides that.
    """
    if attainment == target:
        return None
    return math.ceil(z * z * target * (1 - target) / (attainment - target) ** 2)


def judge(runs: Iterable[Figures], target: float | None) -> list[Point]:
    """Points by ascending value; `target` is the share that must meet every SLO, if one is set."""
    ordered = sorted(runs, key=lambda run: (run.value, run.repeat))
    groups = [tuple(group) for _, group in groupby(ordered, key=lambda run: run.value)]
    good = [[run for run in group if not run.failed] for group in groups]
    return [
        _point(group, _saturation(good[index], good[:index], good[index + 1 :]), target)
        for index, group in enumerate(groups)
    ]


def _point(runs: tuple[Figures, ...], saturated: str, target: float | None) -> Point:
    good = [run for run in runs if not run.failed]
    measured = sum(run.measured for run in good)
    counted = [run.met for run in good if run.met is not None]
    met = sum(counted) if counted else None
    interval = None if met is None else wilson(met, measured)
    verdict, why = OK, ""
    if not good:
        verdict, why = FAILED, runs[-1].failed
    elif saturated:
        verdict, why = SATURATED, saturated
    elif target is not None and (interval is None or not measured):
        verdict, why = UNDECIDED, "no request was measured"
    elif target is not None and interval is not None and interval[0] <= target:
        verdict = MISSES if interval[1] < target else UNDECIDED
    share = met / measured if met is not None and measured else 0.0
    passes = verdict == OK or (verdict == UNDECIDED and target is not None and share >= target)
    return Point(runs[0].value, runs, verdict, passes, why, measured, met, interval)


def _saturation(
    good: list[Figures], below: Sequence[list[Figures]], above: Sequence[list[Figures]]
) -> str:
    """Why most of the runs say that the engine can't do more; empty where they don't."""
    slow = [run for run in good if _fell_short(run)]
    if 2 * len(slow) > len(good):
        return "it achieved under 99 % of what was offered"
    behind = [run for run in good if run.fell_behind]
    if 2 * len(behind) > len(good):
        return "its backlog grew"
    if 2 * len({*slow, *behind}) > len(good):
        return "it achieved under 99 % of what was offered, or its backlog grew"
    gains = [growth[0] for higher in above if (growth := _growth(good, higher)) is not None]
    if gains and max(gains) >= _GAIN:
        return ""  # more load still gives more
    # An open loop's own figures tell whether it kept up; a closed loop always does.
    closed = all(run.offered_per_s is None for run in good)
    return "more load gives no more output" if closed and gains else _no_growth(good, below)


def _fell_short(run: Figures) -> bool:
    """Under 99 % of the offered rate, and by a whole request or more.

    In a short window the wait of its last request for the step before it is a percent too.
    """
    share = 1.0 if run.achieved_share is None else run.achieved_share
    return share < ACHIEVED_SHARE and run.measured * (1 - share) >= 1


def _no_growth(good: list[Figures], below: Sequence[list[Figures]]) -> str:
    """Output throughput gained under 2 % where the load grew by 25 %, or as little in proportion.

    Seen against the highest lower point that is at least 25 % below; few requests say nothing.
    """
    for lower in reversed(below):
        growth = _growth(lower, good)
        if growth is not None:
            gain, load = growth
            too_little = math.log(gain) < _LEAST_GROWTH * math.log(load)
            return f"no more output than at {lower[0].value:g}" if too_little else ""
    return ""


def _growth(lower: list[Figures], higher: list[Figures]) -> tuple[float, float] | None:
    """Output and load of `higher` over those of `lower`; None where they can't be compared."""
    if not lower or not higher or min(run.measured for run in lower + higher) < FEW_REQUESTS:
        return None
    load, done, before = _load(higher) / _load(lower), _output(higher), _output(lower)
    if load < _STEP_UP or not before or not done:
        return None
    return done / before, load


def _load(runs: Sequence[Figures]) -> float:
    """What was offered in fact; the concurrency where that is the load."""
    return mean(run.value if run.offered_per_s is None else run.offered_per_s for run in runs)


def _output(runs: Sequence[Figures]) -> float | None:
    known = [run.output_tokens_per_s for run in runs if run.output_tokens_per_s is not None]
    return mean(known) if known else None
