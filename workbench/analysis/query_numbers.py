"""Numbers of a query and their units: what can be added, compared and divided, and how."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from workbench.analysis.query_columns import DURATION_UNITS, MULTIPLES, RequestColumn

_POWERS = {"duration": 1, "time": 1, "rate": -1, "number": 0}
_UNIT_NAMES = {1: "a duration", 0: "a count", -1: "a rate per second"}
_COMPARE: dict[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "=": operator.eq, "!=": operator.ne, ">": operator.gt,
    ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip


class UnitError(ValueError):
    """Two numbers whose units don't go together, or a number that is none; says which."""


@dataclass(frozen=True, slots=True, eq=False)
class Quantity:
    """A number for each row: `power` of ms; whether it is an instant; its value if the same in all.

    An instant is a duration since the run's start: only a bare number beside it is read
    differently, as seconds.
    """

    expression: pl.Expr
    power: int
    instant: bool = False
    value: float | None = None

    @staticmethod
    def of(column: RequestColumn) -> Quantity:
        """The quantity in a column of numbers, a duration, an instant or a rate."""
        return Quantity(column.expression(), _POWERS[column.kind], column.kind == "time")

    @property
    def bare(self) -> bool:
        """Whether it is a number without unit, which takes that of what it meets."""
        return self.value is not None and self.power == 0

    def defined(self) -> pl.Expr:
        """Its expression, null where a calculation has no finite result."""
        if self.value is not None:
            return self.expression
        return self.expression.replace([math.inf, -math.inf, math.nan], None)

    def beside(self, other: Quantity) -> Quantity:
        """This number, in the unit of `other` if it is bare: ms, s of instants, per s of rates."""
        if not self.bare or other.power == 0 or self.value is None:
            return self
        if other.power < 0:
            return _constant(self.value / 1e3, other.power)
        value = self.value * 1e3 if other.instant else self.value
        return _constant(value, 1)


def literal(value: float, unit: str) -> Quantity:
    """A number as written, with its unit or without.

    Raises:
        UnitError: an unknown unit, or too large to be a number.
    """
    if unit in DURATION_UNITS:
        scale = DURATION_UNITS[unit]
        # 1e-3 is no binary fraction: dividing by 1000 rounds as the columns themselves do.
        return _constant(value * scale if scale >= 1 else value / round(1 / scale), 1)
    if unit and unit not in MULTIPLES:
        known = ", ".join((*DURATION_UNITS, *MULTIPLES))
        raise UnitError(f"unknown unit {unit!r}; known are {known}")
    return _constant(value * MULTIPLES.get(unit, 1.0), 0)


def compare(sign: str, left: Quantity, right: Quantity) -> pl.Expr:
    """`left` `sign` `right` for each row; null where either is undefined.

    Raises:
        UnitError: their units differ, or neither is a column.
    """
    if left.value is not None and right.value is not None:
        raise UnitError("this compares two numbers; name a column")
    left, right = _together("compares", left, right)
    return _COMPARE[sign](left.defined(), right.defined())


def calculate(sign: str, left: Quantity, right: Quantity) -> Quantity:
    """`left` `sign` `right`, sign being + - * or /; null where it divides by zero.

    Raises:
        UnitError: their units don't go together, or a constant result is not finite.
    """
    if sign in ("+", "-"):
        return _sum(sign, left, right)
    power = left.power + right.power if sign == "*" else left.power - right.power
    if abs(power) > 1:
        what = f"{_UNIT_NAMES[left.power]} {sign} {_UNIT_NAMES[right.power]}"
        raise UnitError(f"{what} is no unit that a column has")
    if sign == "/" and right.value == 0:
        raise UnitError("this divides by zero")
    if left.value is not None and right.value is not None:
        return _constant(
            left.value * right.value if sign == "*" else left.value / right.value, power
        )
    if sign == "*":
        expression = left.expression * right.expression
    else:
        expression = left.expression / right.expression.replace(0.0, None)
    return Quantity(expression, power, power == 1 and (left.instant or right.instant))


def _sum(sign: str, left: Quantity, right: Quantity) -> Quantity:
    left, right = _together("adds" if sign == "+" else "subtracts", left, right)
    if left.value is not None and right.value is not None:
        return _constant(
            left.value + right.value if sign == "+" else left.value - right.value, left.power
        )
    plus = sign == "+"
    expression = left.expression + right.expression if plus else left.expression - right.expression
    between = left.instant and right.instant and not plus
    return Quantity(expression, left.power, (left.instant or right.instant) and not between)


def _together(verb: str, left: Quantity, right: Quantity) -> tuple[Quantity, Quantity]:
    left, right = left.beside(right), right.beside(left)
    if left.power != right.power:
        names = f"{_UNIT_NAMES[left.power]} and {_UNIT_NAMES[right.power]}"
        raise UnitError(f"this {verb} {names}; give the numbers units, as in 50ms * tokens")
    return left, right


def _constant(value: float, power: int) -> Quantity:
    if not math.isfinite(value):
        raise UnitError("this number is too large")
    return Quantity(pl.lit(value), power, False, value)
