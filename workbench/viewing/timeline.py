"""All workers' steps over a span: their lanes, what ran along with them, figures, and the ways from
step to step and from gap to gap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from workbench.analysis.statistics import percentiles
from workbench.viewing.lanes import (
    STEP_KINDS,
    Floats,
    Ints,
    Lane,
    WorkerSteps,
    edges_ns,
    lane,
    largest,
)


@dataclass(frozen=True, slots=True)
class Gap:
    """A host gap: the GPU was idle between two steps while requests were running or waiting."""

    start_ns: int
    duration_ms: float
    after_step: int
    worker: int


@dataclass(frozen=True, slots=True)
class GpuFigures:
    """A span's steps on the GPU.

    Attributes:
        busy_percent: their time there ÷ the span's known time, over all workers.
        idle_p50_ms, idle_p99_ms: that it idled between two decode steps; idle_percent: its share
            of the time of these, as `analysis.gpu_time` has it. None where there are no two.
    """

    busy_percent: float
    idle_p50_ms: float | None
    idle_p99_ms: float | None
    idle_percent: float | None


@dataclass(frozen=True, slots=True)
class SpanFigures:
    """What happened in a span; None where it holds no step, or nothing of it is known yet.

    Attributes:
        steps: steps of which any part lies in it; by_kind: of each kind that is there.
        busy_percent, gap_percent, idle_percent: of its known time, over all workers: inside steps,
            in host gaps, with nothing to do. They sum to 100.
        p50_ms, p99_ms: from a step's first launch until its tokens are on the host.
        prefill_tokens, decode_tokens: that these steps computed; mean_batch: sequences per step.
        gpu: what the GPU did of these steps; None where none was timed there.
        gaps: the largest host gaps that begin in it, largest first.
    """

    steps: int
    by_kind: dict[str, int]
    busy_percent: float | None
    gap_percent: float | None
    idle_percent: float | None
    p50_ms: float | None
    p99_ms: float | None
    prefill_tokens: int
    decode_tokens: int
    mean_batch: float | None
    gpu: GpuFigures | None
    gaps: tuple[Gap, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """A span, ready to be drawn in `columns` cells.

    Attributes:
        batch, tokens: float64 `[columns]`, the most sequences, and the most tokens computed, of a
            step that ran in the cell; NaN where none did.
        live_blocks: the most KV blocks held by requests, float64 `[columns]`; NaN before the first
            step and after what is known.
    """

    start_ns: int
    end_ns: int
    known_ns: int
    lanes: tuple[Lane, ...]
    batch: Floats
    tokens: Floats
    live_blocks: Floats
    figures: SpanFigures


class StepIndex:
    """The steps of a run, ready to be asked for any span. Built once for each version of them."""

    def __init__(self, steps: pl.DataFrame) -> None:
        if "worker" in steps.columns:
            steps = steps.with_columns(pl.col("worker").fill_null(0))
        else:
            steps = steps.with_columns(worker=pl.lit(0, pl.Int64))
        numbers = sorted(steps["worker"].unique().to_list()) or [0]
        self.workers: tuple[int, ...] = tuple(numbers)
        self._lanes = tuple(
            WorkerSteps(number, steps.filter(pl.col("worker") == number)) for number in numbers
        )
        states = steps.select("end_ns", "live_blocks").sort("end_ns")
        self._state_ns, self._live = (
            states[name].cast(pl.Int64).fill_null(0).to_numpy() for name in states.columns
        )

    @property
    def count(self) -> int:
        """How many steps there are."""
        return len(self._state_ns)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of steps that there are, in the order of `STEP_KINDS`."""
        there = frozenset[int]().union(*(steps.kinds for steps in self._lanes))
        return tuple(kind for number, kind in enumerate(STEP_KINDS) if number in there)

    def told_until_ns(self, at_ns: int) -> int:
        """How far a living run's steps are told at `at_ns`: a step is recorded when it ends, so
        after the newest one nothing is known, unless it left no request to go on with."""
        ends = [
            (int(steps.until_ns[-1]), int(steps.left[-1])) for steps in self._lanes if len(steps)
        ]
        newest_ns, left = max(ends, default=(0, 0))
        return min(at_ns, newest_ns) if left else at_ns

    def timeline(self, start_ns: int, end_ns: int, columns: int, known_ns: int) -> Timeline:
        """The span in `columns` cells; nothing after `known_ns` is shown."""
        edges = edges_ns(start_ns, end_ns, columns, known_ns)
        return Timeline(
            start_ns=start_ns,
            end_ns=end_ns,
            known_ns=known_ns,
            lanes=tuple(lane(steps, start_ns, end_ns, columns, known_ns) for steps in self._lanes),
            batch=self._most(edges, tokens=False),
            tokens=self._most(edges, tokens=True),
            live_blocks=self._states(self._live, edges),
            figures=self.figures(start_ns, end_ns, known_ns),
        )

    def figures(self, start_ns: int, end_ns: int, known_ns: int) -> SpanFigures:
        """The figures of a span."""
        end_ns = max(start_ns, min(end_ns, known_ns))
        edges = np.asarray([start_ns, end_ns], np.int64)
        spans = [(steps, steps.overlapping(start_ns, end_ns)) for steps in self._lanes]
        known = (end_ns - start_ns) * len(spans)
        busy = gap = 0
        for steps, _ in spans:
            if len(steps):
                spent = steps.spent(edges)
                busy, gap = busy + int(spent.busy[0]), gap + int(spent.gap[0])
        count = sum(rows.stop - rows.start for _, rows in spans)
        by_kind = sum(
            (np.bincount(steps.kind[rows], minlength=len(STEP_KINDS)) for steps, rows in spans),
            np.zeros(len(STEP_KINDS), np.int64),
        )
        durations = [steps.end_ns[rows] - steps.start_ns[rows] for steps, rows in spans]
        p50, p99 = percentiles(np.concatenate(durations) / 1e6, (50, 99))
        shares = [
            100 * part / known if known and self.count else None
            for part in (busy, gap, known - busy - gap)
        ]
        return SpanFigures(
            steps=count,
            by_kind={STEP_KINDS[kind]: int(by_kind[kind]) for kind in np.flatnonzero(by_kind)},
            busy_percent=shares[0],
            gap_percent=shares[1],
            idle_percent=shares[2],
            p50_ms=p50,
            p99_ms=p99,
            prefill_tokens=sum(int(steps.prefill_tokens[rows].sum()) for steps, rows in spans),
            decode_tokens=sum(int(steps.decode_tokens[rows].sum()) for steps, rows in spans),
            mean_batch=(
                sum(int(steps.num_seqs[rows].sum()) for steps, rows in spans) / count
                if count
                else None
            ),
            gpu=_gpu_figures(spans, known),
            gaps=self.largest_gaps(start_ns, end_ns, 5),
        )

    def largest_gaps(self, start_ns: int, end_ns: int, count: int) -> tuple[Gap, ...]:
        """The `count` largest host gaps that begin in a span and ended by its end."""
        gaps = []
        for steps in self._lanes:
            first = int(np.searchsorted(steps.until_ns, start_ns, side="left"))
            last = int(np.searchsorted(steps.until_ns + steps.gap_ns, end_ns, side="right"))
            inside = steps.gap_ns[first:last]
            if inside.size > count:
                rows = first + np.argpartition(inside, -count)[-count:]
            else:
                rows = np.arange(first, max(first, last))
            gaps += [
                Gap(
                    int(steps.until_ns[row]),
                    int(steps.gap_ns[row]) / 1e6,
                    int(steps.step[row]),
                    steps.worker,
                )
                for row in rows
                if steps.gap_ns[row] > 0
            ]
        gaps.sort(key=lambda gap: (-gap.duration_ms, gap.start_ns))
        return tuple(gaps[:count])

    def step_at(self, time_ns: int, worker: int | None = None) -> int | None:
        """The step that ran at a moment, or the nearest one, of a worker (the first if not given);
        None where it has none."""
        steps = self._lane_of(worker)
        row = steps.at(time_ns)
        return None if row is None else int(steps.step[row])

    def next_step(self, step: int, by: int, known_ns: int) -> int | None:
        """The step `by` places later (earlier: negative) on the same worker; the last one that had
        begun by `known_ns`, or the first, where there are not as many. None if `step` is none."""
        place = self.place(step)
        if place is None:
            return None
        steps, row = place
        last = int(np.searchsorted(steps.from_ns, known_ns, side="right")) - 1
        return int(steps.step[max(0, min(row + by, last))])

    def bounds_ns(self, step: int) -> tuple[int, int] | None:
        """When a step started and ended; None if there is none of this number."""
        place = self.place(step)
        if place is None:
            return None
        steps, row = place
        return int(steps.start_ns[row]), int(steps.end_ns[row])

    def place(self, step: int) -> tuple[WorkerSteps, int] | None:
        """The worker that computed a step, and its row there; None if there is none."""
        for steps in self._lanes:
            row = steps.row_of(step)
            if row is not None:
                return steps, row
        return None

    def _lane_of(self, worker: int | None) -> WorkerSteps:
        return next((lane for lane in self._lanes if lane.worker == worker), self._lanes[0])

    def _most(self, edges: Ints, tokens: bool) -> Floats:
        rows = [
            steps.most(
                steps.prefill_tokens + steps.decode_tokens if tokens else steps.num_seqs, edges
            )
            for steps in self._lanes
        ]
        most: Floats = np.fmax.reduce(rows)
        return most

    def _states(self, values: Ints, edges: Ints) -> Floats:
        """The largest of the states that held at some moment of each cell."""
        first = np.searchsorted(self._state_ns, edges[:-1], side="right") - 1
        last = np.searchsorted(self._state_ns, edges[1:], side="left")
        states = largest(values, np.maximum(first, 0), np.maximum(last, first + 1))
        states[edges[1:] <= edges[:-1]] = np.nan
        return states


def _gpu_figures(spans: list[tuple[WorkerSteps, slice]], known_ns: int) -> GpuFigures | None:
    gpu_ms = np.concatenate([steps.gpu_ms[rows] for steps, rows in spans])
    idle_ms = np.concatenate([steps.decode_idle_ms[rows] for steps, rows in spans])
    if not known_ns or np.isnan(gpu_ms).all():
        return None
    between = ~np.isnan(idle_ms)
    p50, p99 = percentiles(idle_ms[between], (50, 99))
    idle, computed = float(idle_ms[between].sum()), float(gpu_ms[between].sum())
    return GpuFigures(
        busy_percent=min(100.0, 100 * float(np.nansum(gpu_ms)) * 1e6 / known_ns),
        idle_p50_ms=p50,
        idle_p99_ms=p99,
        idle_percent=100 * idle / (idle + computed) if idle + computed > 0 else None,
    )
