"""AIPerf's metrics of single requests, by its definitions, from a run's stamps."""

from __future__ import annotations

import polars as pl

GAPS = "inter_chunk_latency"
ERROR_ISL = "error_isl"

RECORD_METRICS = {
    "time_to_first_token": "ms",
    "time_to_second_token": "ms",
    "request_latency": "ms",
    "decode_duration": "ms",
    "inter_token_latency": "ms",
    GAPS: "ms",
    "output_token_throughput_per_user": "tokens/sec/user",
    "e2e_output_token_throughput": "tokens/sec/user",
    "prefill_throughput_per_user": "tokens/sec/user",
    "input_sequence_length": "tokens",
    "output_sequence_length": "tokens",
}
"""The metrics of a request that ended ok, and their units, by AIPerf's tags."""

_KEPT = (
    "request_id", "status", "reason", "phase", "scheduled_ns", "last_token_ns", "session_id",
    "turn",
)  # fmt: skip


def record_metrics(requests: pl.DataFrame, emissions: pl.DataFrame) -> pl.DataFrame:
    """A row for each request: `start_ns`, `end_ns` and a column for each of `RECORD_METRICS`, null
    where it is undefined; `error_isl` of those that did not end ok.

    A request begins at `admitted_ns`, when it was sent. Its inter-token latency is
    (request latency - TTFT) / (output tokens - tokens of the first emission), or / (output tokens
    - 1) where the first emission held all of them; of a single token it is undefined.

    Args:
        emissions: those of these requests, grouped by request, oldest first.
    """
    ok = pl.col("status") == "ok"
    begun = pl.col("admitted_ns")
    latency_ns = pl.when(ok).then(pl.col("last_token_ns") - begun)
    ttft_ns = pl.when(ok).then(pl.col("first_token_ns") - begun)
    osl, isl = (pl.when(ok).then(pl.col(name)) for name in ("output_tokens", "prompt_tokens"))
    later = osl - pl.col("first_tokens")
    decode_tokens = pl.when((pl.col("first_tokens") > 0) & (later > 0)).then(later)
    itl_ns = pl.when(osl >= 2).then((latency_ns - ttft_ns) / pl.coalesce(decode_tokens, osl - 1))
    return (
        requests.join(_gaps_ms(emissions), on="request_id", how="left", maintain_order="left")
        .with_columns(pl.when(ok).then(pl.col(GAPS)).alias(GAPS))
        .select(
            *_KEPT,
            pl.coalesce(begun, "scheduled_ns").alias("start_ns"),
            pl.coalesce("finished_ns", "last_token_ns", begun, "scheduled_ns").alias("end_ns"),
            (ttft_ns / 1e6).alias("time_to_first_token"),
            pl.col(GAPS).list.first().alias("time_to_second_token"),
            (latency_ns / 1e6).alias("request_latency"),
            ((latency_ns - ttft_ns) / 1e6).alias("decode_duration"),
            (itl_ns / 1e6).alias("inter_token_latency"),
            GAPS,
            _per_second(1, itl_ns).alias("output_token_throughput_per_user"),
            _per_second(osl, latency_ns).alias("e2e_output_token_throughput"),
            _per_second(isl, ttft_ns).alias("prefill_throughput_per_user"),
            isl.alias("input_sequence_length"),
            osl.alias("output_sequence_length"),
            pl.when(~ok).then(pl.col("prompt_tokens")).alias(ERROR_ISL),
        )
    )


def _gaps_ms(emissions: pl.DataFrame) -> pl.DataFrame:
    """By request, the gaps between its emissions, ms, as a list."""
    return emissions.group_by("request_id", maintain_order=True).agg(
        (pl.col("time_ns").diff().slice(1) / 1e6).alias(GAPS)
    )


def _per_second(amount: pl.Expr | int, time_ns: pl.Expr) -> pl.Expr:
    return pl.when(time_ns > 0).then(amount * 1e9 / time_ns)
