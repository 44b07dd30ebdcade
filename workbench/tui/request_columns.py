"""The columns of the table of requests, and how their values look."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.analysis.printable import plain
from workbench.analysis.quantities import milliseconds
from workbench.tui.widgets.frame_source import FrameColumn
from workbench.tui.widgets.table_source import Cell, TableColumn

_SIGNS = {
    "ok": ("✓", "good"),
    "running": ("▶", "accent"),
    "waiting": ("·", "warn"),
    "failed": ("✗", "bad"),
    "rejected": ("✗", "bad"),
    "cancelled": ("■", "warn"),
    "unfinished": ("…", "warn"),
}


@dataclass(frozen=True, slots=True)
class _Shown:
    """A column of the frame: how it is headed, and whether a limit is set for it."""

    column: TableColumn
    format: Callable[[Any], Cell]
    objective: str = ""


def _count(value: int) -> Cell:
    return Cell(f"{value:,}", "dim" if value == 0 else "")


def _ms(value: float) -> Cell:
    return Cell(milliseconds(value))


def _arrival(value: int) -> Cell:
    return Cell(f"{value / 1e9:,.2f} s", "dim")


def _state(value: str) -> Cell:
    sign, style = _SIGNS.get(value, ("?", ""))
    return Cell(f"{sign} {value}", style)


def _reason(value: str) -> Cell:
    return Cell(plain(value), "dim")


def _number(key: str, title: str, width: int, priority: int, describe: str) -> TableColumn:
    return TableColumn(key, title, width, 0, "right", priority, True, describe)


_COLUMNS = (
    _Shown(_number("request_id", "id", 6, 0, "order of arrival, from 0"), lambda v: Cell(f"{v:,}")),
    _Shown(TableColumn("state", "state", 12, describe="how it ended, or how it stands"), _state),
    _Shown(_number("scheduled_ns", "arrival", 10, 3, "intended, since the start"), _arrival),
    _Shown(_number("prompt_tokens", "prompt", 7, 1, "prompt tokens"), _count),
    _Shown(_number("output_tokens", "output", 7, 1, "output tokens"), _count),
    _Shown(_number("ttft_ms", "TTFT", 10, 0, "intended arrival to first token"), _ms, "ttft"),
    _Shown(_number("tpot_ms", "TPOT", 10, 0, "time per output token after it"), _ms, "tpot"),
    _Shown(_number("e2e_ms", "E2E", 10, 1, "intended arrival to last token"), _ms, "e2e"),
    _Shown(_number("queue_ms", "queue", 9, 2, "admission to its first step"), _ms),
    _Shown(_number("prefill_ms", "prefill", 9, 4, "first step to last prompt token"), _ms),
    _Shown(_number("longest_stall_ms", "stall", 10, 3, "longest gap between tokens"), _ms, "itl"),
    _Shown(_number("preemptions", "preempted", 9, 4, "times it lost its KV blocks"), _count),
    _Shown(_number("cached_tokens", "cached", 7, 4, "prompt tokens of the prefix cache"), _count),
    _Shown(
        TableColumn("reason", "reason", 12, 1, "left", 5, True, "why it did not end ok"),
        _reason,
    ),
)

TABLE_COLUMNS: tuple[TableColumn, ...] = tuple(shown.column for shown in _COLUMNS)


def frame_columns(limits_ms: Mapping[str, float]) -> tuple[FrameColumn, ...]:
    """The columns with their formats; a value over its limit has a colour and a sign."""
    return tuple(
        FrameColumn(shown.column.key, _limited(shown.format, limits_ms.get(shown.objective)))
        for shown in _COLUMNS
    )


def _limited(format_value: Callable[[Any], Cell], limit_ms: float | None) -> Callable[[Any], Cell]:
    if limit_ms is None:
        return format_value

    def judged(value: float) -> Cell:
        text = format_value(value).text
        return Cell(f"{text} ✗", "bad") if value > limit_ms else Cell(f"{text}  ")

    return judged
