"""Sides against a baseline: their figures, how they differ, and whether the difference is real."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from workbench.analysis.lookup import at
from workbench.analysis.statistics import WEAK_BELOW
from workbench.comparison.allowance import RUN_NOISE, allowance
from workbench.comparison.changes import Figures, change, interval_of
from workbench.comparison.compared_metrics import Metric, metrics_of
from workbench.comparison.comparison import (
    Cell,
    ComparedRun,
    Comparison,
    Explanation,
    Note,
    Row,
    Side,
)
from workbench.comparison.comparison_notes import notes_on
from workbench.comparison.estimates import Estimate, Resampler, block_lengths, estimates
from workbench.comparison.measured import MeasuredRun
from workbench.comparison.records import RunRecord, SideRecords
from workbench.comparison.setting_differences import setting_differences
from workbench.comparison.sources import CellSource
from workbench.comparison.steadiness import unsettled
from workbench.comparison.verdicts import judged
from workbench.comparison.why import explanations
from workbench.errors import SpecError, did_you_mean

_THREADS = 2
_SAME_REQUEST = ("request_id", "prompt_tokens", "max_tokens", "scheduled_ns")


@dataclass(frozen=True)
class MeasuredSide:
    """A side with its runs looked at."""

    side: SideRecords
    runs: tuple[MeasuredRun, ...]

    @cached_property
    def source(self) -> CellSource | None:
        """The samples of its only run; None where it has several, or only figures were kept."""
        alone = len(self.runs) == 1 and self.side.estimates is None
        return CellSource(self.runs[0]) if alone else None


def measure(side: SideRecords) -> MeasuredSide:
    """Reads what a comparison needs first of a side's runs."""
    return MeasuredSide(side, tuple(MeasuredRun(record) for record in side.records))


def compare(
    sides: Sequence[SideRecords | MeasuredSide],
    *,
    run_noise: float = RUN_NOISE,
    only: Sequence[str] = (),
    problems: Sequence[str] = (),
) -> Comparison:
    """The sides side by side, the first as baseline. A run without a summary is summed up from the
    requests that have ended, where its tables hold any.

    Args:
        run_noise: see `RUN_NOISE`; only used where a side has a single run.
        only: names of metrics, or patterns such as `ttft_*`: the others are left out, and the fewer
            are tested together, the smaller a difference is found. All where there is none.
        problems: why runs that were asked for are missing, for the notes.

    Raises:
        ValueError: fewer than two sides.
        SpecError: a pattern that no metric has.
    """
    if len(sides) < 2:
        raise ValueError("a comparison takes two sides or more")
    measured = [side if isinstance(side, MeasuredSide) else measure(side) for side in sides]
    every = [run for side in measured for run in side.runs]
    settings = setting_differences(
        [[run.content for run in side.side.records] for side in measured]
    )
    metrics = _chosen(metrics_of([run.summary for run in every]), only)
    same_traffic = not any(setting.traffic for setting in settings)
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(MeasuredRun.load, every))
        paired = [_paired(measured[0], side, same_traffic) for side in measured]
        settled = pool.map(unsettled, every)
        explained = pool.map(partial(_explained, measured), range(1, len(measured)))
        known = _estimates(pool, measured, paired, metrics)
    untold = set()
    rows = []
    for metric in metrics:
        figures = [
            _figures(metric, side, of.get(metric.name), run_noise)
            for side, of in zip(measured, known, strict=True)
        ]
        cells = []
        for place, (side, own) in enumerate(zip(measured, figures, strict=True)):
            against = None
            if place and own is not None and figures[0] is not None:
                against = change(metric, figures[0], own, paired[place])
                if any(_is_untold(each) for each in (figures[0], own)):
                    untold.add((metric.key, place))
            cells.append(_cell(metric, side, own, against))
        rows.append(Row(metric, tuple(cells)))
    told = judged(rows, frozenset(untold))
    shown = tuple(_shown(side) for side in measured)
    blocks = _block_range(measured, known)
    missing = [Note("run", problem, loud=True) for problem in problems]
    drifts = list(zip(every, settled, strict=True))
    notes = (*missing, *notes_on(measured, shown, settings, told, drifts, run_noise, blocks))
    reasons = tuple(explanation for of_side in explained for explanation in of_side)
    return Comparison(shown, settings, told, notes, reasons)


def _chosen(metrics: Sequence[Metric], only: Sequence[str]) -> Sequence[Metric]:
    names = [metric.name for metric in metrics]
    for pattern in only:
        if not fnmatch.filter(names, pattern):
            hint = did_you_mean(pattern, names, cutoff=0.5)
            raise SpecError(f"no run has a metric {pattern!r}; {hint}there are {', '.join(names)}")
    return [
        metric
        for metric in metrics
        if not only or any(fnmatch.fnmatchcase(metric.name, pattern) for pattern in only)
    ]


def _is_untold(figures: Figures) -> bool:
    estimate = figures.estimate
    return estimate is not None and estimate.interval is None and len(figures.values) == 1


