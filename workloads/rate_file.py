"""Absolute rates over time, read from a file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal

import numpy as np

from workloads.errors import WorkloadError
from workloads.modulation import Pieces, Piecewise
from workloads.names import unknown_name
from workloads.numerals import is_number


@dataclass(frozen=True, slots=True)
class RateFile(Piecewise):
    """Absolute rates in requests/s at given seconds; `read_rate_file` reads it from a file.

    `interpolation` "step" holds each rate until the next time, "linear" joins them by straight
    lines; either way the last rate holds to the end of the run. Raises `WorkloadError` unless
    the times start at 0 and rise, and the rates are finite, not negative and not all 0.
    """

    times_s: tuple[float, ...]
    rates_per_s: tuple[float, ...]
    interpolation: Literal["step", "linear"] = "step"

    absolute: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if len(self.times_s) != len(self.rates_per_s):
            raise WorkloadError(
                f"{len(self.times_s)} times and {len(self.rates_per_s)} rates: give as many of each"
            )
        fault = _fault(self.times_s, self.rates_per_s)
        if fault is not None:
            row, column, problem = fault
            raise WorkloadError(f"{('time', 'rate')[column - 1]} {row + 1}: {problem}")
        if not any(self.rates_per_s):
            raise WorkloadError("no rate is above 0: give at least one that is")
        if self.interpolation not in ("step", "linear"):
            raise unknown_name("interpolation", self.interpolation, ("step", "linear"))

    def pieces(self, duration_s: float) -> Pieces:
        """See `Piecewise`."""
        slopes = np.zeros(len(self.times_s))
        if self.interpolation == "linear":
            slopes[:-1] = np.diff(self.rates_per_s) / np.diff(self.times_s)
        return Pieces.of(self.times_s, self.rates_per_s, slopes)


def read_rate_file(path: Path, interpolation: Literal["step", "linear"] = "step") -> RateFile:
    """The rates of a file of lines `seconds,requests_per_s`, split by a comma or by spaces.

    The first time is 0 and times rise. A heading, empty lines and what follows a # are skipped.
    Raises `WorkloadError` with file, line and column for a broken line, and for a file that
    cannot be read, has no rates, or only rates of 0.
    """
    try:
        # Spreadsheets put a byte order mark before the heading.
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise WorkloadError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    rows = [(line, cells) for line, cells in _content(text) if cells]
    if rows and _is_heading(rows[0][1]):
        del rows[0]
    if not rows:
        raise WorkloadError(f"{path}: it has no rates: give lines of {_EXPECTED}")
    for line, cells in rows:
        for column, cell in enumerate(cells, 1):
            if column > 2 or not is_number(cell):
                raise _broken(path, line, column, f"found {cell!r}")
        if len(cells) < 2:
            raise _broken(path, line, 2, "it is missing")
    times_s = tuple(float(cells[0]) for _, cells in rows)
    rates_per_s = tuple(float(cells[1]) for _, cells in rows)
    fault = _fault(times_s, rates_per_s)
    if fault is not None:
        row, column, problem = fault
        raise _broken(path, rows[row][0], column, problem)
    if not any(rates_per_s):
        raise WorkloadError(f"{path}: no rate is above 0: give at least one that is")
    return RateFile(times_s, rates_per_s, interpolation)


_EXPECTED: Final = "seconds,requests_per_s (two numbers, such as 30,2.5)"


def _fault(
    times_s: Sequence[float], rates_per_s: Sequence[float]
) -> tuple[int, Literal[1, 2], str] | None:
    """Row (from 0), column (1 the time, 2 the rate) and description of the first fault."""
    for row, (t, rate) in enumerate(zip(times_s, rates_per_s, strict=True)):
        if not math.isfinite(t):
            return row, 1, f"{t} is not a finite number of seconds"
        if row == 0 and t != 0:
            return row, 1, f"{t:g} s is not 0, where the run starts (give a rate from there on)"
        if row > 0 and t <= times_s[row - 1]:
            return row, 1, f"{t:g} s follows {times_s[row - 1]:g} s, but times must rise"
        if not (math.isfinite(rate) and rate >= 0):
            return row, 2, f"{rate:g} requests/s is not a finite number of at least 0"
    return None


def _broken(path: Path, line: int, column: int, problem: str) -> WorkloadError:
    return WorkloadError(f"{path}, line {line}, column {column}: {problem}: expected {_EXPECTED}")


def _content(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each line's number and its cells, none for a line that says nothing."""
    for number, line in enumerate(text.splitlines(), 1):
        content = line.partition("#")[0].strip()
        cells = content.split(",") if "," in content else content.split()
        yield number, [cell.strip() for cell in cells]


def _is_heading(cells: Sequence[str]) -> bool:
    return len(cells) == 2 and all(cells) and not any(map(is_number, cells))
