"""The rows of the table of requests: filtered and sorted, off the screen's thread."""

from __future__ import annotations

import polars as pl

from workbench.analysis.query import Query
from workbench.errors import SpecError


def rows(frame: pl.DataFrame, query: Query | None, sort: str, descending: bool) -> pl.DataFrame:
    """The rows of `frame` for which `query` is true, by column `sort`; all of them without query.

    Undefined values come last either way, and equal ones in the order of `request_id`.

    Raises:
        SpecError: `frame` lacks `sort` or a column that the query reads.
    """
    needed = {sort} | (query.columns if query is not None else frozenset())
    missing = sorted(needed - set(frame.columns))
    if missing:
        raise SpecError(f"the requests have no column {', '.join(missing)}")
    if query is not None:
        frame = frame.filter(query.expression)
    if not frame["request_id"].is_sorted():
        frame = frame.sort("request_id")
    if sort == "request_id" and not descending:
        return frame
    return frame.sort(sort, descending=descending, nulls_last=True, maintain_order=True)
