"""What to sweep over, as people write it: `1..64`, `1,2,4,8`, `1..8/8`, `auto`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from workbench.errors import SpecError

AXES = ("rate", "concurrency")
"""What can be swept: requests per second (open loop), or requests at a time (closed loop)."""

MAX_POINTS = 200
FORMS = "write 1..64 (doubling), 1..8/8 (8 evenly spaced), 1,2,4,8 (these)"
_RANGE = re.compile(r"(.+?)\.\.([^/]*)(?:/(.*))?")


@dataclass(frozen=True, slots=True)
class Span:
    """A range to search in: doubling from `low`, then bisection; None is found by calibration."""

    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Listed:
    """Values to visit, ascending; `whole`: every one, even where the engine is saturated."""

    values: tuple[float, ...]
    whole: bool


def parse_axis(axis: str, text: str, points: int | None = None) -> Span | Listed:
    """The range or list that `text` means for `axis`, one of `AXES`.

    Args:
        points: `--points`: so many values from low to high, each the same ratio above the last.

    Raises:
        SpecError: none of the forms, or values that make no sense; says what is allowed.
    """
    flag = f"--{axis} {text}"
    if points is not None and not 2 <= points <= MAX_POINTS:
        raise SpecError(f"--points {points}: from 2 to {MAX_POINTS}")
    if text.strip() == "auto":
        if axis != "rate":
            raise SpecError(f"{flag}: only a rate can be found by calibration; {FORMS}")
        if points is not None:
            raise SpecError("--points needs a range with both ends, such as --rate 1..64")
        return Span(None, None)
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        if points is not None:
            raise SpecError(f"--points needs a range, such as --{axis} 1..64, not a list")
        return Listed(_listed(axis, text, flag), whole=True)
    low, high = _value(axis, match[1], flag), _value(axis, match[2], flag)
    if high <= low:
        raise SpecError(f"{flag}: the range must go up; the first value is the lower one")
    if match[3] is not None:
        if points is not None:
            raise SpecError(f"{flag}: give the number of points once, by /N or by --points")
        return Listed(_evenly(axis, low, high, _count(match[3], flag)), whole=False)
    if points is not None:
        return Listed(_geometric(axis, low, high, points), whole=False)
    return Span(low, high)


def parse_tolerance(text: str) -> float:
    """ "5%" or "0.05" as a share.

    Raises:
        SpecError: no number, or not above 0 and at most 100 %.
    """
    number = text.strip()
    try:
        share = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise SpecError(f"--tolerance {text}: a share above 0 and at most 100 %, such as 5%")
    return share


def rounded(axis: str, value: float) -> float:
    """A value between two others as it is offered: four significant digits, or a whole number."""
    return float(round(value)) if axis == "concurrency" else float(f"{value:.4g}")


def _listed(axis: str, text: str, flag: str) -> tuple[float, ...]:
    values = [_value(axis, part, flag) for part in text.split(",")]
    if len(set(values)) < len(values):
        raise SpecError(f"{flag}: a value is given twice; for several runs of it use --repeat")
    if len(values) > MAX_POINTS:
        raise SpecError(f"{flag}: {len(values)} points; at most {MAX_POINTS}")
    return tuple(sorted(values))


def _evenly(axis: str, low: float, high: float, count: int) -> tuple[float, ...]:
    step = (high - low) / (count - 1)
    return _distinct(axis, [low, *(low + step * i for i in range(1, count - 1)), high])


def _geometric(axis: str, low: float, high: float, count: int) -> tuple[float, ...]:
    ratio = (high / low) ** (1 / (count - 1))
    return _distinct(axis, [low, *(low * ratio**i for i in range(1, count - 1)), high])


def _distinct(axis: str, values: list[float]) -> tuple[float, ...]:
    between = {rounded(axis, value) for value in values[1:-1]}
    return tuple(sorted({values[0], values[-1]} | between))


def _count(text: str, flag: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if not 2 <= count <= MAX_POINTS:
        raise SpecError(f"{flag}: after / comes the number of points, from 2 to {MAX_POINTS}")
    return count


def _value(axis: str, text: str, flag: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise SpecError(f"{flag}: {text.strip()!r} is not a number; {FORMS}") from None
    if not (math.isfinite(value) and value > 0):
        raise SpecError(f"{flag}: values must be above 0")
    if axis == "concurrency" and value != int(value):
        raise SpecError(f"{flag}: a concurrency is a whole number of requests")
    return value
