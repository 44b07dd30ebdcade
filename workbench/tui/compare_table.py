"""A comparison as the columns and rows of a big table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

from workbench.tui.widgets.row_list import ListRow, RowList
from workbench.tui.widgets.table_layout import GAP
from workbench.tui.widgets.table_source import Align, Cell, TableColumn

if TYPE_CHECKING:
    from workbench.comparison.comparison import Cell as Figure
    from workbench.comparison.comparison import Change, Comparison, Row, Verdict

_CHANGE_WIDTH = 11
_VERDICT_STYLES: dict[Verdict | None, str] = {
    "better": "good", "worse": "bad", "no evidence": "dim", "too noisy": "dim", None: "dim",
}  # fmt: skip
_VERDICT_SAYS = "Whether the change is real, corrected for the number of metrics"
_DETECTABLE_SAYS = "A change so large would be found with a probability of 80 %"
_OF_BASELINE = 3
_OF_SIDE = 5


def columns_of(labels: Sequence[str], width: int) -> tuple[TableColumn, ...]:
    """The metric with its unit, the baseline with its interval, and five columns for each other
    side, with some air where `width` has room for all. Of two sides, 80 cells hold metric, both
    figures, their change and the verdict."""
    roomy = _columns(labels, metric=34, figure=16)
    if sum(column.width + GAP for column in roomy) <= width:
        return roomy
    return _columns(labels, metric=29, figure=10)


def _columns(labels: Sequence[str], metric: int, figure: int) -> tuple[TableColumn, ...]:
    base, *others = [_shortened(label, figure) for label in labels]
    columns = [
        TableColumn("metric", "metric", metric, sortable=False),
        _column("base", base, figure, 0, f"The baseline: {labels[0]}"),
        _column("base-interval", "95 % interval", 17, 5, "95 % interval of the baseline"),
    ]
    for place, label in enumerate(others, 1):
        columns += [
            _column(f"value-{place}", label, figure, 0, labels[place]),
            _column(f"change-{place}", "change", _CHANGE_WIDTH, 2, "Against the baseline"),
            _column(f"interval-{place}", "95 % interval", 17, 3, "95 % interval of the change"),
            _column(f"verdict-{place}", "verdict", 13, 1, _VERDICT_SAYS, "left"),
            _column(f"detectable-{place}", "detectable", 10, 4, _DETECTABLE_SAYS),
        ]
    return tuple(columns)


def rows_of(comparison: Comparison) -> RowList:
    """A row for each metric, under a heading for each group."""
    rows: list[ListRow] = []
    width = _OF_BASELINE + _OF_SIDE * (len(comparison.sides) - 1)
    group = ""
    for row in comparison.rows:
        if row.metric.group != group:
            group = row.metric.group
            rows.append(
                ListRow(f"group {group}", (Cell(group, "accent"), *[Cell("")] * (width - 1)))
            )
        rows.append(ListRow(row.metric.key, tuple(_cells(row))))
    return RowList(rows)


def _column(
    key: str, title: str, width: int, priority: int, describe: str, align: Align = "right"
) -> TableColumn:
    return TableColumn(
        key, title, width, align=align, priority=priority, sortable=False, describe=describe
    )


def _shortened(label: str, width: int) -> str:
    """Its beginning and its end, for runs often differ in the end of their names."""
    if cell_len(label) <= width:
        return label
    end = (width - 1) // 2
    return set_cell_size(label, width - 1 - end) + "…" + set_cell_size(label[::-1], end)[::-1]


def _cells(row: Row) -> list[Cell]:
    from workbench.comparison.wording import interval_text, metric_text

    first, *others = row.cells
    cells = [
        Cell(f" {metric_text(row.metric)}"),
        _value(row, first),
        Cell(interval_text(first.interval), "dim"),
    ]
    for figure in others:
        cells += _against(row, figure)
    return cells


def _value(row: Row, figure: Figure) -> Cell:
    from workbench.comparison.wording import value_text

    return Cell(value_text(row.metric, figure), "dim" if figure.value is None else "")


def _against(row: Row, figure: Figure) -> list[Cell]:
    from workbench.comparison.wording import (
        change_interval_text,
        change_text,
        detectable_text,
        verdict_text,
    )

    change = figure.change
    verdict = None if change is None else change.verdict
    style = _VERDICT_STYLES[verdict]
    return [
        _value(row, figure),
        Cell(_arrow_first(change_text(row.metric, change)), _change_style(change)),
        Cell(change_interval_text(row.metric, change), "dim"),
        Cell(verdict_text(verdict), style),
        Cell(detectable_text(change), "dim"),
    ]


def _change_style(change: Change | None) -> str:
    """Good or bad only where there is evidence."""
    if change is None or not change.difference:
        return "dim"
    return _VERDICT_STYLES[change.verdict] if change.verdict in ("better", "worse") else ""


def _arrow_first(text: str) -> str:
    """The arrows below each other, the figures at the right."""
    arrow, _, figure = text.partition(" ")
    return f"{arrow}{figure.rjust(_CHANGE_WIDTH - 1)}" if figure else text
