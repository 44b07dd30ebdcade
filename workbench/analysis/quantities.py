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


def counted(value: float | None, noun: str) -> str:
    """A whole number of things, such as "1 token" or "2,048 tokens"; `noun` takes an s."""
    return f"{count(value)} {noun}{'' if value == 1 else 's'}"


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


def size_text(number: int) -> str:
    """Bytes in the unit that leaves three digits or four: "513 MiB", "14.2 GiB"."""
    size, units = float(number), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1000 and len(units) > 1:
        size /= 1024
        del units[0]
    return f"{size:.3g} {units[0]}"


def quantity(value: float | None, unit: str) -> str:
    """`number` with a unit; a bare dash for None."""
    return MISSING if value is None else f"{number(value)} {unit}"
