"""Which sides no other side beats in two figures at once."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.comparison.compared_metrics import Metric
from workbench.comparison.comparison import Comparison

OUTPUT_THROUGHPUT = "throughput.output_tokens_per_s"
TTFT_P99 = "latency.ttft_ms.p99"


@dataclass(frozen=True, slots=True)
class ParetoPoint:
    """A side with both figures, and its number from 0, `run`; `on_front`: no other is as good in
    both and better in one."""

    run: int
    label: str
    x: float
    y: float
    on_front: bool


@dataclass(frozen=True, slots=True)
class Pareto:
    """The sides that have both figures; `left_out`: the labels of those that lack one."""

    x: Metric
    y: Metric
    points: tuple[ParetoPoint, ...]
    left_out: tuple[str, ...]


def pareto(comparison: Comparison, x: str = OUTPUT_THROUGHPUT, y: str = TTFT_P99) -> Pareto | None:
    """The compared sides by two metrics' keys; None where no side has one of the metrics.

    A metric without a better direction counts as better when higher.
    """
    rows = {row.metric.key: row for row in comparison.rows}
    if x not in rows or y not in rows:
        return None
    labels = [side.label for side in comparison.sides]
    pairs = [
        (run, label, across.value, up.value)
        for run, (label, across, up) in enumerate(
            zip(labels, rows[x].cells, rows[y].cells, strict=True)
        )
        if across.value is not None and up.value is not None
    ]
    signs = [-1 if rows[key].metric.better == "lower" else 1 for key in (x, y)]
    goodness = [(signs[0] * across, signs[1] * up) for _, _, across, up in pairs]
    points = tuple(
        ParetoPoint(run, label, across, up, not any(_beats(other, own) for other in goodness))
        for (run, label, across, up), own in zip(pairs, goodness, strict=True)
    )
    shown = {point.run for point in points}
    left_out = tuple(label for run, label in enumerate(labels) if run not in shown)
    return Pareto(rows[x].metric, rows[y].metric, points, left_out)


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] >= other[0] and one[1] >= other[1] and one != other
