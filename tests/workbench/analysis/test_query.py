"""The filter's language: what rows it keeps, what it says of mistakes, what it suggests."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.analysis.query import MAX_TOKENS, parse_query
from workbench.analysis.query_columns import DURATION_UNITS, REQUEST_COLUMNS, STATUSES
from workbench.analysis.query_completion import complete, word_start
from workbench.analysis.query_tokens import QueryError
from workbench.errors import SpecError

_TYPES = {
    "duration": pl.Float64(), "rate": pl.Float64(), "number": pl.Int64(), "time": pl.Int64(),
    "text": pl.String(), "flag": pl.Boolean(),
}  # fmt: skip
SCHEMA = {column.frame: _TYPES[column.kind] for column in REQUEST_COLUMNS}

ROWS: list[dict[str, Any]] = [
    {"request_id": 0, "ttft_ms": 400.0, "output_tokens": 300, "status": "ok", "reason": "",
     "fitted": False, "queue_ms": 10.0, "e2e_ms": 6000.0, "scheduled_ns": 0, "started_ns": 10**9},
    {"request_id": 1, "ttft_ms": 900.0, "output_tokens": 150, "status": "ok", "reason": "",
     "fitted": True, "queue_ms": 700.0, "tpot_ms": 20.0, "e2e_ms": 3000.0, "output_speed": 50.0,
     "scheduled_ns": 5 * 10**9, "started_ns": 12 * 10**9},
    {"request_id": 2, "ttft_ms": 501.0, "output_tokens": 201, "status": "failed",
     "reason": "no kv blocks left", "session_id": 12, "queue_ms": 100.0, "fitted": False},
    {"request_id": 3, "status": "unfinished", "reason": "Interrupted", "output_tokens": 0},
]  # fmt: skip
FRAME = pl.DataFrame(
    [{name: row.get(name) for name in SCHEMA} for row in ROWS], schema=SCHEMA, orient="row"
)


def kept(text: str, frame: pl.DataFrame = FRAME) -> list[int]:
    return frame.filter(parse_query(text).expression)["request_id"].to_list()


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("ttft > 500ms and tokens > 200", [2]),
        ("ttft > 0.5 s", [1, 2]),
        ("TTFT > 500 AND status = OK", [1]),
        ("ttft_ms > 500 and output_tokens < 0.2k", [1]),
        ("status != ok or ttft >= 15e-3m", [1, 2, 3]),
        ("not (ttft > 500)", [0]),
        ("not ttft > 500 or ttft is null", [0, 3]),
        ("ttft is not null", [0, 1, 2]),
        ("queue > 0.3 * ttft", [1]),
        ("(queue + 100) * 2 >= ttft and id < 2", [1]),
        ("ttft / queue = 40", [0]),
        ("ttft / (queue - 10) > 0", [1, 2]),
        ("-ttft > -500", [0]),
        ("id in 0, 2..3", [0, 2, 3]),
        ("id not in (0, 2..3)", [1]),
        ("ttft in 400..501ms", [0, 2]),
        ("status in ok, unfinished and id > 0", [1, 3]),
        ('status not in (ok, "failed")', [3]),
        ('reason contains "KV"', [2]),
        ("reason not contains kv", [0, 1, 3]),
        ("reason = 'interrupted'", [3]),
        ("session = 12", [2]),
        ("session = 12 or session is null", [0, 1, 2, 3]),
        ("tpot is null", [0, 2, 3]),
        ("fitted", [1]),
        ("not fitted", [0, 2]),
        ("fitted is null or (fitted and id = 1)", [1, 3]),
        ("arrival > 4", [1]),
        ("arrival > 4000ms", [1]),
        ("started - arrival > 1500", [1]),
        ("started > arrival + 1s", [1]),
        ("speed >= 50", [1]),
        ("tokens / e2e = 50", [0, 1]),
        ("ttft > 2ms * tokens", [1, 2]),
    ],
)
def test_rows_that_a_query_keeps(text: str, ids: list[int]) -> None:
    assert kept(text) == ids


def test_a_query_names_the_columns_it_reads() -> None:
    query = parse_query("stall > 3 * tpot or status = failed")
    assert query.columns == {"longest_stall_ms", "tpot_ms", "status"}
    assert query.text == "stall > 3 * tpot or status = failed"


@pytest.mark.parametrize(
    ("text", "position", "said"),
    [
        ("tft > 500", 0, "unknown column 'tft'; did you mean 'ttft'?"),
        ("zzz > 500", 0, "ttft, engine_ttft"),
        ("ttft > 5 parsecs", 9, "unknown unit 'parsecs'; known are ns, us"),
        ("status = okk", 9, "did you mean 'ok'? it is one of ok, failed"),
        ("status > ok", 7, "status is text: =, !=, in, contains or is null"),
        ("reason + 1 > 2", 0, "reason is no number"),
        ("ttft contains 5", 0, "contains asks a text"),
        ("ttft", 0, "a number is no condition"),
        ("fitted = 1", 0, "a condition stands by itself"),
        ("ttft > tokens", 5, "compares a duration and a count"),
        ("ttft * e2e > 3", 5, "no unit that a column has"),
        ("tokens / 0 > 3", 7, "divides by zero"),
        ("3 > 2", 2, "name a column"),
        ("ttft > 1e999", 7, "too large"),
        ("1 < ttft < 2", 9, "join two with and"),
        ("ttft > 5 tokens > 3", 9, "unknown unit 'tokens'"),
        ("(ttft > 5", 9, "expected )"),
        ("ttft > 5 and", 12, "at the end"),
        ("ttft > 5 && id = 3", 9, "write and"),
        ("reason = 'x", 9, "no closing '"),
        ("id in 3,", 8, "expected a number"),
        ("id in (3", 8, "expected , or )"),
        ("ttft is 3", 8, "null or not null"),
        ("ttft > 5) or id = 1", 8, "expected and, or, or the end"),
        ("  ", 0, "no condition"),
        ("not " * 40 + "fitted", 124, "nested more than"),
        ("(" * 40, 31, "nested more than"),
        ("fitted or " * MAX_TOKENS, None, "longer than"),
    ],
)
def test_mistakes_are_told_with_their_place(text: str, position: int | None, said: str) -> None:
    with pytest.raises(QueryError) as told:
        parse_query(text)
    assert said in told.value.reason
    if position is not None:
        assert told.value.position == position
        assert str(told.value).splitlines()[-1].index("^") == position + 2


# --- Against a plain evaluation: every tree is printed, parsed, and compared row by row.

Number = float | None
Row = dict[str, Any]
Arithmetic = tuple[str, Callable[[Row], Number], bool]
"""As text, as a function of a row, and whether a column is in it."""
Condition = tuple[str, Callable[[Row], bool | None]]

_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
}  # fmt: skip
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "=": operator.eq, "!=": operator.ne, ">": operator.gt, ">=": operator.ge, "<": operator.lt,
    "<=": operator.le,
}  # fmt: skip
_COUNTS = {"tokens": "output_tokens", "cached": "cached_tokens", "turn": "turn"}
_TIMES = {"ttft": "ttft_ms", "queue": "queue_ms", "stall": "longest_stall_ms"}


def _column(name: str, frame: str) -> Arithmetic:
    return name, lambda row: None if row[frame] is None else float(row[frame]), True


def _calculated(sign: str, left: Arithmetic, right: Arithmetic) -> Arithmetic:
    def value(row: Row) -> Number:
        a, b = left[1](row), right[1](row)
        if a is None or b is None or (sign == "/" and b == 0):
            return None
        return _ARITHMETIC[sign](a, b)

    return f"({left[0]} {sign} {right[0]})", value, left[2] or right[2]


def _compared(sign: str, left: Arithmetic, right: Arithmetic) -> Condition:
    def holds(row: Row) -> bool | None:
        a, b = left[1](row), right[1](row)
        if a is None or b is None or not (math.isfinite(a) and math.isfinite(b)):
            return None
        return _COMPARE[sign](a, b)

    return f"{left[0]} {sign} {right[0]}", holds


def _literals(suffix: str) -> st.SearchStrategy[Arithmetic]:
    return st.integers(0, 50).map(lambda n: (f"{n}{suffix}", lambda row: float(n), False))


def _numbers(columns: dict[str, str], suffix: str) -> st.SearchStrategy[Arithmetic]:
    """Sums of columns of one unit, with factors and divisors that have none."""
    leaf = st.sampled_from([_column(*item) for item in columns.items()])
    bare = st.integers(1, 9).map(lambda n: (str(n), lambda row: float(n), False))
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.builds(_calculated, st.sampled_from("+-"), inner, inner | _literals(suffix)),
            st.builds(_calculated, st.sampled_from("*/"), inner, bare),
        ),
        max_leaves=4,
    )


def _comparisons(columns: dict[str, str], suffix: str) -> st.SearchStrategy[Condition]:
    numbers = _numbers(columns, suffix)
    return st.builds(
        _compared, st.sampled_from(list(_COMPARE)), numbers, numbers | _literals(suffix)
    )


def _ratios() -> st.SearchStrategy[Condition]:
    times = _numbers(_TIMES, "ms")
    ratio = st.builds(_calculated, st.just("/"), times, times)
    return st.builds(_compared, st.sampled_from(list(_COMPARE)), ratio, _literals(""))


def _null_test(column: tuple[str, str], negated: bool) -> Condition:
    name, frame = column
    text = f"{name} is not null" if negated else f"{name} is null"
    return text, lambda row: (row[frame] is not None) == negated


def _in_list(name: str, frame: str, low: int, size: int, other: int) -> Condition:
    def holds(row: Row) -> bool | None:
        value = row[frame]
        return None if value is None else low <= value <= low + size or value == other

    return f"{name} in {low}..{low + size}, {other}", holds


def _not(inner: Condition) -> Condition:
    def holds(row: Row) -> bool | None:
        value = inner[1](row)
        return None if value is None else not value

    return f"not ({inner[0]})", holds


def _joined(word: str, left: Condition, right: Condition) -> Condition:
    decisive = word == "or"

    def holds(row: Row) -> bool | None:
        values = (left[1](row), right[1](row))
        if decisive in values:
            return decisive
        return None if None in values else not decisive

    return f"({left[0]}) {word} ({right[0]})", holds


_STATUS_TEST = st.builds(
    lambda status, differs: (
        f"status {'!=' if differs else '='} {status}",
        lambda row: None if row["status"] is None else (row["status"] != status) == differs,
    ),
    st.sampled_from(STATUSES),
    st.booleans(),
)
_FLAG: Condition = ("fitted", lambda row: row["fitted"])
_LEAVES = st.one_of(
    _comparisons(_COUNTS, ""),
    _comparisons(_TIMES, "ms"),
    _comparisons(_TIMES, ""),
    _ratios(),
    st.builds(_null_test, st.sampled_from([*_COUNTS.items(), *_TIMES.items()]), st.booleans()),
    st.builds(
        lambda column, *rest: _in_list(*column, *rest),
        st.sampled_from(list(_COUNTS.items())),
        st.integers(0, 20),
        st.integers(0, 9),
        st.integers(0, 30),
    ),
    _STATUS_TEST,
    st.just(_FLAG),
)
_CONDITIONS = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.builds(_not, inner), st.builds(_joined, st.sampled_from(["and", "or"]), inner, inner)
    ),
    max_leaves=5,
)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    **{frame: st.none() | st.integers(0, 30) for frame in _COUNTS.values()},
    **{
        frame: st.none() | st.integers(0, 60).map(float) | st.floats(0, 99)
        for frame in _TIMES.values()
    },
    "status": st.none() | st.sampled_from(STATUSES),
    "fitted": st.none() | st.booleans(),
}


@settings(max_examples=300, deadline=None)
@given(_CONDITIONS, st.lists(st.fixed_dictionaries(_VALUES), min_size=1, max_size=8))
def test_the_same_rows_as_a_plain_evaluation(condition: Condition, rows: list[Row]) -> None:
    text, holds = condition
    frame = pl.DataFrame(
        [{"request_id": place, **row} for place, row in enumerate(rows)],
        schema={name: SCHEMA[name] for name in ("request_id", *_VALUES)},
    )
    assert kept(text, frame) == [place for place, row in enumerate(rows) if holds(row) is True]


@pytest.mark.parametrize("unit", DURATION_UNITS)
def test_a_value_is_equal_to_itself_in_every_unit(unit: str) -> None:
    amount = 3 if DURATION_UNITS[unit] >= 1 else 4096
    value_ns = amount * round(DURATION_UNITS[unit] * 1_000_000)
    frame = pl.DataFrame({"request_id": [0], "ttft_ms": [value_ns / 1_000_000]})
    assert kept(f"ttft = {amount}{unit}", frame) == [0]


_PIECES = st.sampled_from(
    [*(column.name for column in REQUEST_COLUMNS), *"=<>()+-*/,", "and", "or", "not", "in", "is",
     "null", "contains", "..", "!=", "5", "0", "3ms", "2k", "ok", "'x'", "1e308", '"']
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(_PIECES, max_size=14).map(" ".join)))
def test_garbage_is_refused_with_one_kind_of_error(text: str) -> None:
    try:
        query = parse_query(text)
    except SpecError as told:
        assert str(told)
    else:
        assert FRAME.filter(query.expression).height <= FRAME.height
    for cursor in range(len(text) + 1):
        complete(text, cursor)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("tt", ["ttft"]),
        ("ttft > 500ms and to", ["tokens"]),
        ("status = ", list(STATUSES)),
        ("status in ok, f", ["failed"]),
        ("id in ", []),
        ("reason con", ["contains"]),
        ("reason contains ", []),
        ("tpot is ", ["null", "not null"]),
        ("tpot is not ", ["null"]),
        ("fitted ", ["and", "or"]),
        ("ttft > 500 a", ["and"]),
        ("ttft > 500m", ["ms", "min", "M"]),
        ("(queue > 1 o", ["or"]),
        ("reason not ", ["in", "contains"]),
        ("reason = 'open", []),
    ],
)
def test_suggestions(typed: str, expected: list[str]) -> None:
    assert complete(typed, len(typed)) == expected


def test_suggestions_by_place() -> None:
    assert {"ttft", "status", "not"} <= set(complete("", 0))
    assert {">", "<=", "is null", "+"} <= set(complete("ttft ", 5))
    assert {"queue", "e2e"} <= set(complete("ttft > ", 7)) and "status" not in complete("ttft >", 6)
    assert complete("sta > 5", 3) == ["stall", "status", "started"]
    assert word_start("ttft > 5 and to", 15) == 13
