"""The library as the columns and rows of a big table, and a run in a few lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workbench.analysis.engine_parts import engine_parts
from workbench.analysis.lookup import at
from workbench.analysis.quantities import count, milliseconds, number, percent, quantity, seconds
from workbench.tui.widgets.row_list import ListRow, RowList
from workbench.tui.widgets.table_source import Align, Cell, TableColumn
from workbench.viewing.library import BROKEN, LibraryRow

MARK = Cell("◆", "accent")
_DASH = Cell("–", "dim")
_STATE_STYLES = {
    "finished": "good",
    "interrupted": "warn",
    "killed": "bad",
    "failed": "bad",
    "dead": "bad",
    BROKEN: "bad",
}
_RIGHT: Align = "right"


@dataclass(frozen=True, slots=True)
class _Column:
    """A column, its cell, and what its rows are sorted by; None sorts last."""

    column: TableColumn
    cell: Callable[[LibraryRow], Cell]
    key: Callable[[LibraryRow], float | str | None]


def _text(
    name: str,
    title: str,
    width: int,
    priority: int,
    say: Callable[[LibraryRow], str],
    flex: int = 0,
) -> _Column:
    def cell(row: LibraryRow) -> Cell:
        return Cell(say(row)) if say(row) else _DASH

    column = TableColumn(name, title, width, flex, priority=priority)
    return _Column(column, cell, lambda row: say(row) or None)


def _figure(name: str, title: str, priority: int, *path: str, scale: float = 1.0) -> _Column:
    def value(row: LibraryRow) -> float | None:
        found = row.figure(*path)
        return None if found is None else found * scale

    def cell(row: LibraryRow) -> Cell:
        return _DASH if value(row) is None else Cell(number(value(row)))

    column = TableColumn(name, title, max(8, len(title)), align=_RIGHT, priority=priority)
    return _Column(column, cell, value)


def _state_cell(row: LibraryRow) -> Cell:
    return Cell(row.state, _STATE_STYLES.get(row.state, "accent"))


def _requests_cell(row: LibraryRow) -> Cell:
    recorded = row.figure("requests", "recorded")
    return _DASH if recorded is None else Cell(count(recorded))


_ALL = (
    _text("run", "run", 26, 0, lambda row: row.name or row.run_id, flex=2),
    _Column(TableColumn("state", "state", 11), _state_cell, lambda row: row.state),
    _text("created", "begun", 19, 3, lambda row: row.created),
    _text("workload", "workload", 10, 1, lambda row: row.workload),
    _text("model", "model", 16, 5, lambda row: row.model),
    _text("engine", "engine", 11, 8, lambda row: row.engine),
    _Column(
        TableColumn("requests", "requests", 8, align=_RIGHT, priority=4),
        _requests_cell,
        lambda row: row.figure("requests", "recorded"),
    ),
    _figure("offered", "req/s", 6, "load", "offered_per_s"),
    _figure("ttft_p50", "TTFT p50", 2, "latency", "ttft_ms", "p50"),
    _figure("ttft_p99", "TTFT p99", 6, "latency", "ttft_ms", "p99"),
    _figure("tpot_p50", "TPOT p50", 3, "latency", "tpot_ms", "p50"),
    _figure("output", "tok/s", 2, "throughput", "output_tokens_per_s"),
    _figure("attainment", "SLO %", 7, "objectives", "attainment", scale=100),
    _text("tags", "tags", 12, 4, lambda row: " ".join(sorted(row.annotations.tags))),
    _text(
        "note",
        "note",
        16,
        7,
        lambda row: row.problem or row.annotations.note.split("\n")[0],
        flex=3,
    ),
)
COLUMNS = tuple(column.column for column in _ALL)


def sorted_rows(rows: Sequence[LibraryRow], sort: str, descending: bool) -> list[LibraryRow]:
    """The rows by a column; those that have nothing there come last, either way."""
    key = next(column.key for column in _ALL if column.column.key == sort)
    known = [row for row in rows if key(row) is not None]
    known.sort(key=lambda row: key(row), reverse=descending)  # type: ignore[arg-type, return-value]
    return known + [row for row in rows if key(row) is None]


def row_list(rows: Sequence[LibraryRow]) -> RowList:
    """The table's rows; marked runs have the mark."""
    return RowList(
        [
            ListRow(
                str(row.path),
                tuple(column.cell(row) for column in _ALL),
                MARK if row.annotations.marked else None,
            )
            for row in rows
        ]
    )


def run_lines(row: LibraryRow) -> str:
    """A run in lines: how it was set up, its main figures, what people wrote, what is wrong."""
    if row.state == BROKEN:
        return f"{row.run_id}\n\n{row.problem}\n\nd deletes it."
    spec, engine = at(row.content, "spec"), at(row.content, "engine")
    said = [("", row.run_id), ("State", row.state)]
    reason = str(row.content.get("reason") or "")
    if reason:
        said.append(("Reason", reason))
    if row.state == "dead":
        said.append(("", "its runner is gone; R recovers what was recorded"))
    traffic = at(spec, "traffic") or {}
    rate = row.content.get("rate_per_s")
    load = (
        f"{traffic.get('concurrency')} users"
        if traffic.get("concurrency")
        else (
            quantity(rate, "req/s")
            if isinstance(rate, int | float)
            else str(traffic.get("rate", "–"))
        )
    )
    length_s = row.content.get("duration_s")
    said += [
        ("Begun", row.created),
        ("Model", f"{row.model}, {at(engine, 'dtype') or '–'} on {at(engine, 'device') or '–'}"),
        ("Engine", ", ".join(part for part in (row.engine, engine_parts(engine or {})) if part)),
        ("Traffic", f"{row.workload}, {load}, seed {at(spec, 'seed')}"),
        ("Length", seconds(length_s) if isinstance(length_s, int | float) else "–"),
        *_figures(row),
    ]
    said += [("Tags", " ".join(sorted(row.annotations.tags)) or "–")]
    lines = [f"{name:<9}{fact}" if name else fact for name, fact in said]
    if row.annotations.note:
        lines += ["", row.annotations.note]
    if row.problem:
        lines += ["", row.problem]
    notes = at(row.content, "summary", "notes") or []
    return "\n".join([*lines, *([""] if notes else []), *(f"• {note}" for note in notes)])


def _figures(row: LibraryRow) -> list[tuple[str, str]]:
    if row.figure("window_s") is None:
        return [("Figures", "none yet")]

    def pair(name: str) -> str:
        p50, p99 = (row.figure("latency", name, figure) for figure in ("p50", "p99"))
        return f"p50 {milliseconds(p50)}, p99 {milliseconds(p99)}"

    attainment = row.figure("objectives", "attainment")
    return [
        ("Requests", f"{count(row.figure('requests', 'measured'))} in the window"),
        ("TTFT", pair("ttft_ms")),
        ("TPOT", pair("tpot_ms")),
        ("ITL", pair("itl_ms")),
        ("Output", quantity(row.figure("throughput", "output_tokens_per_s"), "tok/s")),
        ("SLO", "none was set" if attainment is None else f"{percent(100 * attainment)} met"),
        ("KV", f"peak {percent(row.figure('kv', 'usage_peak_percent'))}"),
    ]
