"""The tables of a run: their columns, types and units. One place, for writers and readers.

Times are int64 nanoseconds since the run's start on one monotonic clock; `-1` in a segment is a
stage that was not reached and becomes null in Parquet. Text columns are UTF-8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from profiles.samples import COLUMNS as DEVICE_COLUMNS

Kind = Literal["int64", "int32", "float64", "bool", "text"]

SCHEMA_VERSION = 3
"""Readers take this and every older one; version 2 brought `since=2` columns and POOLS, version 3
the times of steps on the GPU, when they were planned, and how busy its units are."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `nullable` marks integer columns whose -1 means null.

    `since` is the schema version that brought it: in older runs it is null.
    """

    name: str
    kind: Kind
    meaning: str
    nullable: bool = False
    since: int = 1


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a run; `saved` tables become `<name>.parquet`, `optional` ones if they have
    rows."""

    name: str
    columns: tuple[Column, ...]
    saved: bool = True
    optional: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)


def _stamp(name: str, meaning: str) -> Column:
    return Column(name, "int64", meaning + ", ns", nullable=True)


ARRIVALS = Table(
    "arrivals",
    (
        Column("request_id", "int64", "order of arrival, from 0"),
        Column("scheduled_ns", "int64", "intended arrival, ns"),
        Column("submitted_ns", "int64", "handed to the engine, ns"),
        Column("prompt_tokens", "int64", "prompt length, tokens"),
        Column("max_tokens", "int64", "output length asked for, tokens"),
        Column("priority", "int64", "lower is sooner"),
        Column("fitted", "bool", "shortened to fit the model's context"),
        Column("session_id", "int64", "the conversation it belongs to", nullable=True),
        Column("turn", "int64", "its place in the conversation, from 0", nullable=True),
    ),
    saved=False,
)

REQUESTS = Table(
    "requests",
    (
        Column("request_id", "int64", "order of arrival, from 0"),
        Column("status", "text", "ok, failed, cancelled, rejected or unfinished"),
        Column("reason", "text", "why it did not end ok; empty otherwise"),
        _stamp("scheduled_ns", "when the arrival process or the trace wanted it to arrive"),
        _stamp("admitted_ns", "when the engine accepted it"),
        _stamp("started_ns", "start of the first step that computed one of its tokens"),
        _stamp("prefilled_ns", "end of the step that computed its last prompt token"),
        _stamp("transferred_ns", "its KV is readable in the decode pool"),
        _stamp("first_token_ns", "its first output token is on the host"),
        _stamp("last_token_ns", "its last output token is on the host"),
        _stamp("finished_ns", "its blocks are released and its status is set"),
        Column("prompt_tokens", "int64", "prompt length, tokens"),
        Column("max_tokens", "int64", "output length asked for, tokens"),
        Column("output_tokens", "int64", "output tokens emitted"),
        Column("first_tokens", "int64", "output tokens in the first emission"),
        Column("cached_tokens", "int64", "prompt tokens served from the prefix cache"),
        Column("preemptions", "int64", "times it lost its KV blocks"),
        Column("recomputed_tokens", "int64", "tokens computed again after preemptions"),
        Column("recompute_ns", "int64", "time lost to preemptions, ns"),
        Column("ttft_recompute_ns", "int64", "the part of recompute_ns before the first token, ns"),
        Column("priority", "int64", "lower is sooner"),
        Column("fitted", "bool", "shortened to fit the model's context"),
        Column("session_id", "int64", "the conversation it belongs to", nullable=True),
        Column("turn", "int64", "its place in the conversation, from 0", nullable=True),
    ),
)

STEPS = Table(
    "steps",
    (
        Column("step", "int64", "index, from 0, without gaps"),
        Column("kind", "text", "prefill, decode or mixed"),
        Column("schedule_ns", "int64", "host time spent on planning it, ns"),
        Column("start_ns", "int64", "first launch, ns"),
        Column("end_ns", "int64", "sampled tokens on the host, ns"),
        Column("num_seqs", "int64", "sequences in it"),
        Column("prefill_tokens", "int64", "prompt tokens computed (recomputed ones included)"),
        Column("decode_tokens", "int64", "decode tokens computed"),
        Column("emitting", "int64", "requests that got tokens"),
        Column("running", "int64", "requests running after it"),
        Column("waiting", "int64", "requests waiting after it"),
        Column("live_blocks", "int64", "KV blocks held by requests after it"),
        Column("cached_blocks", "int64", "KV blocks cached but held by none after it"),
        Column("worker", "int64", "which worker computed it, from 0", since=2),
        Column(
            "blocked",
            "text",
            "why the first waiting request was left out of it when it was planned: seqs "
            "(max_num_seqs run), tokens (the budget is used up), blocks (no KV blocks), batch "
            "(the static batch is closed), preempted (it preempts, so nobody starts); empty where "
            "nobody was",
            since=2,
        ),
        Column("launch_ns", "int64", "host time spent on launching it, ns", True, since=3),
        Column("gpu_start_ns", "int64", "the GPU began with it, ns", True, since=3),
        Column("gpu_end_ns", "int64", "the GPU was done with it, ns", True, since=3),
        Column(
            "planned_ns",
            "int64",
            "its planning began, ns; before the end of the step before it where they overlap",
            True,
            since=3,
        ),
    ),
)

