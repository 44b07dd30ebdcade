"""A/B measurements on the real engine: the same requests, one switch changed, in turn A B A B."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from engines.base import RequestRecord, StepResult
from engines.options import EngineOptions
from engines.registry import BuiltEngine, build
from profiles.ranges import Ranges
from profiles.telemetry import open_telemetry
from workbench.launch.target import token_stream
from workbench.runs.clock import RunClock
from workbench.runs.folder import RunFolder
from workbench.runs.recorder import Recorder
from workbench.runs.runner import NoRecord, StopRequest, drive
from workloads.arrivals import arrival_process
from workloads.lengths import Fixed
from workloads.synthetic import SyntheticRequests
from workloads.traffic import ClosedLoop, OpenLoop
from workloads.workload import Workload

_OUTPUT_TOKENS = 64


def run_recorder(options: EngineOptions, seconds: float, repeats: int) -> dict[str, Any]:
    """Output tokens per second of a closed loop with recorder and telemetry on and off.

    The sides of a round serve the same requests, in an order that turns from round to round, so
    `options` must have the prefix cache off. Where a machine is too noisy for the difference to
    show, `thread_percent` does: CPU time of the two threads ÷ time, 100 being one core.
    """
    clock = RunClock()
    built = build(options, clock, Ranges())
    workload = Workload("bench", "fixed lengths", "none", Fixed(64), Fixed(_OUTPUT_TOKENS))
    stream = token_stream(built.encode, built.config.vocab_size)
    rates: dict[str, list[float]] = {"off": [], "recorder": [], "recorder+telemetry": []}
    shares: list[dict[str, float]] = []
    for repeat in range(repeats + 1):
        for side in _turned(list(rates), repeat):
            source = SyntheticRequests(
                workload, stream, seed=repeat, max_model_len=built.engine.max_model_len
            )
            traffic = ClosedLoop(source, concurrency=8, duration_s=seconds)
            rate, share = _output_rate(built, traffic, clock, side)
            if repeat:  # the first round warms up
                rates[side].append(rate)
                shares += [share] if share else []
    medians = {side: median(values) for side, values in rates.items()}
    pairs = {
        side: median(on / off - 1 for on, off in zip(rates[side], rates["off"], strict=True))
        for side in ("recorder", "recorder+telemetry")
    }
    threads = {
        name: median(share[name] for share in shares if name in share)
        for name in ("recorder", "telemetry")
    }
    return {
        "output_tokens_per_s": medians,
        "change": pairs,
        "thread_percent": threads,
        "runs": rates,
    }


def _turned(sides: list[str], by: int) -> list[str]:
    by %= len(sides)
    return sides[by:] + sides[:by]


def _output_rate(
    built: BuiltEngine, traffic: ClosedLoop, clock: RunClock, side: str
) -> tuple[float, dict[str, float]]:
    """Output tokens per second, and CPU time of the threads beside the engine's, in percent."""
    with tempfile.TemporaryDirectory() as directory:
        telemetry = open_telemetry(clock) if side == "recorder+telemetry" else None
        recorder = None
        if side != "off":
            folder = RunFolder.create(Path(directory) / "run", {}, "bench")
            drain = telemetry.drain if telemetry is not None else None
            recorder = Recorder(folder, 250_000_000, False, drain)
        record = recorder if recorder is not None else NoRecord()
        clock.start()
        if telemetry is not None:
            telemetry.start()
        started = time.perf_counter()
        end = drive(
            built.engine, traffic, record, clock, StopRequest(), 60_000_000_000, 0, lambda _: None
        )
        spent = time.perf_counter() - started
        busy = {thread.id: thread.user_time + thread.system_time for thread in _threads()}
        shares = {
            thread.name: 100 * busy[thread.native_id] / spent
            for thread in threading.enumerate()
            if thread.name in ("recorder", "telemetry") and thread.native_id in busy
        }
        if telemetry is not None:
            telemetry.close()
        if recorder is not None:
            recorder.close()
    return (end.offered - end.unfinished) * _OUTPUT_TOKENS / spent, shares


def _threads() -> list[Any]:
    threads: list[Any] = psutil.Process().threads()
    return threads


class _Taking(NoRecord):
    """Keeps the requests' records alone."""

    def __init__(self) -> None:
        self.records: list[RequestRecord] = []

    def step(self, result: StepResult) -> None:
        self.records += result.records


def run_prefix(
    options: Callable[[bool], EngineOptions],
    prefix_tokens: int,
    rate_per_s: float,
    duration_s: float,
) -> dict[str, Any]:
    """TTFT p50 with the prefix cache on and off: same requests, same load, a shared prefix."""
    workload = Workload("bench", "a shared prefix", "none", Fixed(64), Fixed(16), prefix_tokens)
    sides: dict[str, Any] = {}
    for caching in (False, True):
        clock = RunClock()
        built = build(options(caching), clock, Ranges())
        stream = token_stream(built.encode, built.config.vocab_size)
        source = SyntheticRequests(workload, stream, max_model_len=built.engine.max_model_len)
        traffic = OpenLoop.at_rate(
            source, arrival_process("poisson"), rate_per_s=rate_per_s, duration_s=duration_s
        )
        taken = _Taking()
        clock.start()
        drive(
            built.engine, traffic, taken, clock, StopRequest(), 600_000_000_000, 0,
            lambda _: None,
        )  # fmt: skip
        built.engine.close()
        sides["on" if caching else "off"] = {
            "requests": len(taken.records),
            "ttft_p50_ms": median(
                (record.first_token_ns - record.scheduled_ns) / 1e6 for record in taken.records
            ),
            "cached_tokens": sum(record.cached_tokens for record in taken.records),
        }
    ratio = sides["off"]["ttft_p50_ms"] / sides["on"]["ttft_p50_ms"]
    return {"rate_per_s": rate_per_s, "prefix_tokens": prefix_tokens, "ratio": ratio} | sides
