"""What the remote engine can do: streamed requests a second, and how late it sends them.

Server and client have a core each where there are two. The bars: 1,500 requests of 8 tokens a
second from one process, and a 99th percentile of the scheduling error of 5 ms at 500 a second.
"""

from __future__ import annotations

import gc
import os
import time
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
import psutil

from engines.base import RequestRecord, StepResult
from engines.remote.build import build_remote
from engines.remote.options import RemoteOptions
from workbench.bench.timed_server import TimedOptions, TimedServer
from workbench.runs.clock import RunClock
from workbench.runs.runner import NoRecord, StopRequest, drive
from workloads.arrivals import Poisson
from workloads.request import Request, SamplingParams
from workloads.traffic import ClosedLoop, OpenLoop, Traffic

_PROMPT_TOKENS, _OUTPUT_TOKENS = 64, 8
_GAP_MS = 5.0
BAR_REQUESTS_PER_S = 1500.0
BAR_P99_MS = 5.0


def run_http(clients: list[str], seconds: float, concurrency: int, rate_per_s: float) -> Any:
    """The figures of each of `clients` ("direct", "httpx"), each taken for `seconds`.

    A closed loop of `concurrency`, whose answers come as fast as they can; one of four times as
    many, whose chunks come 5 ms apart and so one by one; and Poisson arrivals of `rate_per_s`.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    pinned = len(cores) > 1
    if pinned:
        os.sched_setaffinity(0, {cores[1]})
    try:
        with TimedServer(TimedOptions(cpu=cores[0] if pinned else -1)) as server:
            closed = [_closed(server, client, seconds, concurrency) for client in clients]
            opened = [_open(server, client, seconds, rate_per_s) for client in clients]
        spaced_options = TimedOptions(
            cpu=cores[0] if pinned else -1, first_ms=_GAP_MS, per_token_ms=_GAP_MS
        )
        with TimedServer(spaced_options) as server:
            spaced = [_closed(server, client, seconds, 4 * concurrency) for client in clients]
    finally:
        if pinned:
            os.sched_setaffinity(0, set(cores))
    return {
        "prompt_tokens": _PROMPT_TOKENS,
        "output_tokens": _OUTPUT_TOKENS,
        "own_core_each": pinned,
        "bar_requests_per_s": BAR_REQUESTS_PER_S,
        "closed_loop": closed,
        "closed_loop_chunks_5_ms_apart": spaced,
        "bar_scheduling_error_p99_ms": BAR_P99_MS,
        "open_loop": opened,
    }


class _OneText:
    """A `RequestSource`: the same prompt and length for all."""

    def __init__(self, encode: Any) -> None:
        ids = list(encode("What is measured here is the client alone. ")) * _PROMPT_TOKENS
        self._prompt = np.array(ids[:_PROMPT_TOKENS], np.int32)

    def build(self, request_id: int, scheduled_ns: int) -> Request:
        sampling = SamplingParams(seed=request_id)
        return Request(request_id, scheduled_ns, self._prompt, _OUTPUT_TOKENS, sampling)


@dataclass
class _Kept(NoRecord):
    records: list[RequestRecord] = field(default_factory=list)
    tokens: int = 0

    def ended(self, record: RequestRecord) -> None:
        self.records.append(record)

    def step(self, result: StepResult) -> None:
        self.records += result.records
        self.tokens += int(result.emitted_tokens.sum())


def _closed(server: TimedServer, client: str, seconds: float, concurrency: int) -> dict[str, Any]:
    def traffic(source: _OneText) -> Traffic:
        return ClosedLoop(source, concurrency=concurrency, duration_s=seconds)

    kept, spent_s, shares = _drive(server, client, traffic)
    good = sum(record.status == "ok" for record in kept.records)
    return {
        "http_client": client,
        "concurrency": concurrency,
        "requests_per_s": good / spent_s,
        "tokens_per_s": kept.tokens / spent_s,
        "not_ok": len(kept.records) - good,
        **shares,
    }


def _open(server: TimedServer, client: str, seconds: float, rate_per_s: float) -> dict[str, Any]:
    def traffic(source: _OneText) -> Traffic:
        return OpenLoop.at_rate(source, Poisson(), rate_per_s=rate_per_s, duration_s=seconds)

    kept, spent_s, shares = _drive(server, client, traffic)
    late = np.array([r.admitted_ns - r.scheduled_ns for r in kept.records if r.admitted_ns >= 0])
    p50, p99, most = np.percentile(late / 1e6, (50, 99, 100)) if late.size else (np.nan,) * 3
    return {
        "http_client": client,
        "rate_per_s": rate_per_s,
        "achieved_per_s": len(kept.records) / spent_s,
        "scheduling_error_p50_ms": float(p50),
        "scheduling_error_p99_ms": float(p99),
        "scheduling_error_max_ms": float(most),
        "ttft_p50_ms": median((r.first_token_ns - r.scheduled_ns) / 1e6 for r in kept.records),
        "not_ok": sum(record.status != "ok" for record in kept.records),
        **shares,
    }


def _drive(server: TimedServer, client: str, traffic_of: Any) -> tuple[_Kept, float, Any]:
    clock = RunClock()
    options = RemoteOptions(server.url, http_client=client)
    built = build_remote(options, clock)
    kept = _Kept()
    process, other = psutil.Process(), psutil.Process(server.pid)
    try:
        traffic = traffic_of(_OneText(built.encode))
        gc.collect()
        gc.freeze()  # as a run does: a collection of all that was loaded takes tens of ms
        clock.start()
        before = sum(process.cpu_times()[:2]), sum(other.cpu_times()[:2])
        started = time.perf_counter()
        drive(built.engine, traffic, kept, clock, StopRequest(), 10**10, 10**9, lambda phase: None)
        spent_s = time.perf_counter() - started
        after = sum(process.cpu_times()[:2]), sum(other.cpu_times()[:2])
    finally:
        gc.unfreeze()
        built.engine.close()
    client_percent, server_percent = (
        (b - a) / spent_s * 100 for a, b in zip(before, after, strict=True)
    )
    return (
        kept,
        spent_s,
        {
            "client_cpu_percent": client_percent,
            "server_cpu_percent": server_percent,
        },
    )
