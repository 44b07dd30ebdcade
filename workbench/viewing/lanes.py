"""Steps as lanes over time: what each worker did in every cell of a span, and its gaps.

Within a lane no moment is counted twice: where a step begins before the one ahead of it ended, the
overlap belongs to the one ahead. So busy, gap and idle time sum to the span in whole nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import polars as pl

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

STEP_KINDS = ("prefill", "decode", "mixed", "transfer", "verify")
HALVES = 2
_APART_COLUMNS = 3


@dataclass(frozen=True, slots=True)
class SeenStep:
    """A step that is wide enough to be told apart; half-cells `begin` to `end`, end excluded."""

    step: int
    kind: str
    begin: int
    end: int
    duration_ms: float


@dataclass(frozen=True, slots=True)
class Lane:
    """One worker over a span of `columns` cells.

    Attributes:
        by_kind: int64 `[kinds, columns]`, the cell's time in steps of each of `STEP_KINDS`, ns; 0
            where no step has its middle in it or half of its time.
        busy, gap: float64 `[columns]`, share of the cell inside steps, and in host gaps; 0 to 1.
        host_bound: bool `[columns]`, host gaps have more of the cell than steps and idleness.
        steps: the steps one by one in half-cells, where the zoom shows them apart; else empty.
    """

    worker: int
    by_kind: Ints
    busy: Floats
    gap: Floats
    host_bound: Bools
    steps: tuple[SeenStep, ...]


@dataclass(frozen=True, slots=True)
class Spent:
    """Nanoseconds of every cell, int64 `[cells]`; `by_kind` `[kinds, cells]`. Their sum is all of
    the cell up to the moment that is known."""

    by_kind: Ints
    gap: Ints
    idle: Ints

    @property
    def busy(self) -> Ints:
        """Inside steps, ns `[cells]`."""
        total: Ints = self.by_kind.sum(axis=0)
        return total


class WorkerSteps:
    """The steps of one worker by time, with running sums: any span is read off in O(log steps)."""

    def __init__(self, worker: int, steps: pl.DataFrame) -> None:
        steps = steps.sort("start_ns", "end_ns")
        self.worker = worker
        self.step: Ints = _whole(steps["step"])
        self.start_ns: Ints = _whole(steps["start_ns"])
        self.end_ns: Ints = _whole(steps["end_ns"])
        self.kind = _kinds(steps["kind"])
        self.num_seqs: Ints = _whole(steps["num_seqs"])
        self.prefill_tokens: Ints = _whole(steps["prefill_tokens"])
        self.decode_tokens: Ints = _whole(steps["decode_tokens"])
        latest = np.maximum.accumulate(self.end_ns)
        self.until_ns: Ints = latest
        before = np.concatenate((self.start_ns[:1], latest))[: len(latest)]
        self.from_ns: Ints = np.minimum(np.maximum(self.start_ns, before), latest)
        self.left: Ints = _whole(steps["running"]) + _whole(steps["waiting"])
        pause = np.zeros(len(latest), np.int64)
        pause[:-1] = self.from_ns[1:] - self.until_ns[:-1]
        self.gap_ns: Ints = np.where(self.left > 0, pause, 0)
        self._gaps = _running_sum(self.gap_ns)
        self.gpu_ms, self.gpu_idle_ms, self.decode_idle_ms = _gpu_times(steps)
        length = self.until_ns - self.from_ns
        self._by_kind = {
            kind: _running_sum(np.where(self.kind == kind, length, 0))
            for kind in np.flatnonzero(np.bincount(self.kind, minlength=1)).tolist()
        }
        self.kinds = frozenset(self._by_kind)
        self._middle_ns = self.from_ns + length // 2

    def __len__(self) -> int:
        return len(self.step)

    def spent(self, edges_ns: Ints) -> Spent:
        """How the time between each two `edges_ns` (ascending) was spent."""
        by_kind = np.diff(self._kind_time(edges_ns), axis=1)
        gap = np.diff(self._gap_time(edges_ns))
        return Spent(by_kind, gap, np.diff(edges_ns) - by_kind.sum(axis=0) - gap)

    def middles(self, edges_ns: Ints) -> Ints:
        """How many steps have their middle between each two edges."""
        return np.diff(np.searchsorted(self._middle_ns, edges_ns)).astype(np.int64)

    def overlapping(self, start_ns: int, end_ns: int) -> slice:
        """The steps of which any part lies between the two."""
        first = int(np.searchsorted(self.until_ns, start_ns, side="right"))
        last = int(np.searchsorted(self.from_ns, end_ns, side="left"))
        return slice(first, max(first, last))

    def most(self, values: Ints, edges_ns: Ints) -> Floats:
        """The largest of the steps' `values` between each two edges; NaN where no step ran."""
        first = np.searchsorted(self.until_ns, edges_ns[:-1], side="right")
        last = np.searchsorted(self.from_ns, edges_ns[1:], side="left")
        return largest(values, first.astype(np.int64), last.astype(np.int64))

    def row_of(self, step: int) -> int | None:
        """The row of the step of that number; None where this worker has none."""
        rows = np.flatnonzero(self.step == step)
        return int(rows[0]) if rows.size else None

    def at(self, time_ns: int) -> int | None:
        """The row of the step at a moment, or the nearest one; None where there is none."""
        if not len(self):
            return None
        row = int(np.searchsorted(self.from_ns, time_ns, side="right")) - 1
        if row < 0:
            return 0
        nearer = row + 1 < len(self) and (
            self.from_ns[row + 1] - time_ns < time_ns - self.until_ns[row]
        )
        return row + 1 if nearer else row

    def _kind_time(self, at_ns: Ints) -> Ints:
        row = np.searchsorted(self.from_ns, at_ns, side="right") - 1
        begun = np.maximum(row, 0)
        inside = np.clip(at_ns - self.from_ns[begun], 0, (self.until_ns - self.from_ns)[begun])
        total = np.zeros((len(STEP_KINDS), len(at_ns)), np.int64)
        for kind, before in self._by_kind.items():
            total[kind] = before[begun]
        total[self.kind[begun], np.arange(len(at_ns))] += inside
        return total

    def _gap_time(self, at_ns: Ints) -> Ints:
        row = np.searchsorted(self.from_ns, at_ns, side="right") - 1
        begun = np.maximum(row, 0)
        inside = np.clip(at_ns - self.until_ns[begun], 0, self.gap_ns[begun])
        total: Ints = self._gaps[begun] + inside
        return total


