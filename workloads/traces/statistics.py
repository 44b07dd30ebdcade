"""What a trace holds: how often, how long, and how much of the prompts was there before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workloads.traces.blocks import prefix_names, rows_of_blocks, tokens_of_blocks
from workloads.traces.trace import Ints, Prefixes, Trace


@dataclass(frozen=True, slots=True)
class Arrivals:
    """When the rows arrived.

    Attributes:
        span_s: seconds from the first arrival to the last.
        rate_per_s: mean rate, requests per second: gaps over span; None for a span of 0.
        gap_cv: standard deviation of the gaps between arrivals over their mean, 1 for Poisson
            arrivals; None for a span of 0.
        largest_gap_s: the longest time without an arrival, seconds.
        stamp_unit_ns: the largest unit that all stamps are whole multiples of, ns.
        equal_share: share of the rows, 0 to 1, with the very stamp of the row before.
        smallest_gap_s, median_gap_s: of the gaps that are not 0, seconds; None where all are.
    """

    span_s: float
    rate_per_s: float | None
    gap_cv: float | None
    largest_gap_s: float
    stamp_unit_ns: int
    equal_share: float
    smallest_gap_s: float | None
    median_gap_s: float | None


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths in tokens; percentiles by linear interpolation."""

    mean: float
    p50: float
    p90: float
    p99: float
    max: int


@dataclass(frozen=True, slots=True)
class Sessions:
    """Conversations.

    Attributes:
        count: how many.
        turns_mean, turns_max: rows of a conversation.
        alone: rows that belong to none.
    """

    count: int
    turns_mean: float
    turns_max: int
    alone: int


@dataclass(frozen=True, slots=True)
class PrefixHits:
    """What a prefix cache that never forgets would have served, computing one row at a time.

    A block is a hit where an earlier row began with the same blocks up to it and had all its
    tokens. This is the longest seen prefix of a prompt, which is what engines look up; counting
    each id that was seen anywhere before is the same only where ids stand for their beginning.

    Attributes:
        block_tokens: tokens of a block.
        blocks: of all prompts.
        unique_blocks: different ones, beginning included.
        hit_share: share of the blocks, 0 to 1, that are hits.
        token_hit_share: share of the prompt tokens, 0 to 1, in such blocks.
        ids_name_prefixes: whether every id always comes after the same one, so that equal ids are
            equal beginnings.
    """

    block_tokens: int
    blocks: int
    unique_blocks: int
    hit_share: float
    token_hit_share: float
    ids_name_prefixes: bool


@dataclass(frozen=True, slots=True)
class TraceStatistics:
    """The facts about a trace.

    Attributes:
        rows: requests, failed ones included.
        failed: requests that the publisher marks as failed.
        arrivals: None where sessions have no common clock, or there are no rows.
        input_tokens, output_tokens: of the requests that did not fail; None without any.
        sessions, prefixes: None where the format has none.
    """

    rows: int
    failed: int
    arrivals: Arrivals | None
    input_tokens: Lengths | None
    output_tokens: Lengths | None
    sessions: Sessions | None
    prefixes: PrefixHits | None


def describe(trace: Trace) -> TraceStatistics:
    """The facts about `trace`; a million rows of two dozen blocks take a few seconds."""
    good = ~trace.failed
    common_clock = len(trace) > 0 and not trace.sessions_own_clock
    return TraceStatistics(
        rows=len(trace),
        failed=int(trace.failed.sum()),
        arrivals=_arrivals(trace.arrival_ns) if common_clock else None,
        input_tokens=_lengths(trace.input_tokens[good]),
        output_tokens=_lengths(trace.output_tokens[good]),
        sessions=None if trace.session_id is None else _sessions(trace.session_id),
        prefixes=None if trace.prefixes is None else _prefix_hits(trace, trace.prefixes),
    )


def _arrivals(arrival_ns: Ints) -> Arrivals:
    gaps_ns = np.diff(arrival_ns)
    between_ns = gaps_ns[gaps_ns > 0]
    span_s = int(arrival_ns[-1] - arrival_ns[0]) / 1e9
    return Arrivals(
        span_s=span_s,
        rate_per_s=len(gaps_ns) / span_s if span_s else None,
        gap_cv=float(gaps_ns.std() / gaps_ns.mean()) if span_s else None,
        largest_gap_s=int(gaps_ns.max(initial=0)) / 1e9,
        stamp_unit_ns=int(np.gcd.reduce(arrival_ns)),
        equal_share=float((gaps_ns == 0).sum() / len(arrival_ns)),
        smallest_gap_s=int(between_ns.min()) / 1e9 if len(between_ns) else None,
        median_gap_s=float(np.median(between_ns)) / 1e9 if len(between_ns) else None,
    )


def _lengths(tokens: Ints) -> Lengths | None:
    if not len(tokens):
        return None
    p50, p90, p99 = (float(value) for value in np.percentile(tokens, [50, 90, 99]))
    return Lengths(float(tokens.mean()), p50, p90, p99, int(tokens.max()))


def _sessions(session_id: Ints) -> Sessions:
    known, turns = np.unique(session_id[session_id >= 0], return_counts=True)
    return Sessions(
        count=len(known),
        turns_mean=float(turns.mean()) if len(turns) else 0.0,
        turns_max=int(turns.max(initial=0)),
        alone=int((session_id < 0).sum()),
    )


def _prefix_hits(trace: Trace, prefixes: Prefixes) -> PrefixHits:
    names, count, named = prefix_names(prefixes)
    rows = rows_of_blocks(prefixes)
    tokens = tokens_of_blocks(prefixes, trace.input_tokens)
    first_row = _first_row(names, rows, count)
    whole = tokens == prefixes.block_tokens
    first_whole = _first_row(names[whole], rows[whole], count)
    # A partial block finds its tokens in any block of the name; a whole one in a whole one alone.
    hits = np.where(whole, first_whole[names], first_row[names]) < rows
    blocks, prompt_tokens = len(names), int(trace.input_tokens.sum())
    return PrefixHits(
        block_tokens=prefixes.block_tokens,
        blocks=blocks,
        unique_blocks=int((first_row < len(trace)).sum()),
        hit_share=float(hits.sum() / blocks) if blocks else 0.0,
        token_hit_share=int(tokens[hits].sum(dtype=np.int64)) / max(1, prompt_tokens),
        ids_name_prefixes=named,
    )


def _first_row(names: Ints, rows: npt.NDArray[np.int32], count: int) -> npt.NDArray[np.int32]:
    """The first row of each name, int32 `[count]`; beyond every row where there is none."""
    first = np.full(count, np.iinfo(np.int32).max, np.int32)
    # Written from the end: of several rows the first one stays.
    first[names[::-1]] = rows[::-1]
    return first
