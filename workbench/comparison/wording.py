"""The short texts of a comparison, the same in every table, file and screen."""

from __future__ import annotations

from collections import Counter

from workbench.analysis.quantities import MISSING, count, counted, number
from workbench.comparison.compared_metrics import Metric
from workbench.comparison.comparison import (
    BASIS_TEXT,
    Basis,
    Cell,
    Change,
    Comparison,
    Part,
    Row,
    Side,
    Verdict,
)
from workbench.comparison.intervals import Interval

UP, DOWN, SAME = "▲", "▼", "="
WEAK = "*"
VERDICT_SIGNS: dict[Verdict, str] = {
    "better": "✓",
    "worse": "✗",
    "no evidence": "·",
    "too noisy": "?",
}
_POINTS = " pp"
_WHOLE_PERCENT_FROM = 9.95


def value_text(metric: Metric, cell: Cell) -> str:
    """ "12.5", "12.5*" for a p99 of fewer than 100 samples, "12" of things, or a dash."""
    return _number(metric, cell.value) + (WEAK if cell.weak and cell.value is not None else "")


def metric_text(metric: Metric) -> str:
    """Its label with its unit: "TTFT p99, ms"."""
    return f"{metric.label}, {metric.unit}" if metric.unit else metric.label


def difference_text(metric: Metric, change: Change | None) -> str:
    """In the metric's unit: "▲ +12.5", "▼ -3.10", "= 0", or a dash."""
    if change is None:
        return MISSING
    if change.difference == 0:
        return f"{SAME} 0"
    return f"{_arrow(change.difference)} {signed_text(metric, change)}"


def ratio_text(change: Change | None) -> str:
    """ "1.25×", or a dash."""
    return MISSING if change is None or change.ratio is None else f"{number(change.ratio)}×"


def percent_text(ratio: float | None) -> str:
    """A ratio as a change: "+41 %", "-3.2 %", or a dash; "-100 %" only of what became 0."""
    return MISSING if ratio is None else f"{_percent(ratio)} %"


def change_text(metric: Metric, change: Change | None) -> str:
    """The change with its arrow, as a share of the baseline's figure: "▼ -41 %".

    Of a metric in % it is the difference in percentage points, "▲ +2.50 pp"; where the baseline's
    figure is 0 the difference in the metric's unit, "▲ +12.5".
    """
    if change is None:
        return MISSING
    if change.difference == 0:
        return f"{SAME} 0 %" if _is_relative(metric, change) else f"{SAME} 0"
    if _is_relative(metric, change):
        return f"{_arrow(change.difference)} {percent_text(change.ratio)}"
    return difference_text(metric, change) + _difference_unit(metric)


def change_interval_text(metric: Metric, change: Change | None) -> str:
    """The 95 % interval of what `change_text` says: "-48 … -33 %", "-0.50 … +5.5 pp"."""
    if change is None:
        return MISSING
    if _is_relative(metric, change):
        ratios = change.ratio_interval
        if ratios is None:
            return MISSING
        return f"{_percent(ratios.low)} … {_percent(ratios.high)} %"
    if change.interval is None:
        return MISSING
    low, high = signed(change.interval.low), signed(change.interval.high)
    return f"{low} … {high}{_difference_unit(metric)}"


def interval_text(interval: Interval | None) -> str:
    """ "12.5 … 14.0", or a dash."""
    if interval is None:
        return MISSING
    return f"{number(interval.low)} … {number(interval.high)}"


def verdict_text(verdict: Verdict | None) -> str:
    """Its word with a sign: "✓ better", or a dash where there is none."""
    return MISSING if verdict is None else f"{VERDICT_SIGNS[verdict]} {verdict}"


def detectable_text(change: Change | None) -> str:
    """The minimum detectable difference, as a share of the baseline's figure: "5.2 %"."""
    if change is None or change.detectable is None:
        return MISSING
    percent = 100 * change.detectable
    return f"{percent:,.0f} %" if percent >= _WHOLE_PERCENT_FROM else f"{percent:.1f} %"


def basis_text(basis: Basis | None) -> str:
    """What evidence stands on, or a dash."""
    return MISSING if basis is None else BASIS_TEXT[basis]


def part_text(part: Part, unit: str) -> str:
    """A part of a difference: "queue: ▼ -180 ms, 93 %"."""
    arrow = SAME if part.difference == 0 else _arrow(part.difference)
    share = "" if part.share is None else f", {round(100 * part.share)} %"
    return f"{part.name}: {arrow} {signed(part.difference)} {unit}".rstrip() + share


