"""The metrics that come first where there is room for a few."""

from __future__ import annotations

from workbench.comparison.comparison import Comparison, Row

HEADLINES = (
    "ttft_p50",
    "ttft_p99",
    "tpot_p50",
    "tpot_p99",
    "itl_p99",
    "e2e_p50",
    "e2e_p99",
    "output_throughput",
    "request_throughput",
    "goodput",
    "attainment",
)


def headline_rows(comparison: Comparison) -> tuple[Row, ...]:
    """The rows of the headline metrics that the comparison has, in their order."""
    rows = (comparison.row(name) for name in HEADLINES)
    return tuple(row for row in rows if row is not None)
