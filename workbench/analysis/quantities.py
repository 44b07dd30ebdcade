"""Figures as people read them: with their unit, in three to four significant digits."""

from __future__ import annotations

MISSING = "–"


def number(value: float | None) -> str:
    """`value` in three to four significant digits, thousands grouped; a dash for None."""
    if value is None:
        return MISSING
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 99.95:
        return f"{value:,.0f}"
    if size >= 9.995:
        return f"{value:.1f}"
    if size >= 0.9995:
        return f"{value:.2f}"
    if size >= 0.001:
        return f"{value:.3f}"
    return "<0.001" if value > 0 else ">-0.001"


def count(value: float | None) -> str:
    """A whole number, thousands grouped; a dash for None."""
    return MISSING if value is None else f"{value:,.0f}"


def milliseconds(value_ms: float | None) -> str:
    """A duration: in ms below 10 s, in s from there."""
    if value_ms is None:
        return MISSING
    if abs(value_ms) >= 10_000:
        return f"{number(value_ms / 1000)} s"
    return f"{number(value_ms)} ms"


def seconds(value_s: float | None) -> str:
    """A duration in seconds."""
    return quantity(value_s, "s")


def percent(value: float | None) -> str:
    """A percentage, of a value from 0 to 100; one decimal, never 100 for less than that."""
    if value is None:
        return MISSING
    if 99.95 <= value < 100:
        return "99.9 %"
    return f"{value:.0f} %" if value in (0, 100) else f"{value:.1f} %"


def quantity(value: float | None, unit: str) -> str:
    """`number` with a unit; a bare dash for None."""
    return MISSING if value is None else f"{number(value)} {unit}"
