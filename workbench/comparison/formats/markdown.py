"""A comparison as GitHub's Markdown, to be pasted into a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from workbench.analysis.printable import plain
from workbench.analysis.quantities import count, seconds
from workbench.comparison.comparison import Comparison, Row
from workbench.comparison.formats.headlines import headline_rows
from workbench.comparison.formats.metric_lines import (
    FIGURES,
    columns_of,
    headings_of,
    metric_lines,
)
from workbench.comparison.gate import Judgement
from workbench.comparison.wording import legend, part_text, side_headings, tallies

_SPECIAL = "\\`*_[]~|!{}"
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MEANING_AT_GITHUB = "@#$"
_MOST_SETTINGS = 8
_MOST_NAMED = 3


def write_markdown(comparison: Comparison, judgements: Sequence[Judgement] = ()) -> str:
    """Loud notes, what differs, the headline verdicts and why; the long tables are folded up."""
    parts = [f"### {_escaped(' against '.join(_labels(comparison)))}"]
    parts += [f"> [!WARNING]\n> {_escaped(note.text)}" for note in comparison.notes if note.loud]
    parts.append(_set_up(comparison))
    told = [*(judgement.sentence for judgement in judgements), *tallies(comparison)]
    parts.append("\n".join(f"- {_escaped(each)}" for each in told))
    headlines = headline_rows(comparison)
    if headlines:
        parts.append(_metrics(comparison, headlines))
    if comparison.explanations:
        parts.append(_explanations(comparison))
    quiet = [f"- {_escaped(note.text)}" for note in comparison.notes if not note.loud]
    if quiet:
        parts.append("#### Notes\n\n" + "\n".join(quiet))
    if comparison.settings:
        number = len(comparison.settings)
        table = _settings(comparison)
        folded = number > _MOST_SETTINGS
        heading = f"Set up differently ({number})"
        parts.append(_folded(heading, table) if folded else f"#### {heading}\n\n{table}")
    parts.append(_folded(f"All {len(comparison.rows)} metrics", _groups(comparison)))
    parts.append(_folded("Runs", _runs(comparison)))
    parts.append("<sub>" + _escaped(" ".join(legend(comparison))) + "</sub>")
    return "\n\n".join(parts) + "\n"


def _labels(comparison: Comparison) -> list[str]:
    base, *others = (side.label for side in comparison.sides)
    return [", ".join(others), base]


def _set_up(comparison: Comparison) -> str:
    """What differs, named in a line; the table of it stands below the verdicts."""
    keys = [setting.key for setting in comparison.settings]
    if not keys:
        return "Set up alike."
    named = ", ".join(_escaped(key) for key in keys[:_MOST_NAMED])
    more = len(keys) - _MOST_NAMED
    return f"Set up differently: {named}" + (f" and {more} more (below)." if more > 0 else ".")


def _metrics(comparison: Comparison, rows: Iterable[Row]) -> str:
    columns, headings = columns_of(comparison), headings_of(comparison)
    lines = [
        [line.texts[column] if line.opens or column not in ("metric", "unit") else ""
         for column in columns]
        for line in metric_lines(comparison, rows)
    ]  # fmt: skip
    right = [column in FIGURES for column in columns]
    return _table([headings[column] for column in columns], lines, right)


def _groups(comparison: Comparison) -> str:
    groups = dict.fromkeys(row.metric.group for row in comparison.rows)
    return "\n\n".join(
        f"**{_escaped(group)}**\n\n"
        + _metrics(comparison, [row for row in comparison.rows if row.metric.group == group])
        for group in groups
    )


def _settings(comparison: Comparison) -> str:
    headings = ["Setting", "Kind", *(side.label for side in comparison.sides)]
    rows = [[setting.key, setting.kind, *setting.shown] for setting in comparison.settings]
    return _table(headings, rows, [False] * len(headings))


def _runs(comparison: Comparison) -> str:
    rows = [
        [heading, run.run_id, run.state, count(run.requests), seconds(run.window_s)]
        for heading, side in zip(side_headings(comparison), comparison.sides, strict=True)
        for run in side.runs
    ]
    headings = ["Side", "Run", "State", "Requests", "Window"]
    return _table(headings, rows, [False, False, False, True, True])


def _explanations(comparison: Comparison) -> str:
    lines = []
    for explanation in comparison.explanations:
        lines.append(f"- {_escaped(explanation.sentence)}")
        lines += [
            f"  - {_escaped(part_text(part, explanation.unit))}" for part in explanation.parts
        ]
    return "#### Why\n\n" + "\n".join(lines)


def _folded(summary: str, content: str) -> str:
    return f"<details>\n<summary>{summary}</summary>\n\n{content}\n\n</details>"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[bool]) -> str:
    rule = "| " + " | ".join("---:" if each else "---" for each in right) + " |"
    texts = ("| " + " | ".join(map(_escaped, row)) + " |" for row in rows)
    return "\n".join(("| " + " | ".join(map(_escaped, headings)) + " |", rule, *texts))


def _escaped(text: str) -> str:
    """Text that means nothing but itself: no markup, and at GitHub no mention, issue or formula."""
    return "".join(map(_escaped_letter, plain(" ".join(text.split()))))


def _escaped_letter(letter: str) -> str:
    if letter in _MEANING_AT_GITHUB:
        return f"<span>{letter}</span>"
    return f"\\{letter}" if letter in _SPECIAL else _ENTITIES.get(letter, letter)
