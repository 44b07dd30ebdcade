"""A comparison as LaTeX that a paper can `\\input`: its headline metrics, and all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from workbench.analysis.printable import plain
from workbench.comparison.comparison import Comparison, Row
from workbench.comparison.formats.headlines import headline_rows
from workbench.comparison.formats.metric_lines import (
    FIGURES,
    MetricLine,
    columns_of,
    headings_of,
    metric_lines,
)
from workbench.comparison.wording import legend, metric_text

_PREAMBLE = r"""% A comparison of runs, to be included with \input. It needs in the preamble:
% \usepackage[T1]{fontenc}
% \usepackage{amssymb,array,booktabs,longtable,textcomp}
"""
_ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%",
    "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}", "'": r"\textquotesingle{}", "[": "{[}", "]": "{]}", "*": "{*}",
    "▲": r"$\blacktriangle$", "▼": r"$\blacktriangledown$", "✓": r"$\checkmark$",
    "✗": r"$\times$", "·": r"$\cdot$", "×": r"$\times$", "÷": r"$\div$", "±": r"$\pm$",
    "≤": r"$\le$", "≥": r"$\ge$", "≈": r"$\approx$", "→": r"$\rightarrow$", "∞": r"$\infty$",
    "µ": r"$\mu$", "μ": r"$\mu$", "°": r"\textdegree{}", "²": r"$^2$", "³": r"$^3$",
    "–": r"\textendash{}", "—": r"\textemdash{}", "−": r"$-$", "…": r"\ldots{}",
    "’": r"'", "‘": r"`",
    "“": r"``", "”": r"''",
}  # fmt: skip
_LIGATURES = re.compile(r"([-,])(?=\1)")
_MINUS = re.compile(r"(?<!\S)-(?=\d)")
_WRAPPED = {
    "metric": r">{\raggedright\arraybackslash}p{0.2\linewidth}",
    "side": r">{\raggedright\arraybackslash}p{0.12\linewidth}",
}
_SIDE_HEADING = r"\multicolumn{{1}}{{>{{\raggedleft\arraybackslash}}p{{4.5em}}}}{{{}}}"
_NOT_IN_T1 = frozenset("ĦħĸĿŀŉŦŧſ")


def write_latex(comparison: Comparison) -> str:
    """A `table` of the headline metrics and a `longtable` of all; its first lines name the packages
    that it needs. Letters that LaTeX's T1 fonts lack stand as [U+4E2D]."""
    parts = [_PREAMBLE]
    parts += [f"% {_on_a_line(note.text)}\n" for note in comparison.notes if note.loud]
    headlines = headline_rows(comparison)
    if headlines:
        parts.append(_short(comparison, headlines))
    parts.append(_long(comparison))
    return "\n".join(parts)


def _short(comparison: Comparison, rows: Iterable[Row]) -> str:
    base, *others = (side.label for side in comparison.sides)
    caption = _escaped(f"{', '.join(others)} against {base}. {' '.join(legend(comparison))}")
    return f"""\\begin{{table}}
\\centering\\footnotesize\\setlength{{\\tabcolsep}}{{2.5pt}}
\\caption{{{caption}}}\\smallskip
\\begin{{tabular}}{{{_alignment(comparison)}}}
\\toprule
{_headings(comparison)}
\\midrule
{_lines(comparison, rows)}
\\bottomrule
\\end{{tabular}}
\\end{{table}}
"""


def _long(comparison: Comparison) -> str:
    columns = len(_columns(comparison))
    groups = dict.fromkeys(row.metric.group for row in comparison.rows)
    bodies = [
        f"\\multicolumn{{{columns}}}{{l}}{{\\textbf{{{_escaped(group)}}}}} \\\\*\n"
        + _lines(comparison, [row for row in comparison.rows if row.metric.group == group])
        for group in groups
    ]
    body = "\n\\midrule\n".join(bodies)
    return f"""% Every metric.
{{\\footnotesize\\setlength{{\\tabcolsep}}{{2.5pt}}
\\begin{{longtable}}{{{_alignment(comparison)}}}
\\toprule
{_headings(comparison)}
\\midrule
\\endhead
\\bottomrule
\\endfoot
{body}
\\end{{longtable}}}}
"""


def _columns(comparison: Comparison) -> list[str]:
    """The unit stands with the metric; there is no room for more."""
    left_out = ("unit", "difference", "detectable")
    return [column for column in columns_of(comparison) if column not in left_out]


def _alignment(comparison: Comparison) -> str:
    """Labels and metrics wrap; figures stand to the right."""
    return "".join(
        _WRAPPED.get(column, "r" if column in FIGURES else "l") for column in _columns(comparison)
    )


def _headings(comparison: Comparison) -> str:
    headings = headings_of(comparison)
    return _joined(
        _SIDE_HEADING.format(_escaped(headings[column]))
        if column in ("baseline", "value")
        else _escaped(headings[column])
        for column in _columns(comparison)
    )


def _lines(comparison: Comparison, rows: Iterable[Row]) -> str:
    return "\n".join(
        _joined(_escaped(_text(line, column)) for column in _columns(comparison))
        for line in metric_lines(comparison, rows)
    )


def _text(line: MetricLine, column: str) -> str:
    if column != "metric":
        return line.texts[column]
    return metric_text(line.row.metric) if line.opens else ""


def _joined(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _on_a_line(text: str) -> str:
    """For a comment: it ends where the line does."""
    return plain(" ".join(text.split()))


def _escaped(text: str) -> str:
    """Text that means nothing but itself; hyphens and commas in a row are no dash or quote."""
    safe = "".join(map(_escaped_letter, plain(" ".join(text.split()))))
    return _LIGATURES.sub(r"\1{}", _MINUS.sub("$-$", safe))


def _escaped_letter(letter: str) -> str:
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    known = letter.isascii() or ("\u00a1" <= letter <= "\u017f" and letter not in _NOT_IN_T1)
    if known:
        return letter
    return f"{{[}}U+{ord(letter):04X}{{]}}"
