"""Per-request metrics and the gaps between tokens: from recorded stamps to milliseconds.

The definitions hold everywhere in this program. Stamps are nanoseconds since the run's start;
arithmetic stays in integer nanoseconds and is divided into milliseconds at the very end.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

NS_PER_MS = 1_000_000

STAGES = ("wait", "queue", "prefill", "transfer", "first_decode", "recompute")
"""The stages of TTFT, in the order in which they pass; `recompute` is told apart."""

PER_REQUEST = (
    "ttft_ms",
    "engine_ttft_ms",
    *(f"{stage}_ms" for stage in STAGES),
    "tpot_ms",
    "e2e_ms",
    "output_speed",
)
"""The columns that `request_metrics` adds."""


@dataclass(frozen=True, slots=True)
class Window:
    """The measured window: from the end of warm-up to the last scheduled arrival, both included.

    A request belongs to it if its `scheduled_ns` does. Nanoseconds since the run's start.
    """

    start_ns: int
    end_ns: int

    @property
    def length_s(self) -> float:
        """Its length in seconds; 0 where it is empty."""
        return max(0, self.end_ns - self.start_ns) / 1e9

    def holds(self, column: str) -> pl.Expr:
        """Whether the stamps in `column` lie inside; null where they are null."""
        return pl.col(column).is_between(self.start_ns, self.end_ns, closed="both")


def _stage_ns() -> dict[str, pl.Expr]:
    """Every stage in integer ns; null where the request did not get through it."""
    stamp = {
        name: pl.col(f"{name}_ns")
        for name in ("scheduled", "admitted", "started", "prefilled", "transferred", "first_token")
    }
    lost = pl.when(stamp["prefilled"].is_not_null()).then(pl.col("ttft_recompute_ns"))
    return {
        "wait": stamp["admitted"] - stamp["scheduled"],
        "queue": stamp["started"] - stamp["admitted"],
        "prefill": stamp["prefilled"] - stamp["started"] - lost,
        "transfer": stamp["transferred"] - stamp["prefilled"],
        "first_decode": stamp["first_token"]
        - pl.coalesce(stamp["transferred"], stamp["prefilled"]),
        "recompute": lost,
    }


def request_metrics(requests: pl.DataFrame) -> pl.DataFrame:
    """`requests` with a column for each metric of a request; null where it is undefined, never 0.

    - `ttft_ms`: TTFT, ms: first_token - scheduled. From the intended arrival: a slow engine can't
      hide its queue (coordinated omission; wrk2). `engine_ttft_ms`: first_token - admitted.
    - TTFT's stages, ms: `wait_ms` (scheduled→admitted), `queue_ms` (admitted→started),
      `prefill_ms` (started→prefilled), `transfer_ms` (prefilled→transferred; null where nothing
      is transferred), `first_decode_ms` (→first_token). Time lost to preemption before the first
      token is told apart from prefill as `recompute_ms`. They sum to TTFT exactly.
    - `tpot_ms`: TPOT, ms: (last_token - first_token) / (n_out - n_first), n_first = tokens in the
      first emission. Undefined, and null, where n_out = n_first. A request that was cut short
      keeps the TPOT of the tokens that it got.
    - `e2e_ms`: E2E, ms: last_token - scheduled, of requests that ended ok; one that was cut short
      never had its last token.
    - `output_speed`: tok/s/user: 1000 / TPOT.
    """
    ttft = pl.col("first_token_ns") - pl.col("scheduled_ns")
    engine_ttft = pl.col("first_token_ns") - pl.col("admitted_ns")
    decoding = pl.col("last_token_ns") - pl.col("first_token_ns")
    later_tokens = pl.col("output_tokens") - pl.col("first_tokens")
    tpot = pl.when((later_tokens > 0) & (decoding > 0)).then(decoding / later_tokens) / NS_PER_MS
    e2e = pl.when(pl.col("status") == "ok").then(pl.col("last_token_ns") - pl.col("scheduled_ns"))
    return requests.with_columns(
        (ttft / NS_PER_MS).alias("ttft_ms"),
        (engine_ttft / NS_PER_MS).alias("engine_ttft_ms"),
        *((stage / NS_PER_MS).alias(f"{name}_ms") for name, stage in _stage_ns().items()),
        tpot.alias("tpot_ms"),
        (e2e / NS_PER_MS).alias("e2e_ms"),
        (1000 / tpot).alias("output_speed"),
    )


def stage_sum_errors(requests: pl.DataFrame, stages_told: bool = True) -> int:
    """How many requests with a first token have stages that do not sum to TTFT in integer ns.

    A stage of negative length is an error, too, and so is a missing one of a request that ended
    ok, but for `transfer` where nothing was transferred. The stages of a request whose run was
    killed may be missing: they are written when it ends. So may all those of a remote server,
    which tells little of what it does (`stages_told` False). Must be 0.
    """
    stages = _stage_ns()
    stages["transfer"] = stages["transfer"].fill_null(0)
    ttft = pl.col("first_token_ns") - pl.col("scheduled_ns")
    agrees = pl.sum_horizontal(stages.values(), ignore_nulls=False) == ttft
    forward = pl.min_horizontal(stages.values()) >= 0
    untold = pl.col("status") != "ok" if stages_told else pl.lit(True)
    right = (agrees & forward).fill_null(untold)
    has_first = pl.col("first_token_ns").is_not_null()
    return requests.select((has_first & ~right).sum()).item() or 0


def emission_gaps(emissions: pl.DataFrame) -> pl.DataFrame:
    """Gaps between consecutive emissions of the same request, grouped by request, oldest first.

    Columns, all int64: `request_id`; `time_ns` and `tokens` of the later emission; `gap_ns`.
    """
    emissions = emissions.select("request_id", "time_ns", pl.col("tokens").cast(pl.Int64))
    if not emissions["time_ns"].is_sorted():
        emissions = emissions.sort("time_ns", maintain_order=True)
    same_request = pl.col("request_id") == pl.col("request_id").shift(1)
    return (
        emissions.sort("request_id", maintain_order=True)
        .with_columns(gap_ns=pl.col("time_ns").diff(), same_request=same_request)
        .filter("same_request")
        .drop("same_request")
    )


def inter_token_latencies(emissions: pl.DataFrame) -> pl.DataFrame:
    """One row per gap between consecutive emissions of the same request.

    Columns: `request_id`; `time_ns` and `tokens` of the later emission; `itl_ms`: ITL, ms, the
    gap between consecutive emissions, pooled over all requests: what a reader sees stall;
    `itl_per_token_ms`: gap ÷ tokens in the later emission, for speculation.
    """
    itl_ms = pl.col("gap_ns") / NS_PER_MS
    return emission_gaps(emissions).select(
        "request_id",
        "time_ns",
        "tokens",
        itl_ms=itl_ms,
        itl_per_token_ms=itl_ms / pl.col("tokens"),
    )
