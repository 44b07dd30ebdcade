"""The order and the choice of the rows of requests."""

from __future__ import annotations

import polars as pl
import pytest

from workbench.analysis.query import parse_query
from workbench.errors import SpecError
from workbench.viewing.request_rows import rows

FRAME = pl.DataFrame(
    {
        "request_id": [3, 0, 2, 1, 4],
        "ttft_ms": [7.0, None, 5.0, 7.0, 1.0],
        "status": ["ok", "failed", "ok", "ok", "ok"],
    }
)


def ids(frame: pl.DataFrame) -> list[int]:
    return frame["request_id"].to_list()


def test_undefined_values_come_last_and_equal_ones_by_id() -> None:
    assert ids(rows(FRAME, None, "ttft_ms", descending=False)) == [4, 2, 1, 3, 0]
    assert ids(rows(FRAME, None, "ttft_ms", descending=True)) == [1, 3, 2, 4, 0]
    assert ids(rows(FRAME, None, "status", descending=False)) == [0, 1, 2, 3, 4]
    assert ids(rows(FRAME, None, "request_id", descending=False)) == [0, 1, 2, 3, 4]
    assert ids(rows(FRAME, None, "request_id", descending=True)) == [4, 3, 2, 1, 0]


def test_only_rows_of_which_the_query_is_true() -> None:
    assert ids(rows(FRAME, parse_query("ttft > 4"), "request_id", descending=False)) == [1, 2, 3]
    assert ids(rows(FRAME, parse_query("not ttft > 4"), "request_id", descending=False)) == [4]
    assert ids(rows(FRAME, parse_query("ttft > 99"), "ttft_ms", descending=True)) == []


def test_a_column_that_the_frame_lacks_is_told() -> None:
    with pytest.raises(SpecError, match="no column tpot_ms"):
        rows(FRAME, parse_query("tpot > 4"), "ttft_ms", descending=False)
    with pytest.raises(SpecError, match="no column e2e_ms"):
        rows(FRAME, None, "e2e_ms", descending=False)
