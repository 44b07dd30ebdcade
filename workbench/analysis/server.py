"""What a remote server told of itself in its `/metrics`, over the window."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from workbench.analysis.metrics import Window


@dataclass(frozen=True, slots=True)
class ServerFigures:
    """A remote server's own figures; None where it doesn't tell them.

    Gauges are means and peaks of the samples inside the window; what it counts is the difference
    between the window's first and last sample, which requests of others are part of, too.

    Attributes:
        samples: how often its metrics were read inside the window.
        running_mean, running_peak, waiting_mean, waiting_peak: requests.
        kv_usage_mean_percent, kv_usage_peak_percent: KV usage, %.
        queue_ms: mean time in its queue, ms, of the requests that left it.
        ttft_ms: mean time to first token by its own clock, ms.
        prefix_hit_percent: prompt tokens found in its prefix cache ÷ looked up, %.
        preemptions: count.
        prompt_tokens_per_s, output_tokens_per_s: tok/s.
    """

    samples: int
    running_mean: float | None
    running_peak: float | None
    waiting_mean: float | None
    waiting_peak: float | None
    kv_usage_mean_percent: float | None
    kv_usage_peak_percent: float | None
    queue_ms: float | None
    ttft_ms: float | None
    prefix_hit_percent: float | None
    preemptions: float | None
    prompt_tokens_per_s: float | None
    output_tokens_per_s: float | None


def server_figures(server: pl.DataFrame | None, window: Window) -> ServerFigures | None:
    """The figures of the window's samples; None where nothing was read inside it."""
    if server is None or server.is_empty():
        return None
    inside = server.filter(window.holds("time_ns")).sort("time_ns")
    if inside.is_empty():
        return None

    def gauge(name: str, scale: float = 1.0) -> tuple[float | None, float | None]:
        mean, peak = inside.select(
            mean=pl.col(name).mean() * scale, peak=pl.col(name).max() * scale
        ).row(0)
        return mean, peak

    def grown(name: str) -> float | None:
        values = inside[name].drop_nulls()
        more = float(values[-1] - values[0]) if len(values) > 1 else -1.0
        return more if more >= 0 else None  # a server that was started anew counts from 0

    def share(part: float | None, whole: float | None, scale: float) -> float | None:
        return scale * part / whole if part is not None and whole else None

    stamps = inside["time_ns"]
    length_s = (stamps[-1] - stamps[0]) / 1e9
    return ServerFigures(
        inside.height,
        *gauge("running"),
        *gauge("waiting"),
        *gauge("kv_usage", 100.0),
        queue_ms=share(grown("queue_time_sum_s"), grown("queue_time_count"), 1e3),
        ttft_ms=share(grown("ttft_sum_s"), grown("ttft_count"), 1e3),
        prefix_hit_percent=share(
            grown("prefix_cache_hits_total"), grown("prefix_cache_queries_total"), 100.0
        ),
        preemptions=grown("preemptions_total"),
        prompt_tokens_per_s=share(grown("prompt_tokens_total"), length_s, 1.0),
        output_tokens_per_s=share(grown("generation_tokens_total"), length_s, 1.0),
    )
