"""A comparison as one HTML page: no script, nothing from the network, for light and dark, for
readers who see, hear or feel it (WCAG AA)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from workbench.analysis.statistics import Samples
from workbench.comparison.comparison import Comparison
from workbench.comparison.formats.headlines import headline_rows
from workbench.comparison.formats.html_style import style
from workbench.comparison.formats.html_tables import (
    distribution_table,
    metrics_table,
    pareto_table,
    parts_table,
    runs_table,
    settings_table,
    stages_table,
)
from workbench.comparison.formats.svg import words
from workbench.comparison.formats.svg_distributions import Curve, distributions
from workbench.comparison.formats.svg_forest import forest
from workbench.comparison.formats.svg_scatter import scatter
from workbench.comparison.formats.svg_stages import stages
from workbench.comparison.measured import MeasuredRun
from workbench.comparison.pareto import pareto
from workbench.comparison.wording import legend, tallies
from workbench.runs.schema import REQUESTS

_DISTRIBUTIONS = (("ttft_ms", "TTFT"), ("tpot_ms", "TPOT"), ("e2e_ms", "E2E"))
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def write_html(comparison: Comparison, measured: Sequence[Sequence[MeasuredRun]]) -> str:
    """The page. `measured` has the runs of each side, for the curves of their requests; a side
    without (a stored baseline) is left out of them, and the page says so."""
    base, *others = (side.label for side in comparison.sides)
    title = f"{', '.join(others)} against {base}"
    sections = [
        ("settings", "Set up differently", _settings(comparison)),
        ("headlines", "Headlines", _headlines(comparison)),
        ("why", "Why", _why(comparison)),
        ("distributions", "Distributions", _distributions(comparison, measured)),
        ("ttft-stages", "Stages of TTFT", _stages(comparison)),
        ("pareto", "Throughput against latency", _pareto(comparison)),
        ("metrics", "All metrics", _metrics(comparison)),
        ("runs", "Runs", runs_table(comparison)),
    ]
    present = [(name, heading, content) for name, heading, content in sections if content]
    links = "".join(
        f'<li><a href="#{name}">{words(heading)}</a></li>' for name, heading, _ in present
    )
    body = "".join(
        f'<section aria-labelledby="{name}"><h2 id="{name}">{words(heading)}</h2>'
        f"{content}</section>"
        for name, heading, content in present
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{words(title)}</title>
<style>
{style()}
</style>
</head>
<body>
<header><h1>{words(title)}</h1>{_list(tallies(comparison))}</header>
<nav aria-label="Sections"><ul>{links}</ul></nav>
<main>{_notes(comparison)}{body}</main>
<footer>{_list(legend(comparison))}</footer>
</body>
</html>
"""


def _list(sentences: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{words(sentence)}</li>" for sentence in sentences) + "</ul>"


def _notes(comparison: Comparison) -> str:
    """Loud ones first; they stand above everything."""
    loud = "".join(
        f'<p class="loud"><strong>Beware:</strong> {words(note.text)}</p>'
        for note in comparison.notes
        if note.loud
    )
    quiet = [note.text for note in comparison.notes if not note.loud]
    return loud + (_list(quiet) if quiet else "")


def _settings(comparison: Comparison) -> str:
    return settings_table(comparison) if comparison.settings else ""


def _headlines(comparison: Comparison) -> str:
    rows = headline_rows(comparison)
    if not rows:
        return ""
    drawn = forest(comparison)
    table = metrics_table(comparison, rows, "Headline metrics", "headlines-table")
    caption = "Filled marks are judged better or worse, hollow ones are not."
    return (_wide(drawn, "changes", caption) if drawn else "") + table


def _why(comparison: Comparison) -> str:
    told = []
    for place, explanation in enumerate(comparison.explanations):
        label = comparison.sides[explanation.side].label
        caption = f"{explanation.figure} of {label}: parts of the difference"
        told.append(f"<p>{words(explanation.sentence)}</p>")
        told.append(parts_table(explanation, caption, f"why-{place}"))
    return "".join(told)


def _distributions(comparison: Comparison, measured: Sequence[Sequence[MeasuredRun]]) -> str:
    drawings, tables = [], []
    drawn: set[int] = set()
    for column, label in _DISTRIBUTIONS:
        curves = [
            Curve(place, side.label, _samples(runs, column))
            for place, (side, runs) in enumerate(zip(comparison.sides, measured, strict=True))
        ]
        curves = [curve for curve in curves if (curve.samples > 0).any()]
        drawn |= {curve.side for curve in curves}
        if curves:
            drawings.append(f"<figure>{distributions(column, label, 'ms', curves)}</figure>")
            tables.append(distribution_table(f"{column}-table", label, "ms", curves))
    said = [
        f"{side.label} has no requests at hand, and no curve."
        for place, side in enumerate(comparison.sides)
        if place not in drawn
    ]
    said += [
        f"The curves lack {run.record.run_id}: {run.broken[REQUESTS.name]}"
        for runs in measured
        for run in runs
        if REQUESTS.name in run.broken
    ]
    told = "".join(f"<p>{words(sentence)}</p>" for sentence in said)
    return f'{told}<div class="small">{"".join(drawings)}</div>{"".join(tables)}'


def _samples(runs: Sequence[MeasuredRun], column: str) -> Samples:
    """Those of all runs together, sorted; each request counts alike."""
    found = [run.requests[column].drop_nulls().cast(pl.Float64).to_numpy() for run in runs]
    return np.sort(np.concatenate([np.empty(0), *found]))


def _stages(comparison: Comparison) -> str:
    drawn = stages(comparison)
    return (
        ""
        if drawn is None
        else _wide(drawn, "stages of TTFT", "The mean of each stage.") + stages_table(comparison)
    )


def _pareto(comparison: Comparison) -> str:
    found = pareto(comparison)
    if found is None or len(found.points) < 2:
        return ""
    missing = "".join(
        f"<p>{words(label)} lacks one of the two figures.</p>" for label in found.left_out
    )
    caption = "Filled marks are beaten in both by no other side."
    drawn = _wide(scatter(found), "throughput against latency", caption)
    return drawn + missing + pareto_table(found)


def _metrics(comparison: Comparison) -> str:
    groups = dict.fromkeys(row.metric.group for row in comparison.rows)
    return "".join(
        metrics_table(
            comparison,
            [row for row in comparison.rows if row.metric.group == group],
            group,
            f"group-{place}",
        )
        for place, group in enumerate(groups)
    )


def _wide(drawing: str, name: str, caption: str) -> str:
    """A drawing that scrolls where a window is too narrow to read it."""
    return (
        f'<figure><div class="drawing" role="group" aria-label="Chart: {words(name)}" tabindex="0">'
        f"{drawing}</div><figcaption>{words(caption)}</figcaption></figure>"
    )
