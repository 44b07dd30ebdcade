"""What a sweep has found: its limit, where the engine saturates, which points are worth having."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from workbench.sweeps.planner import Plan, Search, bracket_of, saturates_at
from workbench.sweeps.verdicts import (
    FEW_REQUESTS,
    SATURATED,
    UNDECIDED,
    Point,
    judge,
    requests_needed,
)

_WARMUP_MOST_S = 10.0
_HEADROOM = 1.1
_DISTURBED = 0.75


@dataclass(frozen=True, slots=True)
class MaxGoodput:
    """The highest offered rate at which at least `target` of the requests met every SLO.

    The definition is DistServe's (Zhong et al. 2024), with the interval that the search left.

    Attributes:
        rate_per_s: the highest rate that passes, req/s; None where none did.
        failing_per_s: the lowest that does not; None where the range ended before.
        attainment, interval, requests: of `rate_per_s`'s runs together; interval is Wilson's, 95 %.
        goodput_per_s: requests per second there that met every SLO, the median of its runs.
        decided: both ends of the bracket are certain by their intervals or by saturation.
    """

    target: float
    rate_per_s: float | None
    failing_per_s: float | None
    attainment: float | None
    interval: tuple[float, float] | None
    requests: int
    goodput_per_s: float | None
    decided: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """A sweep's points, judged, and what follows from them.

    Attributes:
        pareto_ttft, pareto_tpot: values of the points that no other beats: none has as much
            output throughput at a lower TTFT p99 (TPOT p99).
        saturates: the lowest value from which the engine is saturated.
    """

    axis: str
    target: float | None
    points: list[Point]
    goodput: MaxGoodput | None
    saturates: Point | None
    pareto_ttft: frozenset[float]
    pareto_tpot: frozenset[float]
    notes: list[str]


def typical(point: Point, figure: str) -> float | None:
    """A figure of the point: the median of its runs; None where none has it."""
    values = [getattr(run, figure) for run in point.good_runs]
    known = [value for value in values if value is not None]
    return median(known) if known else None


def outcome_of(axis: str, plan: Plan, results: Iterable[Any], ended: bool) -> Outcome:
    """What `results`, the `Figures` of a sweep by `plan`, say; `ended`: no run is left to make."""
    points = judge(results, plan.target)
    goodput = None
    if isinstance(plan, Search) and plan.find and plan.target is not None:
        goodput = _max_goodput(points, plan.target)
    saturates = saturates_at(points)
    return Outcome(
        axis,
        plan.target,
        points,
        goodput,
        saturates,
        pareto(points, "ttft_p99_ms"),
        pareto(points, "tpot_p99_ms"),
        _notes(axis, plan, points, goodput, ended),
    )


def pareto(points: Sequence[Point], latency: str) -> frozenset[float]:
    """Values of the points that no other beats in output throughput and `latency` at once."""
    placed = [
        (done, late, point.value)
        for point in points
        if (done := typical(point, "output_tokens_per_s")) is not None
        and (late := typical(point, latency)) is not None
    ]
    return frozenset(
        value
        for done, late, value in placed
        if not any(
            other >= done and sooner <= late and (other, sooner) != (done, late)
            for other, sooner, _ in placed
        )
    )


def _max_goodput(points: Sequence[Point], target: float) -> MaxGoodput:
    bracket = bracket_of(points)
    best, worse = bracket.passing, bracket.failing
    certain = all(end is None or end.verdict != UNDECIDED for end in (best, worse))
    return MaxGoodput(
        target,
        best.value if best else None,
        worse.value if worse else None,
        best.attainment if best else None,
        best.interval if best else None,
        best.measured if best else 0,
        typical(best, "goodput_per_s") if best else None,
        certain and best is not None,
    )


def _notes(
    axis: str, plan: Plan, points: Sequence[Point], goodput: MaxGoodput | None, ended: bool
) -> list[str]:
    notes = []
    bracket = bracket_of(points)
    if isinstance(plan, Search):
        for value in bracket.violations:
            notes.append(
                f"{value:.4g} does not pass although a higher {axis} does: noise, or a defect. "
                "The limit is taken below it."
            )
        if goodput is not None and ended:
            notes += _on_the_range(bracket.passing, bracket.failing)
    if goodput is not None:
        notes += [
            _on_undecided(point, goodput.target)
            for point in (bracket.passing, bracket.failing)
            if point is not None and point.verdict == UNDECIDED
        ]
    if few := _on_few_requests(axis, points):
        notes.append(few)
    if disturbed := _on_disturbance(points):
        notes.append(disturbed)
    several = [f"{p.value:.4g} ×{len(p.runs)}" for p in points if len(p.runs) > 1]
    if several:
        notes.append(
            f"Several runs of {', '.join(several)}: attainment is of all their requests, other "
            "figures are the median of the runs."
        )
    for point in points:
        lost = sum(bool(run.failed) for run in point.runs)
        if lost and point.good_runs:
            notes.append(f"{lost} of {len(point.runs)} runs of {point.value:.4g} failed.")
        elif lost:
            notes.append(f"{point.value:.4g} failed: {point.why}")
    return notes


def _on_the_range(passing: Point | None, failing: Point | None) -> list[str]:
    if passing is not None and failing is None:
        return [f"Every rate up to {passing.value:.4g} passes; raise the end of the range."]
    if passing is None and failing is not None:
        return [f"Not even {failing.value:.4g} req/s passes; lower the range, or relax the SLO."]
    return []


def _on_undecided(point: Point, target: float) -> str:
    attainment, interval = point.attainment, point.interval
    if attainment is None or interval is None:
        return f"{point.value:.4g} is undecided: no request was measured."
    needed = requests_needed(attainment, target)
    note = (
        f"{point.value:.4g} is undecided: {attainment:.1%} of {point.measured:,} requests met the "
        f"SLO, 95 % interval {interval[0]:.1%} to {interval[1]:.1%}"
    )
    if needed is None or needed > 100 * point.measured:
        return note + "; it is so near the target that no length of run tells."
    return note + f"; about {needed:,} requests would tell."


def _on_disturbance(points: Sequence[Point]) -> str:
    """A saturated point gives all that the engine has; so a higher one can't give much more."""
    best: tuple[float, float] | None = None
    worst = ""
    for point in reversed(points):
        done = typical(point, "output_tokens_per_s")
        if done is None or has_few(point):
            continue
        if point.verdict == SATURATED and best is not None and done < _DISTURBED * best[1]:
            worst = (
                f"{point.value:.4g} is saturated at {done:,.4g} tok/s, but {best[0]:.4g} gave "
                f"{best[1]:,.4g}: something else used the machine, or the runs are too short."
            )
        if best is None or done > best[1]:
            best = point.value, done
    return worst


