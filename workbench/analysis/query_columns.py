"""The columns of requests that a query can name: their names, what they mean, and their units.

Inside a query every time is in milliseconds and every rate per millisecond, so that durations,
instants and rates can be calculated with; a bare number takes the unit of what it meets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import polars as pl

Kind = Literal["duration", "time", "rate", "number", "text", "flag"]

STATUSES = ("ok", "failed", "cancelled", "rejected", "unfinished")
"""What `status` can be."""

DURATION_UNITS = {
    "ns": 1e-6, "us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3, "min": 60e3, "h": 3600e3,
}  # fmt: skip
"""Milliseconds in each unit of a duration."""

MULTIPLES = {"k": 1_000.0, "M": 1_000_000.0}
"""What each sign after a count multiplies it by."""


@dataclass(frozen=True, slots=True)
class RequestColumn:
    """A column that a query can name: `frame` is what it is called in the frame of requests."""

    name: str
    frame: str
    kind: Kind
    meaning: str

    def expression(self) -> pl.Expr:
        """The column in the units of a query: ms, per ms, or as it is."""
        column = pl.col(self.frame)
        if self.kind in ("text", "flag"):
            return column
        number = column.cast(pl.Float64)
        if self.kind == "time":
            return number / 1e6
        return number / 1e3 if self.kind == "rate" else number


REQUEST_COLUMNS = (
    RequestColumn("ttft", "ttft_ms", "duration", "time to first token, from the intended arrival"),
    RequestColumn("engine_ttft", "engine_ttft_ms", "duration", "the same from its admission"),
    RequestColumn("tpot", "tpot_ms", "duration", "time per output token after the first"),
    RequestColumn("e2e", "e2e_ms", "duration", "intended arrival to last token; ended ok"),
    RequestColumn("wait", "wait_ms", "duration", "intended arrival to admission"),
    RequestColumn("queue", "queue_ms", "duration", "admission to first step"),
    RequestColumn("prefill", "prefill_ms", "duration", "first step to last prompt token"),
    RequestColumn("transfer", "transfer_ms", "duration", "KV on its way to the decode pool"),
    RequestColumn("first_decode", "first_decode_ms", "duration", "the rest, to the first token"),
    RequestColumn("recompute", "recompute_ms", "duration", "lost to preemption before that token"),
    RequestColumn("stall", "longest_stall_ms", "duration", "longest gap between its tokens"),
    RequestColumn("speed", "output_speed", "rate", "output tokens per second"),
    RequestColumn("tokens", "output_tokens", "number", "output tokens"),
    RequestColumn("prompt", "prompt_tokens", "number", "prompt tokens"),
    RequestColumn("max_tokens", "max_tokens", "number", "output tokens asked for"),
    RequestColumn("cached", "cached_tokens", "number", "prompt tokens from the prefix cache"),
    RequestColumn("preemptions", "preemptions", "number", "times it lost its KV blocks"),
    RequestColumn("recomputed", "recomputed_tokens", "number", "tokens computed again"),
    RequestColumn("priority", "priority", "number", "lower is sooner"),
    RequestColumn("session", "session_id", "number", "its conversation"),
    RequestColumn("turn", "turn", "number", "its place in the conversation, from 0"),
    RequestColumn("id", "request_id", "number", "order of arrival, from 0"),
    RequestColumn("status", "status", "text", ", ".join(STATUSES)),
    RequestColumn("reason", "reason", "text", "why it did not end ok"),
    RequestColumn("arrival", "scheduled_ns", "time", "intended arrival, since the run's start"),
    RequestColumn("started", "started_ns", "time", "start of its first step"),
    RequestColumn("ended", "finished_ns", "time", "when its status was set"),
    RequestColumn("fitted", "fitted", "flag", "shortened to fit the model's context"),
)


def request_column(name: str) -> RequestColumn | None:
    """The column of this name, in a query or in the frame, in any case; None if there is none."""
    wanted = name.lower()
    for column in REQUEST_COLUMNS:
        if wanted in (column.name, column.frame):
            return column
    return None
