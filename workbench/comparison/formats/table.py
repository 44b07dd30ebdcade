"""A comparison for the terminal: as much of it as the width has room for."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from itertools import groupby

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from workbench.analysis.printable import plain
from workbench.analysis.quantities import count, counted, seconds
from workbench.comparison.comparison import Comparison, Note, Verdict
from workbench.comparison.formats.fitting import fit
from workbench.comparison.formats.metric_lines import (
    FIGURES,
    MetricLine,
    columns_of,
    headings_of,
    metric_lines,
)
from workbench.comparison.wording import (
    legend,
    metric_text,
    part_text,
    side_headings,
    tallies,
)

PLAIN_WIDTH = 120
_MOST_HEADING = 10
_LEAST = {"metric": 16, "side": 10}
_WEIGHT = (
    "metric", "side", "value", "verdict", "change", "baseline", "interval", "detectable",
    "difference",
)  # fmt: skip
"""The columns from the weightiest: a narrow terminal drops the last ones."""
_STYLES: dict[Verdict, str] = {"better": "green", "worse": "red", "too noisy": "yellow"}


class ComparisonTable:
    """A comparison as a rich renderable; all columns in 80 and more, fewer in less."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for part in self._parts(options.max_width):
            yield part
            yield Text("")

    def _parts(self, width: int) -> Iterable[RenderableType]:
        comparison = self._comparison
        yield _sides(comparison)
        if comparison.settings:
            yield _settings(comparison, width)
        if comparison.notes:
            notes = sorted(comparison.notes, key=lambda note: not note.loud)
            yield Group(*map(_note, notes))
        yield from _metrics(comparison, width)
        yield Text("\n".join((*map(plain, tallies(comparison)), *map(plain, legend(comparison)))))
        if comparison.explanations:
            yield _explanations(comparison)


def write_table(comparison: Comparison) -> str:
    """The table as plain text, 120 columns wide."""
    out = io.StringIO()
    console = Console(file=out, width=PLAIN_WIDTH, color_system=None, force_terminal=False)
    console.print(ComparisonTable(comparison))
    lines = out.getvalue().split("\n")
    return "\n".join(line.rstrip() for line in lines).rstrip("\n") + "\n"


def _table(gap: int = 2) -> Table:
    return Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, gap - 1, 0, 0),
    )


def _titled(title: str, table: Table) -> Group:
    return Group(Text(title, "bold"), table)


def _sides(comparison: Comparison) -> Group:
    table = _table()
    for heading in ("side", "run", "state", "requests", "window"):
        figure = heading in ("requests", "window")
        table.add_column(heading, justify="right" if figure else "left", overflow="fold")
    for heading, side in zip(side_headings(comparison), comparison.sides, strict=True):
        for number, run in enumerate(side.runs):
            table.add_row(
                Text("" if number else plain(heading)),
                Text(plain(run.run_id)),
                Text(plain(run.state), "" if run.state == "finished" else "yellow"),
                count(run.requests),
                seconds(run.window_s),
            )
    return _titled("Compared", table)


def _settings(comparison: Comparison, width: int) -> Group:
    table = _table()
    longest = max(cell_len(plain(setting.key)) for setting in comparison.settings)
    table.add_column("setting", overflow="fold", min_width=min(longest, width // 3))
    for side in comparison.sides:
        table.add_column(Text(plain(side.label)), overflow="fold")
    for setting in comparison.settings:
        style = "bold" if setting.traffic else ""
        table.add_row(
            Text(plain(setting.key), style), *(Text(plain(value)) for value in setting.shown)
        )
    return _titled("Set up differently", table)


def _note(note: Note) -> Text:
    if note.loud:
        return Text.assemble(("!! ", "bold red"), (plain(note.text), "bold"))
    return Text(f"- {plain(note.text)}")


def _metrics(comparison: Comparison, width: int) -> Iterable[RenderableType]:
    lines = list(metric_lines(comparison, comparison.rows))
    headings = _headings(comparison)
    fitted = fit(_wanted(comparison, lines, headings), _LEAST, _WEIGHT, width)
    for group, members in groupby(lines, key=lambda line: line.row.metric.group):
        table = _table(fitted.gap)
        for column, column_width in fitted.widths.items():
            table.add_column(
                Text(headings[column]),
                justify="right" if column in FIGURES else "left",
                width=column_width,
                overflow="fold",
            )
        for line in members:
            table.add_row(*(_cell(line, column) for column in fitted.widths))
        yield _titled(plain(group), table)


def _headings(comparison: Comparison) -> dict[str, str]:
    """As elsewhere, but that those of sides take two lines."""
    headings: dict[str, str] = {**headings_of(comparison), "metric": ""}
    if len(comparison.sides) == 2:
        base, other = comparison.sides
        headings["baseline"] = f"{plain(base.label)}\nbaseline"
        runs = counted(len(other.runs), "run")
        headings["value"] = plain(other.label) + (f"\n{runs}" if len(other.runs) > 1 else "")
    return headings


def _text(line: MetricLine, column: str) -> str:
    if column == "metric":
        return plain(metric_text(line.row.metric)) if line.opens else ""
    return plain(line.texts[column])


def _cell(line: MetricLine, column: str) -> Text:
    style = _STYLES.get(line.verdict, "") if column == "verdict" and line.verdict else ""
    return Text(_text(line, column), style)


def _wanted(
    comparison: Comparison, lines: Sequence[MetricLine], headings: dict[str, str]
) -> dict[str, int]:
    """The width of each column, in cells, if nothing of it wraps but a long heading."""
    wanted = {}
    for column in columns_of(comparison):
        if column == "unit":
            continue
        longest = max(map(cell_len, headings[column].split("\n")))
        widths = [cell_len(_text(line, column)) for line in lines]
        wanted[column] = max(*widths, min(longest, _MOST_HEADING), 1)
    return wanted


def _explanations(comparison: Comparison) -> Group:
    lines = [Text("Why", "bold")]
    for explanation in comparison.explanations:
        lines.append(Text(f"- {plain(explanation.sentence)}"))
        lines += [
            Text(f"    {plain(part_text(part, explanation.unit))}") for part in explanation.parts
        ]
    return Group(*lines)
