"""What a reader of a comparison must know, in sentences; the weightiest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.comparison.blocks import REPLICATES
from workbench.comparison.comparison import Note, Row, Side
from workbench.comparison.fairness import fairness_notes
from workbench.comparison.setting_differences import Setting

if TYPE_CHECKING:
    from workbench.comparison.compare import MeasuredSide
    from workbench.comparison.measured import MeasuredRun

_FAMILIES = (("outcome", "of what users feel"), ("cause", "of what it comes from"))


def notes_on(
    measured: Sequence[MeasuredSide],
    sides: Sequence[Side],
    settings: Sequence[Setting],
    rows: Sequence[Row],
    drifts: Sequence[tuple[MeasuredRun, Sequence[str]]],
    run_noise: float,
    blocks_s: tuple[float, float] | None,
) -> tuple[Note, ...]:
    """Runs with problems, unfair settings, runs that never settled, and how it was all judged.

    Args:
        drifts: of each run, how it never settled, in sentences.
        blocks_s: the shortest and the longest block of the bootstrap, s; None without any.
    """
    notes = list(fairness_notes([side.side for side in measured], settings))
    notes += [
        Note("run", f"{run.name or run.run_id} {run.problem}.", loud=True)
        for side in sides
        for run in side.runs
        if run.problem
    ]
    notes += [
        Note("steady", f"{run.record.name}: {said}", loud=True)
        for run, sentences in drifts
        for said in sentences
    ]
    notes += _method(sides, rows, run_noise, blocks_s)
    return tuple(sorted(dict.fromkeys(notes), key=lambda note: not note.loud))


def _method(
    sides: Sequence[Side],
    rows: Sequence[Row],
    run_noise: float,
    blocks_s: tuple[float, float] | None,
) -> list[Note]:
    said = []
    tested = any(
        cell.change is not None and cell.change.p is not None for row in rows for cell in row.cells
    )
    if any(len(side.runs) == 1 for side in sides) and tested:
        allowed = (
            f"{run_noise:.0%} (standard deviation) is allowed for it, more of what holds a queue"
            if run_noise
            else "nothing is allowed for it"
        )
        said.append(
            "A single run doesn't show what differs from run to run; "
            f"{allowed}, and `--repeat 5` measures it."
        )
    if blocks_s is not None:
        low, high = (f"{each:.3g}" for each in blocks_s)
        length = f"{low} s" if low == high else f"{low} to {high} s"
        said.append(
            f"Within a run: moving-block bootstrap, {REPLICATES} replicates, blocks of {length} by "
            "each figure's autocorrelation; order statistics where too few samples lie beyond a "
            "percentile."
        )
    counts = {
        family: sum(
            cell.change is not None and cell.change.adjusted_p is not None
            for row in rows
            if row.metric.family == family
            for cell in row.cells
        )
        for family, _ in _FAMILIES
    }
    if any(counts.values()):
        tests = " and ".join(
            f"{counts[family]} {what}" for family, what in _FAMILIES if counts[family]
        )
        said.append(
            f"Intervals are of 95 % each. Verdicts are corrected (Holm) for the {tests} that are "
            "tested together: the chance of even one false one is at most 5 % in each group. A "
            "change whose own interval leaves out 0 may still be chance among so many."
        )
    return [Note("method", text) for text in said]
