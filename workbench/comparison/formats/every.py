"""The formats that a comparison can be written in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.comparison.comparison import Comparison
    from workbench.comparison.gate import Judgement
    from workbench.comparison.measured import MeasuredRun

FORMATS = ("table", "md", "csv", "json", "html", "latex", "parquet")


def write(
    comparison: Comparison,
    measured: Sequence[Sequence[MeasuredRun]],
    format: str,
    judgements: Sequence[Judgement] = (),
) -> str | bytes:
    """The comparison in one of `FORMATS`: text, or bytes of Parquet.

    Args:
        measured: the runs of each side, for the curves in HTML; none of a side that has none.
        judgements: of the conditions that were asked, for Markdown and JSON.

    Raises:
        ValueError: no such format.
    """
    match format:
        case "table":
            from workbench.comparison.formats.table import write_table

            return write_table(comparison)
        case "md":
            from workbench.comparison.formats.markdown import write_markdown

            return write_markdown(comparison, judgements)
        case "csv":
            from workbench.comparison.formats.delimited import write_csv

            return write_csv(comparison)
        case "json":
            from workbench.comparison.formats.json_text import write_json

            return write_json(comparison, judgements)
        case "html":
            from workbench.comparison.formats.html import write_html

            return write_html(comparison, measured)
        case "latex":
            from workbench.comparison.formats.latex import write_latex

            return write_latex(comparison)
        case "parquet":
            from workbench.comparison.formats.parquet import write_parquet

            return write_parquet(comparison)
    raise ValueError(f"no format {format!r}: {', '.join(FORMATS)}")
