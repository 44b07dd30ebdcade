"""The families that engines export on /metrics, under the names of our columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from engines.remote.prometheus import Samples, parse_prometheus

VALUE_COLUMNS = (
    "running",
    "waiting",
    "kv_usage",
    "prompt_tokens_total",
    "generation_tokens_total",
    "prefix_cache_queries_total",
    "prefix_cache_hits_total",
    "preemptions_total",
    "queue_time_sum_s",
    "queue_time_count",
    "ttft_sum_s",
    "ttft_count",
)
SERVER_COLUMNS = ("time_ns", *VALUE_COLUMNS)
"""Columns of the server's samples: `time_ns` int64, the rest float64, NaN where not exported.
`running`, `waiting`: requests; `kv_usage`: 0 to 1; `_total`, `_count`: since the server's start;
`_sum_s`: seconds, over all requests since then."""

PREFIXES = ("vllm:", "sglang:", "workbench:")

# vLLM's own names; workbench exports the same. Older names come last.
_VLLM: dict[str, tuple[str, ...]] = {
    "running": ("num_requests_running",),
    "waiting": ("num_requests_waiting",),
    "kv_usage": ("kv_cache_usage_perc", "gpu_cache_usage_perc"),
    "prompt_tokens_total": ("prompt_tokens_total",),
    "generation_tokens_total": ("generation_tokens_total",),
    "prefix_cache_queries_total": (
        "prefix_cache_queries_total",
        "gpu_prefix_cache_queries_total",
        "prefix_cache_queries",
    ),
    "prefix_cache_hits_total": (
        "prefix_cache_hits_total",
        "gpu_prefix_cache_hits_total",
        "prefix_cache_hits",
    ),
    "preemptions_total": ("num_preemptions_total",),
    "queue_time_sum_s": ("request_queue_time_seconds_sum",),
    "queue_time_count": ("request_queue_time_seconds_count",),
    "ttft_sum_s": ("time_to_first_token_seconds_sum",),
    "ttft_count": ("time_to_first_token_seconds_count",),
}
# SGLang counts cached prompt tokens, and all prompt tokens are looked up.
_SGLANG: dict[str, tuple[str, ...]] = {
    "running": ("num_running_reqs",),
    "waiting": ("num_queue_reqs",),
    "kv_usage": ("token_usage",),
    "prompt_tokens_total": ("prompt_tokens_total",),
    "generation_tokens_total": ("generation_tokens_total",),
    "prefix_cache_queries_total": ("prompt_tokens_total",),
    "prefix_cache_hits_total": ("cached_tokens_total",),
    "preemptions_total": ("num_retracted_requests_total",),
    "queue_time_sum_s": ("queue_time_seconds_sum",),
    "queue_time_count": ("queue_time_seconds_count",),
    "ttft_sum_s": ("time_to_first_token_seconds_sum",),
    "ttft_count": ("time_to_first_token_seconds_count",),
}
_NAMES = {"vllm:": _VLLM, "workbench:": _VLLM, "sglang:": _SGLANG}


def read_server_metrics(text: str) -> dict[str, float]:
    """By column: what a /metrics page tells, NaN where it tells nothing; empty if no family of an
    engine that is known is there.

    Replicas behind one server add up, but for `kv_usage`, which is their mean. The ranks of one
    replica's tensor parallelism tell the same, and count once.
    """
    samples = parse_prometheus(text, PREFIXES)
    prefix = next((each for each in PREFIXES if any(n.startswith(each) for n in samples)), None)
    if prefix is None:
        return {}
    return {
        column: _value(samples, [prefix + name for name in _NAMES[prefix][column]], column)
        for column in VALUE_COLUMNS
    }


def _value(samples: Samples, names: Sequence[str], column: str) -> float:
    together: Callable[[list[float]], float] = _mean if column == "kv_usage" else math.fsum
    for name in names:
        found = samples.get(name)
        if found:
            return together([value for labels, value in found if _counts(labels)])
    return math.nan


def _counts(labels: dict[str, str]) -> bool:
    """Whether a sample is of a replica's first rank, and no breakdown of another sample."""
    ranks = (labels.get(name, "0") for name in ("tp_rank", "pp_rank", "moe_ep_rank"))
    return all(rank in ("0", "") for rank in ranks) and not labels.get("priority")


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
