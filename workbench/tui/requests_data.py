"""What the table of requests shows, made in the loader thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.analysis.quantities import milliseconds
from workbench.tui.request_columns import frame_columns
from workbench.tui.widgets.frame_source import FrameSource

if TYPE_CHECKING:
    import polars as pl

    from workbench.viewing.view import RunView


@dataclass(frozen=True, slots=True)
class RequestsQuestion:
    """Which requests, as of which moment (None: the newest stamp), and in which order; `filter`
    is a query, "" for all."""

    at_ns: int | None
    filter: str
    sort: str
    descending: bool


@dataclass(frozen=True, slots=True, eq=False)
class RequestsData:
    """The rows; `order` is their ids, `figures` what their times are, in words."""

    source: FrameSource
    frame: pl.DataFrame
    order: tuple[int, ...]
    total: int
    figures: tuple[str, ...]


def requests_data(view: RunView, question: RequestsQuestion) -> RequestsData:
    """The answer to `question`.

    Raises:
        SpecError: the filter is none.
    """
    from workbench.analysis.query import parse_query
    from workbench.viewing.reading import limits_of
    from workbench.viewing.request_rows import rows

    everything = view.requests(view.end_ns if question.at_ns is None else question.at_ns)
    query = parse_query(question.filter) if question.filter else None
    found = rows(everything, query, question.sort, question.descending)
    columns = frame_columns(limits_of(view.content))
    return RequestsData(
        FrameSource(found, columns, "request_id"),
        found,
        tuple(found["request_id"].to_list()),
        everything.height,
        _figures(found),
    )


def _figures(found: pl.DataFrame) -> tuple[str, ...]:
    """ "TTFT p50 310 ms, p99 1,904 ms", "TPOT …" of those that are shown."""
    from workbench.analysis.statistics import distribution

    parts = []
    for name, title in (("ttft_ms", "TTFT"), ("tpot_ms", "TPOT"), ("e2e_ms", "E2E")):
        spread = distribution(found[name].drop_nulls().to_numpy())
        if spread.n:
            weak = "*" if spread.weak else ""
            p50, p99 = milliseconds(spread.p50), milliseconds(spread.p99)
            parts.append(f"{title} p50 {p50}, p99 {p99}{weak}")
    return tuple(parts)


def request_text(row: dict[str, object]) -> str:
    """A request's row as lines of name and value; what is undefined is a dash."""
    lines = [f"{name}\t{'–' if value is None else value}" for name, value in row.items()]
    return "\n".join(lines) + "\n"
