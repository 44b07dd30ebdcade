"""GuideLLM's metrics of a benchmark, over the requests that overlap the measured window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from workbench.analysis.metrics import Window
from workbench.exporting.guidellm_distributions import (
    STATUSES,
    Floats,
    by_status,
    of_concurrency,
    of_rates,
    of_values,
)

Groups = Mapping[str, pl.DataFrame]
"""Rows of `request_stats` by status."""

_NOT_RECORDED = (
    "time_to_last_round_trip_ms",
    "avg_round_trip_time_ms",
)
_NONE: dict[str, None] = dict.fromkeys(
    f"{what}{suffix}"
    for what in ("input", "output", "total")
    for suffix in ("", "_per_second", "_concurrency")
)
"""What GuideLLM writes of a sort of content that no request had."""
_KINDS = {
    "image": ("tokens", "images", "pixels", "bytes"),
    "video": ("tokens", "frames", "seconds", "bytes"),
    "audio": ("tokens", "samples", "seconds", "bytes"),
    "tool_call": ("tokens", "mixed_tokens", "count"),
}


def benchmark_metrics(stats: pl.DataFrame, window: Window, has_schedule: bool) -> dict[str, Any]:
    """GuideLLM's `GenerativeMetrics` of `request_stats`.

    As GuideLLM has it, a request counts that overlaps the window, for TTFT one whose time to the
    first token does, and for inter-token latency one that decodes in it.

    Args:
        has_schedule: arrivals were at times set beforehand, which closed loops have none of.
    """
    begun, ended, first = pl.col("start_ns"), pl.col("end_ns"), pl.col("first_token_ns")
    counted = _groups(stats, _overlap(begun, ended, window))
    started = _groups(stats, _overlap(begun, first, window))
    decoding = _groups(stats, _overlap(pl.coalesce(first, ended), ended, window))
    bounds = {"start_s": window.start_ns / 1e9, "end_s": window.end_ns / 1e9}
    ends = {s: (_seconds(g, "end_ns"), np.ones(g.height)) for s, g in counted.items()}
    spans = {s: (_seconds(g, "start_ns"), *ends[s]) for s, g in counted.items()}
    prompts = {s: _prompt_times(g) for s, g in counted.items()}
    outputs = {s: _output_times(g) for s, g in counted.items()}
    metrics = {
        "request_totals": _totals(counted),
        "requests_per_second": by_status(ends, of_rates, **bounds),
        "request_concurrency": by_status(spans, of_concurrency, **bounds),
        "request_latency": _values(counted, "request_latency"),
        "request_streaming_iterations_count": _values(counted, "request_iterations"),
        "prompt_token_count": _values(counted, "prompt_tokens"),
        "output_token_count": _values(counted, "output_tokens"),
        "total_token_count": _values(counted, "total_tokens"),
        "time_to_first_token_ms": _values(started, "time_to_first_token_ms"),
        "time_to_first_output_token_ms": _values(started, "time_to_first_output_token_ms"),
        "time_per_output_token_ms": _values(
            counted, "time_per_output_token_ms", pl.col("output_tokens")
        ),
        "inter_token_latency_ms": _itl(decoding),
        "prompt_tokens_per_second": by_status(prompts, of_rates, **bounds),
        "output_tokens_per_second": by_status(outputs, of_rates, **bounds),
        "tokens_per_second": by_status(
            {s: _joined(prompts[s], outputs[s]) for s in STATUSES}, of_rates, **bounds
        ),
        "output_tokens_per_iteration": by_status(
            {s: _pieces(g, with_first=True) for s, g in counted.items()}, of_values
        ),
        "iter_tokens_per_iteration": by_status(
            {s: _pieces(g, with_first=False) for s, g in counted.items()}, of_values
        ),
        **dict.fromkeys(_NOT_RECORDED, _values(_groups(stats.clear()), "end_ns")),
        "text": {"tokens": _text_tokens(counted), "words": _NONE, "characters": _NONE},
        **{kind: dict.fromkeys(names, _NONE) for kind, names in _KINDS.items()},
        "turns": _turns(counted, started, decoding),
    }
    return metrics | (_schedule(counted) if has_schedule else {})


def _schedule(counted: Groups) -> dict[str, Any]:
    delay = "request_dispatch_delay"
    roots = pl.concat(counted.values()).filter(pl.col("turn").fill_null(0) == 0)[delay]
    return {
        delay: _values(counted, delay),
        "request_scheduled_latency": _values(counted, "request_scheduled_latency"),
        "root_dispatch_delay": of_values(_floats(roots)) if roots.count() else None,
    }


def _turns(counted: Groups, started: Groups, decoding: Groups) -> list[dict[str, Any]] | None:
    """By place in a conversation; None where every request is the first of its own."""
    turn = pl.col("turn").fill_null(0)
    every = pl.concat([g for groups in (counted, started, decoding) for g in groups.values()])
    numbers = sorted(set(every.select(turn).to_series().to_list()))
    if not numbers or numbers == [0]:
        return None
    found = []
    for number in numbers:
        counts, starts, decodes = (
            {s: g.filter(turn == number) for s, g in groups.items()}
            for groups in (counted, started, decoding)
        )
        found.append(
            {
                "turn_index": number,
                "request_totals": _totals(counts),
                "request_latency": _values(counts, "request_latency"),
                "prompt_token_count": _values(counts, "prompt_tokens"),
                "time_to_first_token_ms": _values(starts, "time_to_first_token_ms"),
                "inter_token_latency_ms": _itl(decodes),
            }
        )
    return found


def _text_tokens(groups: Groups) -> Mapping[str, Any]:
    """Tokens of prompts, outputs and both: how many, how many per second, how many at once."""
    if not any(group.height for group in groups.values()):
        return _NONE
    found: dict[str, Any] = {}
    for name, columns in {
        "input": ["prompt_tokens"],
        "output": ["output_tokens"],
        "total": ["prompt_tokens", "output_tokens"],
    }.items():
        amounts = {
            s: np.concatenate([_floats(g[column]) for column in columns]) for s, g in groups.items()
        }
        starts, ends = (
            {s: np.tile(_seconds(g, stamp), len(columns)) for s, g in groups.items()}
            for stamp in ("start_ns", "end_ns")
        )
        found[name] = by_status({s: (amounts[s],) for s in STATUSES}, of_values)
        found[f"{name}_per_second"] = by_status(
            {s: (ends[s], amounts[s]) for s in STATUSES}, of_rates
        )
        found[f"{name}_concurrency"] = by_status(
            {s: (starts[s], ends[s], amounts[s]) for s in STATUSES}, of_concurrency
        )
    return found


def _overlap(begun: pl.Expr, ended: pl.Expr, window: Window) -> pl.Expr:
    return (ended >= window.start_ns) & (begun <= window.end_ns)


def _groups(stats: pl.DataFrame, wanted: pl.Expr | None = None) -> dict[str, pl.DataFrame]:
    found = stats if wanted is None else stats.filter(wanted)
    return {status: found.filter(pl.col("group") == status) for status in STATUSES}


def _totals(groups: Groups) -> dict[str, int]:
    counts = {status: group.height for status, group in groups.items()}
    return counts | {"total": sum(counts.values())}


def _values(groups: Groups, column: str, weight: pl.Expr | None = None) -> dict[str, Any]:
    """The distribution of a column; where it is null, there is no value."""
    weights = pl.lit(1.0) if weight is None else weight.cast(pl.Float64)
    parts = {}
    for status, group in groups.items():
        known = group.select(pl.col(column), weights.alias("weight")).drop_nulls()
        parts[status] = _floats(known[column]), _floats(known["weight"])
    return by_status(parts, of_values)


def _itl(groups: Groups) -> dict[str, Any]:
    return _values(groups, "inter_token_latency_ms", pl.col("output_tokens") - 1)


def _prompt_times(group: pl.DataFrame) -> tuple[Floats, Floats]:
    """When prompts were done, and their tokens: at the first token, or at the end without one."""
    done = group.select(pl.coalesce("first_token_ns", "end_ns")).to_series()
    return _floats(done) / 1e9, _floats(group["prompt_tokens"])


def _output_times(group: pl.DataFrame) -> tuple[Floats, Floats]:
    """When output tokens came, and how many: the first emission as one token, the others evenly
    from there to the last token, as GuideLLM takes them."""
    spread = group.select(
        (pl.col("iterations") > 1)
        & pl.all_horizontal(pl.col("first_token_ns", "last_token_ns").is_not_null())
    ).to_series()
    whole, several = group.filter(~spread), group.filter(spread & (group["output_tokens"] > 0))
    at_once = whole.select(pl.coalesce("last_token_ns", "end_ns")).to_series()
    first_s, last_s = _seconds(several, "first_token_ns"), _seconds(several, "last_token_ns")
    later = several.filter(pl.col("output_tokens") > 1)
    pieces = later["iterations"].to_numpy() - 1
    from_s, to_s = _seconds(later, "first_token_ns"), _seconds(later, "last_token_ns")
    places = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces) + 1
    times_s = np.repeat(from_s, pieces) + places * np.repeat((to_s - from_s) / pieces, pieces)
    tokens = np.repeat(_floats(later["iter_tokens_per_iteration"]), pieces)
    return (
        np.concatenate([_floats(at_once) / 1e9, first_s, times_s]),
        np.concatenate([_floats(whole["output_tokens"]), np.ones_like(last_s), tokens]),
    )


def _pieces(group: pl.DataFrame, with_first: bool) -> tuple[Floats, Floats]:
    """Tokens of an emission, and how many emissions have so many."""
    later = group.filter(pl.col("iter_tokens_per_iteration").is_not_null())
    tokens = _floats(later["iter_tokens_per_iteration"])
    counts = _floats(later["iterations"]) - 1
    if not with_first:
        return tokens, counts
    single = group.filter(pl.col("iterations") <= 1)
    first = _floats(single["output_tokens"])
    several = group.filter(pl.col("iterations") > 1).height
    return (
        np.concatenate([first, np.ones(several), tokens]),
        np.concatenate([np.ones(first.size + several), counts]),
    )


def _joined(one: tuple[Floats, Floats], other: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    return np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]])


def _seconds(group: pl.DataFrame, stamp: str) -> Floats:
    return _floats(group[stamp]) / 1e9


def _floats(column: pl.Series) -> Floats:
    return column.cast(pl.Float64).drop_nulls().to_numpy()
