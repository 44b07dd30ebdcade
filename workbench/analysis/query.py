"""The language of the requests' filter: `ttft > 500ms and tokens > 200` as a polars expression.

Three values, as in SQL: what is undefined makes a comparison neither true nor false, `not` leaves
it so, and only rows that are true are kept. `is null` asks for what is undefined.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from workbench.analysis.query_columns import REQUEST_COLUMNS, STATUSES, RequestColumn
from workbench.analysis.query_columns import request_column as _column_named
from workbench.analysis.query_numbers import Quantity, UnitError, calculate, compare, literal
from workbench.analysis.query_tokens import COMPARISONS, QueryError, Token, tokens_of
from workbench.errors import did_you_mean

MAX_TOKENS = 300
MAX_NESTING = 30

QUERY_HELP = """\
ttft > 500ms and tokens > 200      and, or, not, ( )
status != ok or preemptions >= 1   =  !=  >  >=  <  <=
queue > 0.3 * ttft                 +  -  *  /  between columns and numbers
id in 3, 5, 10..20                 a list, with ranges that hold both ends
reason contains "KV"               any case; quote what is more than a word
tpot is null, tpot is not null     undefined: never true in a comparison, nor under not
fitted, not fitted                 shortened to fit the model's context
Durations take us, ms, s, m, h, and without one are ms; times are s since the run's start.
Counts take k and M."""
"""The language by examples, for the app's help."""


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A condition on requests: `text` as typed, the expression, and the columns that it reads.

    `expression` is true, false or null for each row of a frame that has `columns`.
    """

    text: str
    expression: pl.Expr
    columns: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class _Condition:
    expression: pl.Expr


_Value = _Condition | Quantity | RequestColumn
_Operand = Callable[[], _Value]


def parse_query(text: str) -> Query:
    """The query that `text` says; `QUERY_HELP` shows the language.

    Raises:
        QueryError: (a SpecError) it is none; says what is wrong, where, and what is allowed.
    """
    tokens = tokens_of(text)
    if len(tokens) == 1:
        raise QueryError("no condition; type one, such as ttft > 500ms", text, 0)
    if len(tokens) > MAX_TOKENS:
        far = tokens[MAX_TOKENS]
        raise QueryError(f"longer than {MAX_TOKENS} words and signs", text, far.position)
    return _Parser(text, tokens).query()


class _Parser:
    """Recursive descent, one method a level of precedence, `or` binding least."""

    def __init__(self, text: str, tokens: list[Token]) -> None:
        self._text = text
        self._tokens = tokens
        self._next = 0
        self._nesting = 0
        self._columns: set[str] = set()

    def query(self) -> Query:
        first = self._token
        value = self._condition(self._either(), first)
        if self._token.kind != "end":
            raise self._error("expected and, or, or the end here")
        return Query(self._text, value.expression, frozenset(self._columns))

    def _either(self) -> _Value:
        first = self._token
        value = self._both()
        while self._take("keyword", "or"):
            left, second = self._condition(value, first), self._token
            right = self._condition(self._both(), second)
            value = _Condition(left.expression | right.expression)
        return value

    def _both(self) -> _Value:
        first = self._token
        value = self._negation()
        while self._take("keyword", "and"):
            left, second = self._condition(value, first), self._token
            right = self._condition(self._negation(), second)
            value = _Condition(left.expression & right.expression)
        return value

    def _negation(self) -> _Value:
        if not self._take("keyword", "not"):
            return self._comparison()
        self._deeper()
        first = self._token
        value = self._condition(self._negation(), first)
        self._nesting -= 1
        return _Condition(~value.expression)

    def _comparison(self) -> _Value:
        first = self._token
        value = self._sum()
        if self._take("keyword", "is"):
            return self._is_null(value, first)
        sign = self._token
        if sign.kind == "sign" and sign.text in COMPARISONS:
            self._next += 1
            if isinstance(value, RequestColumn):
                return self._text_comparison(value, sign)
            return self._number_comparison(self._number(value, first), sign)
        negated = self._at("keyword", "not") and self._following.text in ("in", "contains")
        self._next += negated
        if self._take("keyword", "in"):
            found = self._membership(value, first)
        elif self._take("keyword", "contains"):
            found = self._contains(value, first)
        else:
            return value
        return _Condition(~found if negated else found)

    def _number_comparison(self, left: Quantity, sign: Token) -> _Condition:
        second = self._token
        right = self._number(self._sum(), second)
        if self._token.kind == "sign" and self._token.text in COMPARISONS:
            raise self._error("one comparison at a time; join two with and")
        return _Condition(self._compared(left, sign, right))

    def _text_comparison(self, column: RequestColumn, sign: Token) -> _Condition:
        if sign.text not in ("=", "!="):
            raise self._error(f"{column.name} is text: =, !=, in, contains or is null", sign)
        same = _same_text(column, self._word(column))
        return _Condition(same if sign.text == "=" else ~same)

    def _is_null(self, value: _Value, first: Token) -> _Condition:
        negated = self._take("keyword", "not")
        if not self._take("keyword", "null"):
            raise self._error("expected null or not null here")
        if isinstance(value, RequestColumn):
            expression = pl.col(value.frame)
        elif isinstance(value, Quantity):
            expression = value.defined()
        else:
            raise self._error("only a column or a number can be null", first)
        return _Condition(expression.is_not_null() if negated else expression.is_null())

    def _membership(self, value: _Value, first: Token) -> pl.Expr:
        """The items of a list, bracketed or not, joined by `or`."""
        column = value if isinstance(value, RequestColumn) else None
        number = None if column else self._number(value, first)
        bracketed = self._take("sign", "(")
        found = self._item(column, number)
        while self._take("sign", ","):
            found = found | self._item(column, number)
        if bracketed and not self._take("sign", ")"):
            raise self._error("expected , or ) here")
        return found

    def _item(self, column: RequestColumn | None, number: Quantity | None) -> pl.Expr:
        if number is None:
            assert column is not None
            return _same_text(column, self._word(column))
        first = self._token
        low = self._signed_literal()
        if not self._take("sign", ".."):
            return self._compared(number, Token("sign", "=", first.position, 1), low)
        high = self._signed_literal()
        above = self._compared(number, Token("sign", ">=", first.position, 1), low)
        return above & self._compared(number, Token("sign", "<=", first.position, 1), high)

    def _signed_literal(self) -> Quantity:
        minus = self._take("sign", "-")
        if self._token.kind != "number":
            raise self._error("expected a number here")
        value = self._literal()
        return calculate("-", literal(0.0, ""), value) if minus else value

    def _contains(self, value: _Value, first: Token) -> pl.Expr:
        if not isinstance(value, RequestColumn):
            raise self._error("contains asks a text: status or reason", first)
        part = self._token
        if part.kind not in ("word", "string"):
            raise self._error('expected a word or a "text" here')
        self._next += 1
        return _lower(value).str.contains(part.text.lower(), literal=True)

    def _word(self, column: RequestColumn) -> str:
        """A word or quoted text, in small letters; of a status one that there is."""
        token = self._token
        if token.kind not in ("word", "string"):
            raise self._error('expected a word or a "text" here')
        word = token.text.lower()
        if column.name == "status" and word not in STATUSES:
            near = did_you_mean(word, STATUSES)
            raise self._error(f"no status {token.text!r}; {near}it is one of {', '.join(STATUSES)}")
        self._next += 1
        return word

    def _sum(self) -> _Value:
        return self._calculation(("+", "-"), self._product)

    def _product(self) -> _Value:
        return self._calculation(("*", "/"), self._operand)

    def _calculation(self, signs: tuple[str, str], operand: _Operand) -> _Value:
        first = self._token
        value = operand()
        while self._token.kind == "sign" and self._token.text in signs:
            sign = self._token
            self._next += 1
            left, second = self._number(value, first), self._token
            right = self._number(operand(), second)
            try:
                value = calculate(sign.text, left, right)
            except UnitError as mismatch:
                raise self._error(str(mismatch), sign) from None
        return value

    def _operand(self) -> _Value:
        token = self._token
        if token.kind == "number":
            return self._literal()
        if token.kind == "word":
            return self._named()
        if self._take("sign", "-"):
            self._deeper()
            second = self._token
            value = self._number(self._operand(), second)
            self._nesting -= 1
            return calculate("*", literal(-1.0, ""), value)
        if self._take("sign", "("):
            self._deeper()
            inner = self._either()
            self._nesting -= 1
            if not self._take("sign", ")"):
                raise self._error("expected ) here")
            return inner
        expected = "expected a column, a number or ("
        if token.kind == "string":
            raise self._error(f"{expected}; a text stands after =, !=, in or contains")
        raise self._error(f"{expected} {'at the end' if token.kind == 'end' else 'here'}")

    def _literal(self) -> Quantity:
        token = self._token
        self._next += 1
        unit = self._token if self._token.kind == "word" else None
        self._next += unit is not None
        try:
            return literal(float(token.text), unit.text if unit else "")
        except UnitError as mismatch:
            raise self._error(str(mismatch), unit or token) from None

    def _named(self) -> _Value:
        token = self._token
        column = _column_named(token.text)
        if column is None:
            names = [known.name for known in REQUEST_COLUMNS]
            near = did_you_mean(token.text.lower(), names).rstrip()
            raise self._error(f"unknown column {token.text!r}; {near or ', '.join(names)}")
        self._next += 1
        self._columns.add(column.frame)
        if column.kind == "text":
            return column
        if column.kind == "flag":
            if self._at("keyword", "is"):
                return column
            return _Condition(column.expression())
        return Quantity.of(column)

    def _compared(self, left: Quantity, sign: Token, right: Quantity) -> pl.Expr:
        try:
            return compare(sign.text, left, right)
        except UnitError as mismatch:
            raise self._error(str(mismatch), sign) from None

    def _condition(self, value: _Value, first: Token) -> _Condition:
        if isinstance(value, _Condition):
            return value
        what = "a text" if isinstance(value, RequestColumn) else "a number"
        raise self._error(f"{what} is no condition; compare it, as in ttft > 500ms", first)

    def _number(self, value: _Value, first: Token) -> Quantity:
        if isinstance(value, Quantity):
            return value
        if isinstance(value, RequestColumn):
            raise self._error(f"{value.name} is no number", first)
        raise self._error("a condition stands by itself, as in fitted, not fitted", first)

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    @property
    def _following(self) -> Token:
        return self._tokens[min(self._next + 1, len(self._tokens) - 1)]

    def _at(self, kind: str, text: str) -> bool:
        return self._token.kind == kind and self._token.text == text

    def _take(self, kind: str, text: str) -> bool:
        taken = self._at(kind, text)
        self._next += taken
        return taken

    def _deeper(self) -> None:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise self._error(f"nested more than {MAX_NESTING} deep")

    def _error(self, reason: str, token: Token | None = None) -> QueryError:
        place = token or self._token
        return QueryError(reason, self._text, place.position, place.length)


def _lower(column: RequestColumn) -> pl.Expr:
    return pl.col(column.frame).str.to_lowercase()


def _same_text(column: RequestColumn, word: str) -> pl.Expr:
    return _lower(column) == word