def largest(values: Ints, first: Ints, last: Ints) -> Floats:
    """The maximum of `values[first:last]` for each pair; NaN where that is empty."""
    found = np.full(len(first), np.nan)
    some = np.flatnonzero(last > first)
    if some.size:
        bounds = np.stack((first[some], last[some]), axis=1).ravel()
        padded = np.concatenate((values, values[-1:]))
        found[some] = np.maximum.reduceat(padded, bounds)[::2]
    return found


def edges_ns(start_ns: int, end_ns: int, cells: int, known_ns: int) -> Ints:
    """The `cells` + 1 edges of a span, none of them after `known_ns`; exact at both ends."""
    steps = np.arange(cells + 1, dtype=np.int64)
    width = end_ns - start_ns
    edges = start_ns + (width // cells) * steps + (width % cells) * steps // cells
    known: Ints = np.minimum(edges, max(known_ns, start_ns))
    return known


def lane(steps: WorkerSteps, start_ns: int, end_ns: int, columns: int, known_ns: int) -> Lane:
    """One worker's lane over [`start_ns`, `end_ns`]; nothing after `known_ns` is shown."""
    if not len(steps):
        empty = np.zeros(columns)
        no_time = np.zeros((len(STEP_KINDS), columns), np.int64)
        return Lane(steps.worker, no_time, empty, empty, empty > 0, ())
    edges = edges_ns(start_ns, end_ns, columns, known_ns)
    spent, length = steps.spent(edges), np.maximum(np.diff(edges), 1)
    busy = spent.busy
    shown = (busy > 0) & ((2 * busy >= length) | (steps.middles(edges) > 0))
    return Lane(
        worker=steps.worker,
        by_kind=np.where(shown, spent.by_kind, 0),
        busy=busy / length,
        gap=spent.gap / length,
        host_bound=spent.gap > busy + spent.idle,
        steps=_seen(steps, start_ns, end_ns, columns, known_ns),
    )


def _seen(
    steps: WorkerSteps, start_ns: int, end_ns: int, columns: int, known_ns: int
) -> tuple[SeenStep, ...]:
    rows = steps.overlapping(start_ns, min(end_ns, known_ns))
    if (rows.stop - rows.start) * _APART_COLUMNS > columns:
        return ()
    halves = HALVES * columns
    scale = halves / max(1, end_ns - start_ns)
    seen: list[SeenStep] = []
    for row in range(rows.start, rows.stop):
        begin = round((int(steps.from_ns[row]) - start_ns) * scale)
        end = round((min(int(steps.until_ns[row]), known_ns) - start_ns) * scale)
        gap_ns = int(steps.from_ns[row] - steps.until_ns[row - 1]) if row else 0
        if seen and begin > seen[-1].end and 2 * gap_ns * scale < 1:
            begin = seen[-1].end  # rounded apart, where there is next to no gap
        begin = min(max(begin, 0), halves - 1)
        seen.append(
            SeenStep(
                step=int(steps.step[row]),
                kind=STEP_KINDS[steps.kind[row]],
                begin=begin,
                end=min(max(end, begin + 1), halves),
                duration_ms=(int(steps.end_ns[row]) - int(steps.start_ns[row])) / 1e6,
            )
        )
    return tuple(seen)


def _gpu_times(steps: pl.DataFrame) -> tuple[Floats, Floats, Floats]:
    """`gpu_ms`, `gpu_idle_ms` and `decode_idle_ms` of `with_gpu_times`; NaN where there is none."""
    from workbench.analysis.gpu_time import with_gpu_times

    timed = with_gpu_times(steps).select("gpu_ms", "gpu_idle_ms", "decode_idle_ms")
    gpu_ms, idle_ms, between_ms = (
        column.cast(float).fill_null(float("nan")).to_numpy() for column in timed
    )
    return gpu_ms, idle_ms, between_ms


def _running_sum(values: Ints) -> Ints:
    """What comes before each of the values."""
    total: Ints = np.concatenate((np.zeros(1, np.int64), np.cumsum(values)[:-1]))
    return total[: len(values)]


def _whole(column: pl.Series) -> Ints:
    return column.fill_null(0).to_numpy().astype(np.int64)


def _kinds(column: pl.Series) -> Ints:
    """Indices into `STEP_KINDS`; a kind of a later version counts as mixed."""
    import polars as pl

    codes = column.replace_strict(
        list(STEP_KINDS),
        range(len(STEP_KINDS)),
        default=STEP_KINDS.index("mixed"),
        return_dtype=pl.Int64,
    )
    return codes.to_numpy()
