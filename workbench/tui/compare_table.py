"""A comparison as the columns and rows of a big table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

from workbench.tui.widgets.row_list import ListRow, RowList
from workbench.tui.widgets.table_source import Align, Cell, TableColumn

if TYPE_CHECKING:
    from workbench.analysis.compared_metrics import Metric
    from workbench.analysis.differences import Cell as Figure
    from workbench.analysis.differences import Comparison, Row

_DASH = Cell("–", "dim")
_DIFFERENCE_WIDTH = 11


def columns_of(labels: tuple[str, ...]) -> tuple[TableColumn, ...]:
    """The metric with its unit, the baseline with its interval, and five columns for each other
    run. Of two runs, 80 cells hold metric, both figures and their difference."""

    def column(key: str, title: str, width: int, priority: int) -> TableColumn:
        align: Align = "left" if key == "metric" else "right"
        return TableColumn(key, title, width, align=align, priority=priority, sortable=False)

    columns = [
        column("metric", "metric", 33, 0),
        column("base", f"{_shortened(labels[0], 10)} (base)", 17, 0),
        column("base-interval", "95 % interval", 17, 6),
    ]
    for place, label in enumerate(labels[1:], 1):
        columns += [
            column(f"value-{place}", _shortened(label, 12), 12, 0),
            column(f"difference-{place}", "difference", _DIFFERENCE_WIDTH, 1),
            column(f"ratio-{place}", "ratio", 7, 3),
            column(f"interval-{place}", "95 % interval", 17, 6),
            column(f"apart-{place}", "intervals", 9, 2),
        ]
    return tuple(columns)


def rows_of(comparison: Comparison) -> RowList:
    """A row for each metric, under a heading for each group."""
    from workbench.analysis.differences_text import interval_text

    rows: list[ListRow] = []
    width = 3 + 5 * (len(comparison.runs) - 1)
    group = ""
    for row in comparison.rows:
        if row.metric.group != group:
            group = row.metric.group
            rows.append(
                ListRow(f"group {group}", (Cell(group, "accent"), *[Cell("")] * (width - 1)))
            )
        first, *others = row.cells
        cells = [
            Cell(f"  {', '.join(filter(None, (row.metric.label, row.metric.unit)))}"),
            _value(row, first),
            _dim(interval_text(first.interval)),
        ]
        for figure in others:
            cells += _against(row, figure)
        rows.append(ListRow(row.metric.key, tuple(cells)))
    return RowList(rows)


def _shortened(label: str, width: int) -> str:
    """Its beginning and its end, for runs often differ in the end of their names."""
    if cell_len(label) <= width:
        return label
    end = (width - 1) // 2
    return set_cell_size(label, width - 1 - end) + "…" + set_cell_size(label[::-1], end)[::-1]


def _value(row: Row, figure: Figure) -> Cell:
    from workbench.analysis.differences_text import value_text

    return _DASH if figure.value is None else Cell(value_text(row, figure))


def _against(row: Row, figure: Figure) -> list[Cell]:
    from workbench.analysis.differences_text import (
        apart_text,
        difference_text,
        interval_text,
        ratio_text,
    )

    style = _style(row.metric, figure)
    return [
        _value(row, figure),
        Cell(_arrow_first(difference_text(figure)), style or ("" if figure.difference else "dim")),
        _dim(ratio_text(figure)),
        _dim(interval_text(figure.interval)),
        Cell(apart_text(figure), "strong" if figure.apart else "dim"),
    ]


def _style(metric: Metric, figure: Figure) -> str:
    """Good or bad only where a direction is better and the intervals are apart."""
    if not figure.apart or not figure.difference or metric.better is None:
        return ""
    return "good" if (figure.difference > 0) == (metric.better == "higher") else "bad"


def _arrow_first(text: str) -> str:
    """The arrows below each other, the figures at the right."""
    arrow, _, figure = text.partition(" ")
    return f"{arrow}{figure.rjust(_DIFFERENCE_WIDTH - 1)}" if figure else text


def _dim(text: str) -> Cell:
    return Cell(text, "dim")
