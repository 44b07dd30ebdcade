"""GuideLLM's record of single requests, by its definitions, from a run's stamps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from workbench.exporting.guidellm_distributions import STATUSES

_STATUS = {
    "ok": "successful",
    "failed": "errored",
    "rejected": "errored",
    "cancelled": "incomplete",
    "unfinished": "incomplete",
}
_INFO_STATUS = dict(zip(STATUSES, ("completed", "cancelled", "errored"), strict=True))

METRICS = (
    "request_latency", "request_dispatch_delay", "request_scheduled_latency",
    "time_to_first_token_ms", "time_to_first_output_token_ms", "time_per_output_token_ms",
    "inter_token_latency_ms", "tokens_per_second", "output_tokens_per_second",
    "iter_tokens_per_iteration", "output_tokens_per_iteration",
)  # fmt: skip
"""GuideLLM's metrics of a request that `request_stats` computes; seconds where no unit is named."""


def request_stats(requests: pl.DataFrame, iterations: pl.DataFrame, remote: bool) -> pl.DataFrame:
    """`requests` with what GuideLLM computes of each: `group` (one of `STATUSES`), `start_ns`,
    `end_ns`, `iterations`, `request_iterations`, `total_tokens` and `METRICS`, null where one is
    undefined.

    A request begins at `admitted_ns`, when it was sent, and ends at `finished_ns`.

    Args:
        iterations: `request_id` and `iterations`, how many emissions each request had.
        remote: they went to a server: its pieces without text were not counted, nor its reasoning
            told apart, so that `request_iterations` and the time to first output are null.
    """
    begun, ended = pl.col("admitted_ns"), pl.col("finished_ns")
    first, last = pl.col("first_token_ns"), pl.col("last_token_ns")
    output, total = pl.col("output_tokens"), pl.col("prompt_tokens") + pl.col("output_tokens")
    latency_ns = ended - begun
    ttft_ms = (first - begun) / 1e6
    per_output_ns = pl.when(output > 0).then((pl.coalesce(last, ended) - begun) / output)
    itl_ns = pl.when(output > 1).then((last - first) / (output - 1))
    pieces = pl.col("iterations")
    return (
        requests.join(iterations, on="request_id", how="left", maintain_order="left")
        .with_columns(pl.col("iterations").fill_null(0))
        .with_columns(
            pl.col("status").replace_strict(_STATUS, default="errored").alias("group"),
            pl.coalesce(begun, "scheduled_ns").alias("start_ns"),
            pl.coalesce(ended, last, begun, "scheduled_ns").alias("end_ns"),
            total.alias("total_tokens"),
            (latency_ns / 1e9).alias("request_latency"),
            ((begun - pl.col("scheduled_ns")) / 1e9).alias("request_dispatch_delay"),
            ((ended - pl.col("scheduled_ns")) / 1e9).alias("request_scheduled_latency"),
            ttft_ms.alias("time_to_first_token_ms"),
            (pl.lit(None) if remote else ttft_ms)
            .cast(pl.Float64)
            .alias("time_to_first_output_token_ms"),
            (pl.lit(None) if remote else pieces).cast(pl.Int64).alias("request_iterations"),
            (per_output_ns / 1e6).alias("time_per_output_token_ms"),
            (itl_ns / 1e6).alias("inter_token_latency_ms"),
            pl.when(latency_ns > 0).then(total * 1e9 / latency_ns).alias("tokens_per_second"),
            pl.when(latency_ns > 0)
            .then(output * 1e9 / latency_ns)
            .alias("output_tokens_per_second"),
            pl.when((output > 1) & (pieces > 1))
            .then((output - 1) / (pieces - 1))
            .alias("iter_tokens_per_iteration"),
            pl.when((output > 0) & (pieces > 0))
            .then(output / pieces)
            .alias("output_tokens_per_iteration"),
        )
    )


def request_line(row: Mapping[str, Any], zero_ns: int) -> dict[str, Any]:
    """One request as GuideLLM's `GenerativeRequestStats`; stamps are Unix time, s.

    Args:
        row: of `request_stats`. zero_ns: the Unix time of the run's start.
    """

    def unix_s(name: str) -> float | None:
        return None if row[name] is None else (zero_ns + row[name]) / 1e9

    session, errored = row["session_id"], row["group"] == "errored"
    timings = {
        "targeted_start": unix_s("scheduled_ns"),
        "resolve_start": unix_s("start_ns"),
        "request_start": unix_s("admitted_ns"),
        "first_token_iteration": unix_s("first_token_ns"),
        "first_output_token_iteration": None
        if row["time_to_first_output_token_ms"] is None
        else unix_s("first_token_ns"),
        "last_token_iteration": unix_s("last_token_ns"),
        "request_iterations": row["request_iterations"] or 0,
        "token_iterations": row["iterations"],
        "request_end": unix_s("finished_ns"),
        "resolve_end": unix_s("end_ns"),
    }
    info = {
        "request_id": str(row["request_id"]),
        "conversation_id": None if session is None else str(session),
        "turn_index": row["turn"] or 0,
        "preceding_nodes": row["turn"] or 0,
        "status": _INFO_STATUS[row["group"]],
        "timings": timings,
        "error": (row["reason"] or row["status"]) if errored else None,
        "started_at": timings["resolve_start"],
        "completed_at": timings["resolve_end"],
    }
    prompt = {"text_tokens": row["prompt_tokens"], "cached_tokens": row["cached_tokens"]}
    return {
        "type_": "generative_request_stats",
        "request_id": str(row["request_id"]),
        "info": info,
        "input_metrics": prompt | {"total_tokens": row["prompt_tokens"]},
        "output_metrics": {
            "text_tokens": row["output_tokens"],
            "total_tokens": row["output_tokens"],
        },
        "request_start_time": timings["resolve_start"],
        "request_end_time": timings["resolve_end"],
        "prompt_tokens": row["prompt_tokens"],
        "cached_tokens": row["cached_tokens"],
        "output_tokens": row["output_tokens"],
        "total_tokens": row["total_tokens"],
        **{name: row[name] for name in METRICS},
    }