def _on_few_requests(axis: str, points: Sequence[Point]) -> str:
    """How long the runs would have to be for the points with too few requests."""
    weak = [point for point in points if has_few(point)]
    if not weak:
        return ""
    listed = ", ".join(f"{point.value:.4g}" for point in weak)
    note = f"Under {FEW_REQUESTS} requests were measured in a run of {listed} (*)"
    lengths = [_duration_needed_s(axis, point) for point in weak]
    known = [length for length in lengths if length is not None]
    if len(known) < len(lengths):
        return note + "; use a longer --duration."
    return note + f"; it takes about --duration {max(known):.0f}s."


def has_few(point: Point) -> bool:
    """Whether one of its runs measured under `FEW_REQUESTS` requests."""
    return any(run.measured < FEW_REQUESTS for run in point.good_runs)


def _duration_needed_s(axis: str, point: Point) -> float | None:
    """Warm-up and a window for `FEW_REQUESTS`, with some headroom for the arrivals' chance."""
    rates = [run.measured / run.window_s for run in point.good_runs if run.window_s]
    rate = point.value if axis == "rate" else median(rates) if rates else 0.0
    if rate <= 0:
        return None
    warmup_s = max(_WARMUP_MOST_S, *(run.warmup_s for run in point.good_runs))
    return math.ceil(warmup_s + _HEADROOM * FEW_REQUESTS / rate)