EMISSIONS = Table(
    "emissions",
    (
        Column("step", "int64", "index of the step; null of a remote server", nullable=True),
        Column("time_ns", "int64", "tokens on the host, ns"),
        Column("request_id", "int64", "who got them"),
        Column("tokens", "int64", "how many"),
    ),
)

EVENTS = Table(
    "events",
    (
        Column("time_ns", "int64", "when, ns"),
        Column("step", "int64", "index of the step it belongs to", nullable=True),
        Column(
            "kind",
            "text",
            "prefill, preempt, evict, phase, note or error; dialect: how a server wants to be "
            "spoken to; knob: the rate was changed, or arrivals paused or resumed; mark: a user's "
            "words on this moment",
        ),
        Column("request_id", "int64", "whom it concerns", nullable=True),
        Column("tokens", "int64", "tokens of the chunk, tokens lost or blocks evicted"),
        Column("detail", "text", "the reason, in words; of a mark, what the user wrote"),
    ),
)

_DEVICE_KINDS: dict[str, Kind] = {"time_ns": "int64", "period_ns": "int64", "device": "text"}

_GPM_COLUMNS = (
    "sm_active_percent", "sm_occupancy_percent", "tensor_active_percent", "hmma_active_percent",
    "dram_bandwidth_percent",
)  # fmt: skip

DEVICES = Table(
    "devices",
    tuple(
        Column(
            name,
            _DEVICE_KINDS.get(name, "float64"),
            "see profiles.samples",
            since=3 if name in _GPM_COLUMNS else 1,
        )
        for name in DEVICE_COLUMNS
    ),
)

SERVER = Table(
    "server",
    (
        Column("time_ns", "int64", "when its /metrics were read, ns"),
        Column("running", "float64", "requests that it computes"),
        Column("waiting", "float64", "requests that wait in its queue"),
        Column("kv_usage", "float64", "share of its KV blocks that requests hold, 0 to 1"),
        Column("prompt_tokens_total", "float64", "prompt tokens so far"),
        Column("generation_tokens_total", "float64", "output tokens so far"),
        Column("prefix_cache_queries_total", "float64", "prompt tokens looked up so far"),
        Column("prefix_cache_hits_total", "float64", "of these, found so far"),
        Column("preemptions_total", "float64", "preemptions so far"),
        Column("queue_time_sum_s", "float64", "time that requests have spent in its queue, s"),
        Column("queue_time_count", "float64", "how many these requests are"),
        Column("ttft_sum_s", "float64", "its own time to first token, summed, s"),
        Column("ttft_count", "float64", "over how many requests"),
    ),
    optional=True,
)

POOLS = Table(
    "pools",
    (
        Column("time_ns", "int64", "when it was looked at, ns"),
        Column("pool", "text", "the pool's name"),
        Column("block_size", "int64", "tokens of a block"),
        Column("usable", "int64", "all its blocks but the null block: free + live + cached"),
        Column("free", "int64", "blocks without content"),
        Column("live", "int64", "blocks that requests hold"),
        Column("cached", "int64", "blocks that none holds, their content kept"),
        Column("shared", "int64", "live blocks that two or more block tables name"),
        Column("live_1", "int64", "live blocks that one block table names"),
        Column("live_2", "int64", "live blocks that 2 or 3 name"),
        Column("live_4", "int64", "live blocks that 4 to 7 name"),
        Column("live_8", "int64", "live blocks that 8 to 15 name"),
        Column("live_16", "int64", "live blocks that 16 or more name"),
        Column("cached_0", "int64", "cached blocks, content never found again since computed"),
        Column("cached_1", "int64", "cached blocks, content found again once"),
        Column("cached_2", "int64", "cached blocks, found again 2 or 3 times"),
        Column("cached_4", "int64", "cached blocks, found again 4 to 7 times"),
        Column("cached_8", "int64", "cached blocks, found again 8 times or more"),
    ),
    optional=True,
)

TABLES = (ARRIVALS, REQUESTS, STEPS, EMISSIONS, EVENTS, DEVICES, SERVER, POOLS)
SAVED_TABLES = tuple(table for table in TABLES if table.saved)
