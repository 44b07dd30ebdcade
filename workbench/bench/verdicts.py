"""How often a comparison's verdicts are right, on simulated runs: of two runs of the same engine
(A/A) every "better" and "worse" is false; a slower engine (A/B) should be found "worse"."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from statistics import fmean
from typing import Any

from workbench.bench.simulated_run import simulated_run
from workbench.comparison.compare import compare
from workbench.comparison.intervals import Interval
from workbench.comparison.records import RunRecord, SideRecords
from workbench.errors import SpecError

FALSE_BAR_PERCENT = 5.0
FOUND_BAR_PERCENT = 90.0
BARRED_EFFECT = 1.10
BARRED_METRIC = "tpot_p50"
_POLARS_THREADS = "POLARS_MAX_THREADS"
_SAME, _OTHER, _AGAIN = 0, 1, 2
"""What tells the noise of a run from that of another of the same traffic."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is simulated.

    Attributes:
        pairs: pairs of single runs in A/A.
        experiments: of `repeat` runs a side; in A/B also of a single run a side.
        requests: about so many a run.

    Raises `SpecError` where there would be nothing to count.
    """

    pairs: int = 200
    experiments: int = 100
    repeat: int = 5
    requests: int = 500

    def __post_init__(self) -> None:
        least = {"pairs": 1, "experiments": 1, "repeat": 2}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise SpecError(f"--{name} {getattr(self, name)}: at least {value}")

    def pairs_of(self, experiment: int) -> int:
        """Pairs that come from the runs of this experiment."""
        return len(range(experiment, self.pairs, self.experiments))


@dataclass(frozen=True, slots=True)
class Series:
    """One kind of comparison: what is compared, and how much slower B in truth is."""

    name: str
    slower: float
    runs: int

    @property
    def is_same(self) -> bool:
        return self.slower == 1.0


@dataclass(frozen=True, slots=True)
class Judged:
    """One comparison: verdicts by metric; where both sides are the same, each figure of the second
    one's single run and its interval."""

    series: str
    verdicts: dict[str, str]
    figures: dict[str, tuple[float, Interval | None]] = field(default_factory=dict)


def all_series(extent: Extent) -> tuple[Series, ...]:
    """What is compared, in the order of the table."""
    repeated = f"{extent.repeat} runs"
    return (
        Series("A/A, same requests", 1.0, 1),
        Series("A/A, other requests", 1.0, 1),
        Series(f"A/A, {repeated}", 1.0, extent.repeat),
        Series(f"+5 %, {repeated}", 1.05, extent.repeat),
        Series(f"+10 %, {repeated}", BARRED_EFFECT, extent.repeat),
        Series("+10 %, 1 run", BARRED_EFFECT, 1),
        Series("+20 %, 1 run", 1.20, 1),
    )


