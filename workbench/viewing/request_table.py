"""A row for each request that had arrived by a moment: what was known of it then."""

from __future__ import annotations

import numpy as np
import polars as pl

from workbench.analysis.metrics import NS_PER_MS, request_metrics
from workbench.viewing.by_request import ByRequest
from workbench.viewing.growing import Ints
from workbench.viewing.record import RunRecord


def request_table(record: RunRecord, emitted: ByRequest, at_ns: int) -> pl.DataFrame:
    """The columns of `REQUESTS` and of `request_metrics`, `state` and `longest_stall_ms`; by id.

    A request that had not ended has null for what is written at its end; its first token, output
    and stall come from its emissions, its start from its first prefill chunk, and its preemptions
    from the events up to then. That is the same whether the run lives or is replayed.

    Args:
        emitted: what the emissions up to `at_ns` tell of the requests in flight then.
    """
    ended = record.frame("requests")[: record.ends.upto(at_ns)].with_columns(
        state=pl.col("status"),
        longest_stall_ms=_longest_stall_ms(record.by_request, record.ended_ids(at_ns)),
    )
    in_flight = _in_flight(record, emitted, at_ns, ended)
    known = pl.concat([ended, in_flight]) if in_flight.height else ended
    return request_metrics(known.sort("request_id"))


def ids_in_flight(record: RunRecord, at_ns: int) -> Ints:
    """Requests that had arrived and not ended at `at_ns`, by id."""
    arrived = record.arrivals.column("request_id")[: record.arrivals.upto(at_ns)]
    return np.setdiff1d(arrived, record.ended_ids(at_ns), assume_unique=True)


def _in_flight(
    record: RunRecord, emitted: ByRequest, at_ns: int, ended: pl.DataFrame
) -> pl.DataFrame:
    ids = ids_in_flight(record, at_ns)
    arrivals = record.frame("arrivals")[: record.arrivals.upto(at_ns)]
    rows = arrivals.filter(pl.col("request_id").is_in(ids)).sort("request_id")
    ids = rows["request_id"].to_numpy()
    first_ns, tokens = emitted.first_ns(ids), emitted.tokens(ids)
    events = record.frame("events")[: record.rows_upto("events", at_ns)].filter(
        pl.col("request_id").is_in(ids)
    )
    rows = (
        rows.with_columns(
            status=pl.lit(None, pl.String),
            reason=pl.lit(None, pl.String),
            admitted_ns=pl.col("submitted_ns"),
            first_token_ns=_known(first_ns),
            last_token_ns=_known(emitted.last_ns(ids)),
            output_tokens=pl.Series(tokens),
            first_tokens=pl.Series(emitted.first_tokens(ids)),
            longest_stall_ms=_longest_stall_ms(emitted, ids),
        )
        .join(_starts(record, events), on="request_id", how="left", maintain_order="left")
        .join(_preemptions(events), on="request_id", how="left", maintain_order="left")
        .with_columns(pl.col("preemptions").fill_null(0))
    )
    untouched = pl.when(pl.col("preemptions") == 0).then(pl.lit(0))
    running = pl.col("started_ns").is_not_null() | pl.col("first_token_ns").is_not_null()
    rows = rows.with_columns(
        prefilled_ns=pl.col("first_token_ns"),
        recomputed_tokens=untouched,
        recompute_ns=untouched,
        ttft_recompute_ns=untouched,
        state=pl.when(running & ~pl.col("thrown_out").fill_null(False))
        .then(pl.lit("running"))
        .otherwise(pl.lit("waiting")),
    )
    return rows.select(
        (pl.col(name) if name in rows.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in ended.schema.items()
    )


def _starts(record: RunRecord, events: pl.DataFrame) -> pl.DataFrame:
    """`started_ns`: the start of the step with a request's first prefill chunk."""
    first = (
        events.filter(pl.col("kind") == "prefill").group_by("request_id").agg(pl.col("step").min())
    )
    steps = record.frame("steps").select("step", started_ns="start_ns")
    return first.join(steps, on="step", how="left").select("request_id", "started_ns")


def _preemptions(events: pl.DataFrame) -> pl.DataFrame:
    """`preemptions`, and whether a request was `thrown_out` and not taken in again."""
    preempt = pl.col("kind") == "preempt"
    taken_in = pl.col("time_ns").filter(pl.col("kind") == "prefill").max()
    return events.group_by("request_id").agg(
        preemptions=preempt.sum(),
        thrown_out=pl.col("time_ns").filter(preempt).max() > taken_in,
    )


def _longest_stall_ms(emitted: ByRequest, ids: Ints) -> pl.Series:
    return _known(emitted.longest_gap_ns(ids)) / NS_PER_MS


def _known(values: Ints) -> pl.Series:
    """-1 becomes null."""
    series = pl.Series(values, dtype=pl.Int64)
    return series.set(series < 0, None)
