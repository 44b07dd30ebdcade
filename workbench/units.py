"""Durations and sizes as people write them."""

from __future__ import annotations

import math
import re

from workbench.errors import SpecError

_SECONDS = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0,
}  # fmt: skip
_BYTES = {
    "B": 1,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
}  # fmt: skip
_NUMBER_AND_UNIT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-zµ]*)\s*")


def seconds(text: str | float, default_unit: str = "s") -> float:
    """ "90", "90s", "1.5m", "500ms" as seconds; a bare number has `default_unit`.

    Raises:
        SpecError: not a finite number with a known unit.
    """
    number, unit = _split(text)
    unit = unit or default_unit
    if unit not in _SECONDS:
        raise SpecError(f"{text!r}: unknown unit {unit!r}; known are {', '.join(_SECONDS)}")
    return number * _SECONDS[unit]


def size_bytes(text: str | float) -> int:
    """ "512MiB", "2GiB", "4e9" as bytes; a bare number is bytes.

    Raises:
        SpecError: not a finite number with a known unit.
    """
    number, unit = _split(text)
    factor = _BYTES.get((unit or "B").upper())
    if factor is None:
        raise SpecError(f"{text!r}: unknown unit {unit!r}; known are B, KB … TB, KiB … TiB")
    return int(number * factor)


def ratio(text: str | float) -> float:
    """ "0.25" or "1/4" as a number.

    Raises:
        SpecError: neither a number nor a fraction of two.
    """
    above, slash, below = str(text).partition("/")
    try:
        return float(above) / (float(below) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        raise SpecError(f"{text!r} is not a number or a fraction, such as 0.25 or 1/4") from None


def parse_window(text: str) -> tuple[float, float]:
    """ "10m..20m", "90..2h" or "..20m" (from 0) as seconds (from, to).

    Raises:
        SpecError: not two durations with .. between them, the second after the first.
    """
    start, dots, end = text.partition("..")
    if not dots or not end.strip():
        raise SpecError(f"{text!r} is not a window: give its begin and end, such as 10m..20m")
    window_s = (seconds(start) if start.strip() else 0.0, seconds(end))
    if not 0 <= window_s[0] < window_s[1]:
        raise SpecError(f"{text!r} is not a window: it must begin, from 0 on, before it ends")
    return window_s


def _split(text: str | float) -> tuple[float, str]:
    if isinstance(text, (int, float)):
        if not math.isfinite(text):
            raise SpecError(f"{text!r} is not a finite number")
        return float(text), ""
    match = _NUMBER_AND_UNIT.fullmatch(text)
    if match is None:
        raise SpecError(f"{text!r} is not a number with a unit, such as 90s or 2GiB")
    return float(match[1]), match[2]
