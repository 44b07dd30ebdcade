"""One run of a sweep in the figures that the sweep decides by and shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from workbench.analysis.lookup import at


@dataclass(frozen=True, slots=True)
class Figures:
    """A run at `value` of the sweep's axis; None where a figure is undefined.

    The names are those of the run's summary: rates in req/s, latencies in ms, output throughput
    in tok/s over the window, KV usage in %.

    Attributes:
        repeat: which run of the point, from 0; its seed is the sweep's plus this.
        failed: why there are no figures; empty for a run that finished.
        measured: requests of the window; met: those that met every SLO.
        offered_per_s, achieved_per_s, achieved_share: None for a closed loop, which asks for as
            much as it gets.
    """

    value: float
    repeat: int = 0
    failed: str = ""
    measured: int = 0
    met: int | None = None
    warmup_s: float = 0.0
    window_s: float | None = None
    offered_per_s: float | None = None
    achieved_per_s: float | None = None
    achieved_share: float | None = None
    fell_behind: bool = False
    output_tokens_per_s: float | None = None
    goodput_per_s: float | None = None
    ttft_p50_ms: float | None = None
    ttft_p99_ms: float | None = None
    tpot_p50_ms: float | None = None
    tpot_p99_ms: float | None = None
    itl_p99_ms: float | None = None
    kv_peak_percent: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Figures:
        """What `as_dict` gave. Raises `KeyError` or `TypeError` where it is something else."""
        known = {field.name for field in fields(cls)}
        return cls(**{key: data[key] for key in known})


def figures_of(content: Mapping[str, Any], value: float, repeat: int) -> Figures:
    """The figures of a run that has ended, from its `run.json`."""
    summary = content.get("summary")
    if content.get("state") != "finished" or not summary:
        reason = content.get("reason") or f"the run is {content.get('state')}"
        return Figures(value, repeat, failed=str(reason))
    latency, load = at(summary, "latency"), at(summary, "load")
    if at(content, "spec", "traffic", "concurrency") is not None:
        load = {}
    return Figures(
        value,
        repeat,
        measured=at(summary, "requests", "measured") or 0,
        met=at(summary, "objectives", "met"),
        warmup_s=(at(summary, "window", "start_ns") or 0) / 1e9,
        window_s=at(summary, "window_s"),
        offered_per_s=at(load, "offered_per_s"),
        achieved_per_s=at(load, "achieved_per_s"),
        achieved_share=at(load, "achieved_share"),
        fell_behind=bool(at(load, "fell_behind")),
        output_tokens_per_s=at(summary, "throughput", "output_tokens_per_s"),
        goodput_per_s=at(summary, "objectives", "goodput_per_s"),
        ttft_p50_ms=at(latency, "ttft_ms", "p50"),
        ttft_p99_ms=at(latency, "ttft_ms", "p99"),
        tpot_p50_ms=at(latency, "tpot_ms", "p50"),
        tpot_p99_ms=at(latency, "tpot_ms", "p99"),
        itl_p99_ms=at(latency, "itl_ms", "p99"),
        kv_peak_percent=at(summary, "kv", "usage_peak_percent"),
    )
