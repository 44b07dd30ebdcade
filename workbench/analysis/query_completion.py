"""What can stand at the cursor in a query that is being typed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from workbench.analysis.query_columns import (
    DURATION_UNITS,
    MULTIPLES,
    REQUEST_COLUMNS,
    STATUSES,
    request_column,
)
from workbench.analysis.query_tokens import COMPARISONS, QueryError, Token, tokens_of

_NAMES = tuple(column.name for column in REQUEST_COLUMNS)
_CALCULABLE = tuple(
    column.name for column in REQUEST_COLUMNS if column.kind not in ("text", "flag")
)
_ARITHMETIC = ("+", "-", "*", "/")
_JOINTS = ("and", "or")
_MEMBERSHIP = ("in", "not in", "is null", "is not null")
_TEXT_OPERATORS = ("=", "!=", "contains", "not contains", *_MEMBERSHIP)
_WORD_AT_END = re.compile(r"[A-Za-zµ_][A-Za-z0-9_]*$")


def word_start(text: str, cursor: int) -> int:
    """Where the word begins that ends at `cursor`: what a suggestion replaces, up to `cursor`."""
    word = _WORD_AT_END.search(text[:cursor])
    return word.start() if word else cursor


def complete(text: str, cursor: int) -> list[str]:
    """What can replace the word before `cursor`, best first; empty where nothing is known.

    Column names, statuses, operators and, after a number, units.
    """
    start = word_start(text, cursor)
    try:
        before = tokens_of(text[:start])[:-1]
    except QueryError:
        return []
    typed = text[start:cursor].lower()
    offered = dict.fromkeys(_continuations(before))
    return [word for word in offered if word.lower().startswith(typed) and word != typed]


def _continuations(before: Sequence[Token]) -> Sequence[str]:
    if not before or before[-1].text in ("and", "or", "not", "("):
        return _after_opening(before)
    last = before[-1]
    condition = _since_joint(before)
    compared = any(token.text in (*COMPARISONS, "in", "is", "contains") for token in condition)
    if (last.kind == "sign" and last.text in (*COMPARISONS, ",")) or last.text == "in":
        return _values(condition)
    if last.kind == "sign" and last.text in _ARITHMETIC:
        return _CALCULABLE
    if last.text == "is":
        return ("null", "not null")
    if last.kind == "number":
        units = (*DURATION_UNITS, *MULTIPLES)
        return (*_JOINTS, *_ARITHMETIC, *units) if compared else (*COMPARISONS, *units)
    if last.text in ("..", "contains"):
        return ()
    return _JOINTS if compared else _operators(last)


def _after_opening(before: Sequence[Token]) -> Sequence[str]:
    condition = _since_joint(before)
    if any(token.text == "in" for token in condition):
        return _values(condition)
    after_column = len(condition) > 1 and condition[-1].text == "not"
    if after_column and condition[-2].text == "is":
        return ("null",)
    if after_column and condition[-2].kind == "word":
        return ("in", "contains")
    return (*_NAMES, "not")


def _since_joint(before: Sequence[Token]) -> Sequence[Token]:
    joints = [place for place, token in enumerate(before) if token.text in _JOINTS]
    return before[joints[-1] + 1 :] if joints else before


def _values(condition: Sequence[Token]) -> Sequence[str]:
    """What the column at the left can be compared with."""
    columns = [request_column(token.text) for token in condition if token.kind == "word"]
    first = columns[0] if columns else None
    if first is not None and first.kind == "text":
        return STATUSES if first.name == "status" else ()
    return () if any(token.text == "in" for token in condition) else _CALCULABLE


def _operators(last: Token) -> Sequence[str]:
    column = request_column(last.text) if last.kind == "word" else None
    if column is not None and column.kind == "text":
        return _TEXT_OPERATORS
    if column is not None and column.kind == "flag":
        return _JOINTS
    return (*COMPARISONS, *_MEMBERSHIP, *_ARITHMETIC, *_JOINTS)