def run_verdicts(
    extent: Extent, workers: int | None = None, progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Simulates, compares and counts; shares in percent.

    Args:
        workers: processes, by default one a core. The figures don't depend on it.
        progress: told how many experiments are done.
    """
    started = time.perf_counter()
    judged: list[Judged] = []
    numbers = range(extent.experiments)
    job = partial(_experiment, extent)
    for done, some in enumerate(_mapped(job, numbers, workers or _cores()), 1):
        judged += some
        if progress is not None:
            progress(done)
    series = [_counted(each, judged) for each in all_series(extent)]
    return {
        "pairs": extent.pairs,
        "experiments": extent.experiments,
        "repeat": extent.repeat,
        "requests": extent.requests,
        "series": series,
        "coverage": _coverage([each.figures for each in judged if each.figures]),
        "bars": _bars(series),
        "seconds": time.perf_counter() - started,
    }


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _mapped(
    job: Callable[[int], list[Judged]], numbers: Sequence[int], workers: int
) -> Iterable[list[Judged]]:
    if workers == 1:
        yield from map(job, numbers)
        return
    os.environ.setdefault(_POLARS_THREADS, "1")  # a core a process; read when polars is loaded
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        yield from pool.map(job, numbers)


def _experiment(extent: Extent, number: int) -> list[Judged]:
    """Every comparison that the runs of one experiment are good for."""

    @cache
    def run(place: int, side: int, slower: float = 1.0) -> RunRecord:
        seed = 1000 * number + place
        run_seed = 100_000 * seed + 1000 * side + round(100 * slower)
        return simulated_run(seed, run_seed, requests=extent.requests, slower=slower)

    def runs(side: int, slower: float = 1.0) -> list[RunRecord]:
        return [run(place, side, slower) for place in range(extent.repeat)]

    same, other, again, by_5, by_10, one_by_10, one_by_20 = all_series(extent)
    judged = [
        _judged(again, runs(_SAME), runs(_OTHER)),
        _judged(by_5, runs(_SAME), runs(_OTHER, by_5.slower)),
        _judged(by_10, runs(_SAME), runs(_OTHER, by_10.slower)),
    ]
    seeds = max(extent.repeat, extent.pairs_of(number))
    for place in range(extent.pairs_of(number)):
        first, turned = run(place, _SAME), (place + 1) % seeds
        judged += [
            _judged(same, [first], [run(place, _OTHER)]),
            _judged(other, [first], [run(turned, _AGAIN)]),
        ]
    judged += [
        _judged(by, [run(0, _SAME)], [run(0, _OTHER, by.slower)]) for by in (one_by_10, one_by_20)
    ]
    return judged


def _judged(series: Series, base: Sequence[RunRecord], other: Sequence[RunRecord]) -> Judged:
    comparison = compare([SideRecords("A", tuple(base)), SideRecords("B", tuple(other))])
    verdicts = {}
    for row in comparison.rows:
        change = row.cells[1].change
        if change is not None and change.verdict is not None:
            verdicts[row.metric.name] = str(change.verdict)
    figures = {}
    if series.is_same and series.runs == 1:
        for row in comparison.rows:
            cell = row.cells[1]  # its run is in no other pair, the first side's is
            if cell.value is not None:
                figures[row.metric.name] = cell.value, cell.interval
    return Judged(series.name, verdicts, figures)


def _counted(series: Series, judged: Sequence[Judged]) -> dict[str, Any]:
    """Verdicts of one series, by metric, and how many comparisons have any that is false."""
    of_it = [each.verdicts for each in judged if each.series == series.name]
    counts: dict[str, Counter[str]] = {}
    for verdicts in of_it:
        for metric, verdict in verdicts.items():
            counts.setdefault(metric, Counter())[verdict] += 1
    result: dict[str, Any] = {
        "name": series.name,
        "slower": series.slower,
        "runs": series.runs,
        "comparisons": len(of_it),
        "metrics": {name: _shares(count) for name, count in counts.items()},
    }
    if series.is_same and of_it:
        false = sum(not {"better", "worse"}.isdisjoint(each.values()) for each in of_it)
        result["any_false_percent"] = 100 * false / len(of_it)
    return result


def _shares(count: Counter[str]) -> dict[str, float]:
    shares = {
        f"{verdict.replace(' ', '_')}_percent": 100 * count[verdict] / count.total()
        for verdict in ("better", "worse", "too noisy")
    }
    return {"judged": count.total()} | shares


def _bars(series: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The bars and what was measured: the metric with the most false verdicts in each A/A series,
    and how often the barred effect was found."""
    bars = []
    for each in series:
        if each["slower"] == 1.0 and each["metrics"]:
            false = {
                name: shares["better_percent"] + shares["worse_percent"]
                for name, shares in each["metrics"].items()
            }
            metric = max(false, key=lambda name: false[name])
            bars.append(_bar(each, metric, "false, at most", FALSE_BAR_PERCENT, false[metric]))
        elif each["slower"] == BARRED_EFFECT and each["runs"] > 1:
            shares = each["metrics"].get(BARRED_METRIC, {})
            found = shares.get("worse_percent", 0.0)
            bars.append(_bar(each, BARRED_METRIC, "found, at least", FOUND_BAR_PERCENT, found))
    return bars


def _bar(
    series: dict[str, Any], metric: str, what: str, bar: float, percent: float
) -> dict[str, Any]:
    met = percent <= bar if what.startswith("false") else percent >= bar
    return {
        "series": series["name"],
        "metric": metric,
        "what": what,
        "bar_percent": bar,
        "percent": percent,
        "met": met,
    }


def _coverage(
    runs: Sequence[dict[str, tuple[float, Interval | None]]],
) -> dict[str, dict[str, float]]:
    """By metric: runs, the share whose figure has an interval, and the share of these intervals
    that hold the figure's mean over all runs, percent.

    A single run's interval doesn't know how much the next run of the same machine will differ, so
    less than 95 % is no defect of a figure that the machine's state moves.
    """
    coverage = {}
    for name in sorted({name for run in runs for name in run}):
        found = [run[name] for run in runs if name in run]
        truth = fmean(value for value, _ in found)
        intervals = [interval for _, interval in found if interval is not None]
        if intervals:
            inside = sum(interval.low <= truth <= interval.high for interval in intervals)
            coverage[name] = {
                "runs": len(found),
                "known_percent": 100 * len(intervals) / len(found),
                "inside_percent": 100 * inside / len(intervals),
            }
    return coverage
