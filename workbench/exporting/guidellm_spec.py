"""What a run was asked to do, in GuideLLM's words where it has any."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from workbench.exporting.source import RunSource, content_of


@dataclass(frozen=True, slots=True)
class Load:
    """The arrivals of a run.

    Attributes:
        strategy: GuideLLM's `SchedulingStrategy`; profile: its `ProfileArgs`.
        has_schedule: arrivals were at times set beforehand.
    """

    strategy: dict[str, Any]
    profile: dict[str, Any]
    has_schedule: bool


def load(source: RunSource) -> Load:
    """The arrivals as the strategy of GuideLLM's that they are: concurrent, Poisson or constant;
    those that it has no process for, as times that are replayed."""
    traffic = content_of(source, "spec", "traffic") or {}
    seed = content_of(source, "spec", "seed")
    rate, streams = source.content.get("rate_per_s"), traffic.get("concurrency")
    if streams:
        strategy = {"type_": "concurrent", "streams": streams}
        return Load(strategy, {"kind": "concurrent", "streams": [streams]}, has_schedule=False)
    arrival = traffic.get("arrival") or "poisson"
    plain = not any(traffic.get(name) for name in ("modulation", "rate_file"))
    plain &= not content_of(source, "spec", "trace", "file")
    if plain and rate and arrival in ("poisson", "constant"):
        strategy = {"type_": arrival, "rate": rate}
        if arrival == "poisson" and seed is not None:
            strategy["random_seed"] = seed
        return Load(strategy, {"kind": arrival, "rate": [rate]}, has_schedule=True)
    replay = {"time_scale": 1.0, "schedule_turn": "timestamp"}
    return Load({"type_": "trace"} | replay, {"kind": "replay"} | replay, has_schedule=True)


def report_config(source: RunSource) -> dict[str, Any]:
    """GuideLLM's `BenchmarkScenario`; its labels say that the run was none of GuideLLM's."""
    traffic = content_of(source, "traffic") or {}
    what = traffic.get("what") or content_of(source, "spec", "traffic", "workload") or ""
    spec: dict[str, Any] = {
        "backend": {"kind": "openai_http", "target": _target(source), "model": _model(source)},
        "profile": load(source).profile,
        "data": [{"kind": "in_memory_dict_list", "data": [{"workbench_traffic": str(what)}]}],
        "outputs": [],
        "metrics": {"kind": "generative", "confidence": None},
    }
    seed = content_of(source, "spec", "seed")
    if seed is not None:
        spec["seed"] = {"kind": "static", "value": seed}
    labels = {
        "exported_by": f"workbench {version('workbench')}",
        "run_id": source.run_id,
        "state": source.state,
        "name": source.name,
    }
    return {"metadata": {"labels": labels}, "spec": spec}


def benchmark_config(source: RunSource) -> dict[str, Any]:
    """GuideLLM's `BenchmarkConfig`; `requests`, `backend` and `environment` are the run's own."""
    traffic = load(source)
    return {
        "id_": source.run_id,
        "run_id": source.run_id,
        "run_index": 0,
        "strategy": traffic.strategy,
        "constraints": {},
        "warmup": {"value": source.window.start_ns / 1e9, "mode": "duration"},
        "confidence": None,
        "warnings": [],
        "profile": traffic.profile,
        "requests": {"traffic": content_of(source, "spec", "traffic")},
        "backend": {
            "program": "workbench",
            "target": _target(source),
            "engine": content_of(source, "engine"),
        },
        "environment": content_of(source, "environment") or {},
    }


def _target(source: RunSource) -> str:
    """The server's URL, or which of the workbench's own engines it was."""
    url = content_of(source, "spec", "target", "url")
    return str(url or f"workbench:{content_of(source, 'engine', 'name') or 'unknown'}")


def _model(source: RunSource) -> str:
    return str(content_of(source, "engine", "model") or "")
