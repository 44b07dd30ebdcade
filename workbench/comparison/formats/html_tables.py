"""The tables of the HTML page, each with a caption, and headings that say what they head."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from workbench.analysis.quantities import MISSING, count, number, seconds
from workbench.analysis.statistics import distribution
from workbench.comparison.comparison import Comparison, Explanation, Row, Verdict
from workbench.comparison.formats.metric_lines import (
    FIGURES,
    MetricLine,
    columns_of,
    headings_of,
    metric_lines,
)
from workbench.comparison.formats.svg import words
from workbench.comparison.formats.svg_distributions import Curve
from workbench.comparison.formats.svg_stages import stage_rows
from workbench.comparison.pareto import Pareto
from workbench.comparison.wording import metric_text, side_headings, signed

_VERDICT_CLASS: dict[Verdict, str] = {
    "better": "verdict better",
    "worse": "verdict worse",
    "no evidence": "verdict",
    "too noisy": "verdict noisy",
}


def metrics_table(comparison: Comparison, rows: Sequence[Row], caption: str, name: str) -> str:
    """Metrics, a line each, or a line for each side; `name` is its id in the page."""
    columns, headings = columns_of(comparison), headings_of(comparison)
    heads = "".join(
        _heading(headings[column], "figure" if column in FIGURES else "") for column in columns
    )
    body = "".join(
        f"<tr>{''.join(_metric_cell(line, column) for column in columns)}</tr>"
        for line in metric_lines(comparison, rows)
    )
    return _framed(name, caption, heads, body)


def settings_table(comparison: Comparison) -> str:
    """What differs in the way the sides were set up."""
    headings = ["Setting", "Kind", *(side.label for side in comparison.sides)]
    rows = [[setting.key, setting.kind, *setting.shown] for setting in comparison.settings]
    return simple_table("settings-table", "Settings of each side", headings, rows, 0)


def runs_table(comparison: Comparison) -> str:
    """The runs behind each side."""
    rows = [
        [run.run_id, heading, run.state, count(run.requests), seconds(run.window_s)]
        for heading, side in zip(side_headings(comparison), comparison.sides, strict=True)
        for run in side.runs
    ]
    headings = ["Run", "Side", "State", "Requests", "Window"]
    return simple_table("runs-table", "Runs compared", headings, rows, 2)


def distribution_table(name: str, label: str, unit: str, curves: Sequence[Curve]) -> str:
    """The percentiles of the samples that are drawn."""
    rows = []
    for curve in curves:
        of = distribution(curve.samples)
        figures = (of.mean, of.p50, of.p90, of.p95, of.p99)
        rows.append([curve.label, count(of.n), *map(number, figures)])
    headings = ["Side", "n", "mean", "p50", "p90", "p95", "p99"]
    return simple_table(name, f"{label}, {unit}", headings, rows, 6)


def stages_table(comparison: Comparison) -> str:
    """The means of TTFT's stages."""
    headings = ["Stage", *side_headings(comparison)]
    rows = [
        [stage, *(number(cell.value) for cell in row.cells)]
        for stage, row in stage_rows(comparison)
    ]
    name, caption = "stages-table", "Stages of TTFT: means, ms"
    return simple_table(name, caption, headings, rows, len(comparison.sides))


def pareto_table(found: Pareto) -> str:
    """The points, and which no other beats."""
    rows = [
        [point.label, "yes" if point.on_front else "no", number(point.x), number(point.y)]
        for point in found.points
    ]
    headings = ["Side", "Not beaten by another", metric_text(found.x), metric_text(found.y)]
    return simple_table("pareto-table", "Sides by throughput and latency", headings, rows, 2)


def parts_table(explanation: Explanation, caption: str, name: str) -> str:
    """The parts of a difference."""
    rows = [
        [part.name, signed(part.difference),
         MISSING if part.share is None else f"{round(100 * part.share)} %"]
        for part in explanation.parts
    ]  # fmt: skip
    heading = f"Difference, {explanation.unit}" if explanation.unit else "Difference"
    return simple_table(name, caption, ["Part", heading, "Share"], rows, 2)


def simple_table(
    name: str, caption: str, headings: Sequence[str], rows: Iterable[Sequence[str]], figures: int
) -> str:
    """A table whose first column heads the rows, and whose last `figures` columns are figures."""
    first = len(headings) - figures
    heads = "".join(
        _heading(heading, "figure" if place >= first else "")
        for place, heading in enumerate(headings)
    )
    body = "".join(
        "<tr>"
        + f'<th scope="row" class="long">{words(row[0])}</th>'
        + "".join(
            f'<td class="{"figure" if place >= first else "long"}">{words(text)}</td>'
            for place, text in enumerate(row[1:], start=1)
        )
        + "</tr>"
        for row in rows
    )
    return _framed(name, caption, heads, body)


def _metric_cell(line: MetricLine, column: str) -> str:
    text = words(line.texts[column])
    if column in ("metric", "unit"):
        if not line.opens:
            return ""
        rows = f' rowspan="{line.lines}"' if line.lines > 1 else ""
        if column == "unit":
            return f"<td{rows}>{text}</td>"
        scope = "rowgroup" if line.lines > 1 else "row"
        return f'<th scope="{scope}"{rows}>{text}</th>'
    if column == "side":
        return f'<th scope="row" class="long">{text}</th>'
    if column == "verdict":
        kind = _VERDICT_CLASS[line.verdict] if line.verdict else "verdict"
        return f'<td class="{kind}">{text}</td>'
    return f'<td class="figure">{text}</td>'


def _heading(text: str, kind: str) -> str:
    told = f' class="{kind}"' if kind else ""
    return f'<th scope="col"{told}>{words(text)}</th>'


def _framed(name: str, caption: str, heads: str, body: str) -> str:
    """A wide table scrolls in its frame, which a keyboard can reach."""
    return (
        f'<div class="scroll" role="group" aria-labelledby="{name}" tabindex="0">'
        f'<table><caption id="{name}">{words(caption)}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )
