"""A small simulated engine whose record is consistent by construction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from frames import MS, frame

from workbench.runs.schema import ARRIVALS, EMISSIONS, EVENTS, REQUESTS, STEPS


def simulate(
    count: int = 150,
    rate: float = 2.0,
    seed: int = 0,
    batch: int = 16,
    chunk: int = 512,
    tokens_per_emission: int = 1,
) -> dict[str, pl.DataFrame]:
    """A continuous-batching engine in a few lines: arrivals, steps with chunked prefill, tokens."""
    rng = np.random.default_rng(seed)
    scheduled = np.cumsum(rng.exponential(1e9 / rate, count)).astype(np.int64).tolist()
    prompts = rng.lognormal(5.5, 0.8, count).astype(int) + 1
    outputs = rng.lognormal(3.3, 0.8, count).astype(int) + 1
    requests = [
        {
            "request_id": index,
            "scheduled_ns": scheduled[index],
            "prompt_tokens": int(prompts[index]),
            "max_tokens": int(outputs[index]),
            "cached_tokens": int(prompts[index]) // 3 if index % 3 == 0 else 0,
            "output_tokens": 0,
        }
        for index in range(count)
    ]
    steps: list[dict[str, Any]] = []
    emissions: list[dict[str, Any]] = []
    waiting: list[dict[str, Any]] = []
    running: list[dict[str, Any]] = []
    now, arrived = 0, 0
    while arrived < count or waiting or running:
        if not waiting and not running:
            now = max(now, scheduled[arrived])
        while arrived < count and scheduled[arrived] <= now:
            request = requests[arrived]
            request["admitted_ns"] = request["submitted_ns"] = now
            request["left"] = request["prompt_tokens"] - request["cached_tokens"]
            waiting.append(request)
            arrived += 1
        while waiting and len(running) < batch:
            running.append(waiting.pop(0))
        start, budget, prefilled, emitting, decoding = now + 300_000, chunk, 0, [], 0
        for request in running:
            request.setdefault("started_ns", start)
            if request["left"]:
                part = min(request["left"], budget)
                request["left"] -= part
                budget -= part
                prefilled += part
                if not request["left"]:
                    emitting.append(request)
            else:
                decoding += 1
                emitting.append(request)
        step_ms = 12 + 0.9 * decoding + 0.35 * prefilled + rng.exponential(2)
        now = start + int(step_ms * MS)
        for request in emitting:
            tokens = min(tokens_per_emission, request["max_tokens"] - request["output_tokens"])
            if not request["output_tokens"]:
                request |= {"first_token_ns": now, "prefilled_ns": now, "first_tokens": tokens}
            request["output_tokens"] += tokens
            request["last_token_ns"] = now
            row = {"step": len(steps), "time_ns": now, "tokens": tokens}
            emissions.append(row | {"request_id": request["request_id"]})
            if request["output_tokens"] == request["max_tokens"]:
                request |= {"finished_ns": now, "status": "ok"}
        running = [request for request in running if "finished_ns" not in request]
        held = sum(-(-(r["prompt_tokens"] + r["output_tokens"]) // 16) for r in running)
        steps.append(
            {
                "step": len(steps),
                "kind": "decode" if not prefilled else "mixed" if decoding else "prefill",
                "schedule_ns": 90_000,
                "start_ns": start,
                "end_ns": now,
                "num_seqs": len(emitting),
                "prefill_tokens": prefilled,
                "decode_tokens": decoding,
                "emitting": len(emitting),
                "running": len(running),
                "waiting": len(waiting),
                "live_blocks": held,
                "cached_blocks": 40,
            }
        )
    return {
        "arrivals": frame(ARRIVALS, requests),
        "requests": frame(REQUESTS, requests).sort("finished_ns"),
        "steps": frame(STEPS, steps),
        "emissions": frame(EMISSIONS, emissions),
        "events": frame(EVENTS, []),
    }


@pytest.fixture(scope="session")
def simulated() -> Callable[..., dict[str, pl.DataFrame]]:
    return simulate
