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


def _split(text: str | float) -> tuple[float, str]:
    if isinstance(text, (int, float)):
        if not math.isfinite(text):
            raise SpecError(f"{text!r} is not a finite number")
        return float(text), ""
    match = _NUMBER_AND_UNIT.fullmatch(text)
    if match is None:
        raise SpecError(f"{text!r} is not a number with a unit, such as 90s or 2GiB")
    return float(match[1]), match[2]
