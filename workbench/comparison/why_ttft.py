"""Why the time to the first token differs: by stage, of the mean and around p50 and p99."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from workbench.analysis.metrics import STAGES
from workbench.analysis.quantities import milliseconds
from workbench.analysis.statistics import WEAK_BELOW, Samples
from workbench.comparison.comparison import Explanation
from workbench.comparison.measured import MeasuredRun
from workbench.comparison.why_words import (
    Cause,
    Change,
    from_to,
    parts_of,
    sentence,
)

AROUND_LEAST = 10
AROUND_SHARE = 0.01
"""So many requests stand for a percentile: 1 % of all, at least 10."""

_FIGURES: tuple[tuple[str, float | None, int], ...] = (
    ("mean", None, 1),
    ("p50", 50, 2 * AROUND_LEAST),
    ("p99", 99, WEAK_BELOW),
)
_STATED_FROM = 0.1
_UNEXPLAINED_FROM = 0.5
_MOST_APART = 0.02
_TOLD = ("queue", "prefill", "first_decode", "recompute")
_UNTOLD = "not_told"
_SERVER = "server"
_NOUNS = {
    "wait": "waiting to be admitted",
    "queue": "queue time",
    "prefill": "prefill",
    "transfer": "KV transfer",
    "first_decode": "the first decode step",
    "recompute": "recomputing after preemptions",
    _UNTOLD: "time whose stages were not recorded",
    _SERVER: "time in the server",
}


@dataclass(frozen=True, slots=True)
class _Run:
    """The requests of a run that got a first token: TTFT, the same in order, and its stages, ms."""

    ttft: Samples
    ordered: Samples
    stages: dict[str, Samples]

    @property
    def tells(self) -> bool:
        """Whether it tells the stages of most of its requests."""
        return 2 * int(np.count_nonzero(self.stages[_UNTOLD])) <= self.ttft.size

    def without_stages(self) -> _Run:
        """The same as if it told none: what follows the wait is time in the server."""
        wait = self.stages["wait"]
        return _Run(self.ttft, self.ordered, {"wait": wait, _SERVER: self.ttft - wait})


@dataclass(frozen=True, slots=True)
class _Figure:
    """A figure of a side, ms, as the table has it, and the mean TTFT and stages of the requests
    that stand for it: `around` in each run, at the least."""

    value: float
    stages: dict[str, float]
    around: int

    @property
    def ttft(self) -> float:
        return sum(self.stages.values())


def ttft_explanations(
    base: Sequence[MeasuredRun],
    other: Sequence[MeasuredRun],
    side: int,
    label: str,
    base_label: str,
) -> tuple[Explanation, ...]:
    """Why TTFT's mean, p50 and p99 differ, ms; each run of a side counts the same.

    The mean is exact: TTFT is the sum of its stages in every request, so the differences of the
    stages' means sum to that of TTFT's mean. A percentile is not a sum: its parts are those of
    the requests next to it by TTFT (1 % of all, at least 10, so chosen that their mean TTFT is
    nearest to the percentile) and sum to the difference of these requests' mean TTFT. The sentence
    gives that mean, too, where the two differences are more than 10 % apart; there is no
    explanation where they are more than half apart, nor of p50 under 20 and p99 under 100 requests.

    A remote server doesn't tell its stages: then they are one part, "server", of both sides.
    """
    sides = [_runs(runs) for runs in (base, other)]
    if not all(sides):
        return ()
    if not all(run.tells for runs in sides for run in runs):
        sides = [[run.without_stages() for run in runs] for runs in sides]
    found = []
    for name, q, least in _FIGURES:
        if min(run.ttft.size for runs in sides for run in runs) < least:
            continue
        before, after = (_figure(runs, q) for runs in sides)
        change = Change(f"TTFT {name}", label, base_label, before.value, after.value)
        explanation = _explanation(change, before, after, side, f"latency.ttft_ms.{name}")
        if explanation is not None:
            found.append(explanation)
    return tuple(found)


def _runs(runs: Sequence[MeasuredRun]) -> list[_Run]:
    return [run for run in map(_run, runs) if run.ttft.size]


def _run(run: MeasuredRun) -> _Run:
    told = pl.all_horizontal(pl.col(f"{stage}_ms").is_not_null() for stage in _TOLD)
    wait, ttft = pl.col("wait_ms").fill_null(0), pl.col("ttft_ms")
    later = [pl.col(f"{stage}_ms").fill_null(0) for stage in STAGES[1:]]
    frame = run.requests.filter(ttft.is_not_null()).select(
        ttft,
        wait,
        *(pl.when(told).then(stage).otherwise(0) for stage in later),
        pl.when(told).then(0.0).otherwise(ttft - wait).alias(f"{_UNTOLD}_ms"),
    )
    stages = {stage: frame[f"{stage}_ms"].to_numpy() for stage in (*STAGES, _UNTOLD)}
    times = frame["ttft_ms"].to_numpy()
    return _Run(times, np.sort(times), stages)


def _figure(runs: Sequence[_Run], q: float | None) -> _Figure:
    values, chosen, counts = [], [], []
    for run in runs:
        value, count, near = float(run.ttft.mean()), run.ttft.size, run.stages
        if q is not None:
            value, low, high = _around(run.ordered, q)
            rows = np.flatnonzero((run.ttft >= low) & (run.ttft <= high))
            count, near = rows.size, {stage: times[rows] for stage, times in near.items()}
        values.append(value)
        counts.append(count)
        chosen.append({stage: float(times.mean()) for stage, times in near.items()})
    stages = {name: float(np.mean([each[name] for each in chosen])) for name in chosen[0]}
    return _Figure(_middle(values), stages, min(counts))


def _around(ordered: Samples, q: float) -> tuple[float, float, float]:
    """The percentile, and from which to which TTFT requests are next to it: neighbours by rank,
    the percentile among them where there are enough above it, whose mean is nearest to it."""
    count, last = _around_count(ordered.size), ordered.size - 1
    rank = q / 100 * last
    low = max(0, min(math.floor(rank) - count, last + 1 - count))
    middle = ordered[low : math.ceil(rank) + count + 1]
    value = float(np.interp(rank - low, np.arange(middle.size), middle))
    sums = np.concatenate(([0.0], np.cumsum(middle)))
    means = (sums[count:] - sums[:-count]) / count
    first = int(np.argmin(np.abs(means - value)))
    return value, float(middle[first]), float(middle[first + count - 1])


def _around_count(requests: int) -> int:
    return min(requests, max(AROUND_LEAST, round(AROUND_SHARE * requests)))


def _middle(values: Sequence[float]) -> float:
    """Of one run its figure, of several the geometric mean, as in the table."""
    if min(values) > 0:
        return math.exp(math.fsum(map(math.log, values)) / len(values))
    return math.fsum(values) / len(values)


def _explanation(
    change: Change, before: _Figure, after: _Figure, side: int, metric: str
) -> Explanation | None:
    difference, own = after.ttft - before.ttft, change.difference_ms
    apart = abs(difference - own)
    if change.before_ms <= 0:
        return None
    if apart > max(_UNEXPLAINED_FROM * abs(own), _MOST_APART * change.before_ms):
        return None
    causes = [_cause(stage, after.stages[stage] - before.stages[stage]) for stage in before.stages]
    words = sentence(change, causes)
    if not change.hardly and apart > _STATED_FROM * abs(own):
        count = min(before.around, after.around)
        words = f"{words} The {count:,} requests around it: {from_to(before.ttft, after.ttft)}."
    return Explanation(side, metric, change.figure, difference, parts_of(causes), words)


def _cause(stage: str, difference_ms: float) -> Cause:
    noun, size = _NOUNS[stage], milliseconds(abs(difference_ms))
    if stage in ("queue", _UNTOLD, _SERVER):
        itself = f"{noun} {'rose' if difference_ms > 0 else 'fell'} by {size}"
    else:
        itself = f"{noun} took {size} {'longer' if difference_ms > 0 else 'less'}"
    return Cause(stage.replace("_", " "), difference_ms, f"is {noun}", itself)
