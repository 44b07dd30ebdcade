"""Numbers as published files write them, read exactly and within bounds."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Final

import numpy as np
import numpy.typing as npt

from workloads.traces.broken import BrokenRow, shown

MAX_TOKENS: Final = 2**31 - 1
INT64_MAX: Final = 2**63 - 1

# Below this, a double is within a quarter of a nanosecond of the decimal text that it came from,
# so that text of up to 9 fractional digits is found again exactly.
FLOAT_EXACT_S: Final = 2.0**22

_WHOLE: Final = re.compile(r"[ \t]*[+-]?[0-9]+")


def tokens_expected(low: int) -> str:
    """How an error message asks for a number of tokens."""
    return f"a number of tokens from {low} to {MAX_TOKENS}"


def within(values: npt.NDArray[np.int64], low: int, high: int = MAX_TOKENS) -> bool:
    """Whether all values are within both bounds."""
    return len(values) == 0 or bool(values.min() >= low and values.max() <= high)


def whole_field(text: str, at: int, name: str, low: int, high: int, expected: str) -> int:
    """The whole number that a CSV field is. Raises `BrokenRow`."""
    if _WHOLE.fullmatch(text) and len(text) < 40 and low <= (value := int(text)) <= high:
        return value
    raise BrokenRow(at, expected, shown(text), name)


def decimal_ns(text: str) -> int | None:
    """Nanoseconds of a decimal number of seconds, exact for up to 9 fractional digits and rounded
    half to even beyond; None for what is not a number from 0 up within int64."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    if not value.is_finite() or value < 0 or value.adjusted() > 10:
        return None
    ns = int((value * 1_000_000_000).to_integral_value())
    return ns if ns <= INT64_MAX else None


def float_text_ns(text: str) -> int | None:
    """The same for JSON numbers, which a fast reader has already made doubles of: below
    `FLOAT_EXACT_S` the double decides, which differs only past the 9th digit."""
    value = float(text)
    if 0 <= value < FLOAT_EXACT_S:
        whole = int(value)
        return whole * 1_000_000_000 + round((value - whole) * 1e9)
    return decimal_ns(text)