def _shown(side: MeasuredSide) -> Side:
    return Side(side.side.label, tuple(_compared(run) for run in side.runs))


def _compared(run: MeasuredRun) -> ComparedRun:
    record = run.record
    reason = str(record.content.get("reason") or "")
    problem = ""
    if run.summary is None:
        problem = f"is {record.state} and has no figures" + (f": {reason}" if reason else "")
    elif not run.saved:
        ended = at(run.summary, "requests", "recorded")
        problem = f"is {record.state} and has no summary: figures of the {ended} requests ended"
    elif record.state != "finished":
        problem = f"is {record.state}" + (f": {reason}" if reason else "")
    elif not at(run.summary, "requests", "measured"):
        problem = "has no requests in its window"
    problem = "; ".join(filter(None, (problem, *run.broken.values())))
    return ComparedRun(
        run_id=record.run_id,
        name=str(record.content.get("name") or ""),
        state=record.state,
        problem=problem,
        requests=at(run.summary, "requests", "measured"),
        window_s=at(run.summary, "window_s"),
    )


# -- figures ------------------------------------------------------------------------------------


def _paired(base: MeasuredSide, side: MeasuredSide, same_traffic: bool) -> bool:
    """Whether what both sides were asked is the same, request by request."""
    if len(base.runs) == len(side.runs) == 1:
        return (
            base.source is not None
            and side.source is not None
            and same_requests(base.runs[0], side.runs[0])
        )
    return same_traffic


def same_requests(one: MeasuredRun, two: MeasuredRun) -> bool:
    """Whether the windows of both runs hold the same requests, due at the same moments."""
    if one.window != two.window or one.requests.height != two.requests.height:
        return False
    return one.requests.height > 0 and one.requests.select(_SAME_REQUEST).equals(
        two.requests.select(_SAME_REQUEST)
    )


def _estimates(
    pool: Executor,
    sides: Sequence[MeasuredSide],
    paired: Sequence[bool],
    metrics: Sequence[Metric],
) -> list[Mapping[str, Estimate]]:
    """By metric, of each side that is a single run; paired sides draw the same blocks."""
    directed = [metric for metric in metrics if metric.better is not None]

    sources = [side.source for side in sides if side.source is not None]
    parts = [(source, metric) for source in sources for metric in source.columns(directed)]
    list(pool.map(lambda part: part[0].prepare(part[1]), parts))
    own = [{} if side.source is None else block_lengths(side.source, directed) for side in sides]
    together = [each for each, is_paired in zip(own, [True, *paired[1:]], strict=True) if is_paired]
    joint = {name: max(each.get(name, 1) for each in together) for name in together[0]}
    resampler = Resampler()

    def of(place: int) -> Mapping[str, Estimate]:
        side = sides[place]
        if side.source is None:
            return side.side.estimates or {}
        lengths = own[place]
        if not place or paired[place]:
            lengths = {name: joint.get(name, length) for name, length in lengths.items()}
        return estimates(side.runs[0], side.source, directed, lengths, resampler)

    return list(pool.map(of, range(len(sides))))


def _figures(
    metric: Metric, side: MeasuredSide, estimate: Estimate | None, run_noise: float
) -> Figures | None:
    found = [
        (value, _seed(run.record))
        for run in side.runs
        if (value := metric.value(run.summary)) is not None
    ]
    if not found:
        return None
    values, seeds = zip(*found, strict=True)
    unseen = allowance(metric, side.runs[0].summary, run_noise) if len(side.runs) == 1 else 0.0
    return Figures(values, seeds, estimate, unseen)


def _seed(record: RunRecord) -> int:
    seed = at(record.content, "spec", "seed")
    return seed if isinstance(seed, int) else 0


def _cell(metric: Metric, side: MeasuredSide, own: Figures | None, against: Any) -> Cell:
    values = tuple(metric.value(run.summary) for run in side.runs)
    if own is None:
        return Cell(None, values, None, None, False, None)
    counts = [at(run.summary, *metric.path[:-1], "n") for run in side.runs]
    known = [count for count in counts if isinstance(count, int)]
    n = sum(known) if known else None
    weak = metric.figure == "p99" and any(count < WEAK_BELOW for count in known)
    return Cell(own.mean, values, n, interval_of(own), weak, against)


def _block_range(
    sides: Sequence[MeasuredSide], known: Sequence[Mapping[str, Estimate]]
) -> tuple[float, float] | None:
    """The shortest and the longest block that intervals were made with, in seconds."""
    found = [
        estimate.block * window.length_s
        for side, of in zip(sides, known, strict=True)
        for estimate in of.values()
        if estimate.block is not None and (window := side.runs[0].window) is not None
    ]
    return (min(found), max(found)) if found else None


def _explained(sides: Sequence[MeasuredSide], place: int) -> tuple[Explanation, ...]:
    base, side = sides[0], sides[place]
    return explanations(base.runs, side.runs, place, side.side.label, base.side.label)