def side_heading(side: Side, baseline: bool) -> str:
    """Its label, with what a reader of a column must know: "A (baseline, 5 runs)"."""
    facts = ["baseline"] if baseline else []
    if len(side.runs) > 1:
        facts.append(counted(len(side.runs), "run"))
    return side.label + (f" ({', '.join(facts)})" if facts else "")


def side_headings(comparison: Comparison) -> tuple[str, ...]:
    """Of each side, the baseline first."""
    return tuple(
        side_heading(side, baseline=not number) for number, side in enumerate(comparison.sides)
    )


def tally_text(comparison: Comparison, side: int) -> str:
    """How many metrics got which verdict: "3 better, 1 worse, 20 no evidence"."""
    changes = (row.cells[side].change for row in comparison.rows)
    counts = Counter(change.verdict for change in changes if change is not None)
    told = [f"{counts[verdict]} {verdict}" for verdict in VERDICT_SIGNS if counts[verdict]]
    return ", ".join(told) or "no metric could be judged"


def tallies(comparison: Comparison) -> tuple[str, ...]:
    """A sentence for each side but the baseline: "B against A: 3 better, 1 worse."."""
    base = comparison.sides[0].label
    return tuple(
        f"{side.label} against {base}: {tally_text(comparison, number)}."
        for number, side in enumerate(comparison.sides[1:], start=1)
    )


def legend(comparison: Comparison) -> tuple[str, ...]:
    """What the signs of its tables mean, as far as they occur, in sentences."""
    cells = [cell for row in comparison.rows for cell in row.cells]
    bases = Counter(
        cell.change.basis for cell in cells if cell.change is not None and cell.change.basis
    )
    told = [f"Changes are against {comparison.sides[0].label}; intervals are of 95 %."]
    if bases:
        named = "; ".join(BASIS_TEXT[basis] for basis, _ in bases.most_common())
        told.append(f"The evidence stands on {named}.")
    if any(cell.change is not None and cell.change.detectable is not None for cell in cells):
        told.append("Detectable is the least change that is found in 80 % of such comparisons.")
    if any(_is_metric_in_points(row) for row in comparison.rows):
        told.append("Figures in % change by percentage points (pp).")
    if any(cell.weak and cell.value is not None for cell in cells):
        told.append(f"{WEAK} is a p99 of fewer than 100 samples.")
    told.append(f"{MISSING} is undefined, or can't be known.")
    return tuple(told)


def signed_text(metric: Metric, change: Change | None) -> str:
    """The difference without an arrow: "+12.5", "0", or a dash."""
    if change is None:
        return MISSING
    shown = _number(metric, abs(change.difference))
    if shown.startswith("<"):
        return "±0"
    return ("+" if change.difference > 0 else "-" if change.difference < 0 else "") + shown


def signed(value: float) -> str:
    """`number` with its sign: "+12.5", "-3.10", "0"; what is too small to show is "±0"."""
    shown = number(abs(value))
    if shown.startswith("<"):
        return "±0"
    return shown if value == 0 else f"{'+' if value > 0 else '-'}{shown}"


def _number(metric: Metric, value: float | None) -> str:
    """A whole number of what has no unit is a count of things."""
    is_count = not metric.unit and value is not None and float(value).is_integer()
    return count(value) if is_count else number(value)


def _arrow(difference: float) -> str:
    return UP if difference > 0 else DOWN


def _is_relative(metric: Metric, change: Change) -> bool:
    return metric.unit != "%" and change.ratio is not None


def _is_metric_in_points(row: Row) -> bool:
    return row.metric.unit == "%" and any(cell.change is not None for cell in row.cells)


def _difference_unit(metric: Metric) -> str:
    return _POINTS if metric.unit == "%" else ""


def _percent(ratio: float) -> str:
    """A ratio's change in percent, without the sign of it: "+41", "-3.2", "0"."""
    percent = 100 * (ratio - 1)
    if percent == 0:
        return "0"
    if -100 < percent <= -99.95:
        return "-99.9"
    decimals = 0 if (abs(percent) >= _WHOLE_PERCENT_FROM and percent > -99.5) or ratio <= 0 else 1
    return f"{percent:+,.{decimals}f}"
