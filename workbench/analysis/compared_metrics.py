"""What a comparison has a row for: where each figure lies in a summary, its unit, and which way is
better. Definitions are docs/metrics.md's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from workbench.analysis.lookup import at
from workbench.analysis.metrics import STAGES

Better = Literal["lower", "higher"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of a run.

    Attributes:
        path: where it lies in a summary; scale: what it is multiplied by to be in `unit`.
        better: which way is better; None where neither is.
        sample: the per-request column that its interval is made from; "" where it has none.
    """

    group: str
    label: str
    unit: str
    path: tuple[str, ...]
    better: Better | None = None
    scale: float = 1.0
    sample: str = ""

    @property
    def figure(self) -> str:
        """Its last part: "p99", "mean", …"""
        return self.path[-1]

    @property
    def key(self) -> str:
        """A name for machines, unique in a comparison: "latency.ttft_ms.p99"."""
        return ".".join(self.path)

    def value(self, summary: Mapping[str, Any] | None) -> float | None:
        """The figure in `unit`; None where the run has none."""
        found = at(summary, *self.path)
        if isinstance(found, bool) or not isinstance(found, int | float):
            return None
        return found * self.scale


_LATENCIES = (
    ("ttft_ms", "TTFT"),
    *((f"{stage}_ms", f"TTFT: {stage.replace('_', ' ')}") for stage in STAGES),
    ("tpot_ms", "TPOT"),
    ("itl_ms", "ITL"),
    ("itl_per_token_ms", "ITL/token"),
    ("e2e_ms", "E2E"),
)
_FIGURES = ("p50", "p90", "p99", "mean")
_POOLED = ("itl_ms", "itl_per_token_ms")
_DEVICE_FIGURES: tuple[tuple[str, str, str, Better | None], ...] = (
    ("utilization_percent", "utilisation", "%", None),
    ("memory_peak_gib", "memory, peak", "GiB", None),
    ("power_watts", "power", "W", None),
    ("energy_per_output_token_joules", "energy per output token", "J", "lower"),
    ("sm_clock_mhz", "SM clock", "MHz", None),
    ("temperature_peak_celsius", "temperature, peak", "°C", None),
    ("throttled_percent", "slowed by power or heat", "%", "lower"),
    ("pcie_rx_gb_per_s", "PCIe in", "GB/s", None),
    ("pcie_tx_gb_per_s", "PCIe out", "GB/s", None),
    ("nvlink_rx_gb_per_s", "NVLink in", "GB/s", None),
    ("nvlink_tx_gb_per_s", "NVLink out", "GB/s", None),
    ("process_cpu_percent", "process CPU", "%", None),
    ("process_rss_peak_gib", "process RSS, peak", "GiB", None),
    ("host_cpu_percent", "machine CPU", "%", None),
)


def metrics_of(summaries: Sequence[Mapping[str, Any] | None]) -> tuple[Metric, ...]:
    """The rows of a comparison of these summaries: every metric that one of them has, in the order
    of the report. A stage that took no time in any run is left out, and so is ITL/token where it is
    the ITL everywhere."""
    known = [summary for summary in summaries if summary is not None]
    metrics = [*_latency_metrics(known), *_THROUGHPUT, *_REQUESTS, *_ENGINE]
    metrics += _device_metrics(known)
    return tuple(
        metric for metric in metrics if any(metric.value(summary) is not None for summary in known)
    )


def _latency_metrics(summaries: Iterable[Mapping[str, Any]]) -> list[Metric]:
    summaries = list(summaries)
    metrics = []
    for name, label in _LATENCIES:
        if label.startswith("TTFT: ") and not any(
            at(summary, "latency", name, "max") for summary in summaries
        ):
            continue
        if name == "itl_per_token_ms" and all(
            at(summary, "latency", name) == at(summary, "latency", "itl_ms")
            for summary in summaries
        ):
            continue
        sample = "" if name in _POOLED else name
        metrics += [
            Metric(
                "Latency", f"{label} {figure}", "ms", ("latency", name, figure), "lower", 1, sample
            )
            for figure in _FIGURES
        ]
    for figure in ("p50", "mean"):
        path = ("latency", "output_speed", figure)
        label = f"Output speed {figure}"
        metrics.append(Metric("Latency", label, "tok/s/user", path, "higher", 1, "output_speed"))
    return metrics


def _device_metrics(summaries: Iterable[Mapping[str, Any]]) -> list[Metric]:
    names = sorted({name for summary in summaries for name in at(summary, "devices") or {}})
    return [
        Metric("Devices", f"{name} {label}", unit, ("devices", name, figure), better)
        for name in names
        for figure, label, unit, better in _DEVICE_FIGURES
    ]


def _metric(
    group: str, label: str, unit: str, path: str, better: Better | None = None, scale: float = 1.0
) -> Metric:
    return Metric(group, label, unit, tuple(path.split(".")), better, scale)


_THROUGHPUT = (
    _metric("Throughput", "Output", "tok/s", "throughput.output_tokens_per_s", "higher"),
    _metric("Throughput", "Prompt, computed", "tok/s", "throughput.prompt_tokens_per_s", "higher"),
    _metric("Throughput", "Requests ended ok", "req/s", "throughput.requests_per_s", "higher"),
    _metric("Throughput", "Goodput", "req/s", "objectives.goodput_per_s", "higher"),
    _metric("Throughput", "Attainment", "%", "objectives.attainment", "higher", 100),
    _metric("Throughput", "Offered", "req/s", "load.offered_per_s"),
    _metric("Throughput", "Achieved", "req/s", "load.achieved_per_s"),
    _metric("Throughput", "Achieved of offered", "%", "load.achieved_share", "higher", 100),
)
_REQUESTS = (
    _metric("Requests", "In the window", "", "requests.measured"),
    _metric("Requests", "Ended ok", "", "requests.by_status.ok"),
    _metric("Requests", "Failed", "", "requests.by_status.failed", "lower"),
    _metric("Requests", "Rejected", "", "requests.by_status.rejected", "lower"),
    _metric("Requests", "Cancelled", "", "requests.by_status.cancelled"),
    _metric("Requests", "Unfinished", "", "requests.by_status.unfinished", "lower"),
    _metric("Requests", "In flight at the window's end", "", "load.in_flight_end"),
    _metric("Requests", "Drain", "s", "drain_s"),
    _metric("Requests", "Input tokens p50", "tokens", "lengths.input_tokens.p50"),
    _metric("Requests", "Input tokens mean", "tokens", "lengths.input_tokens.mean"),
    _metric("Requests", "Output tokens p50", "tokens", "lengths.output_tokens.p50"),
    _metric("Requests", "Output tokens mean", "tokens", "lengths.output_tokens.mean"),
)
_ENGINE = (
    _metric("Engine", "Prefix hits", "%", "cache.prefix_hit_percent", "higher"),
    _metric("Engine", "Preemptions", "", "cache.preemptions", "lower"),
    _metric("Engine", "Recomputed tokens", "tokens", "cache.recomputed_tokens", "lower"),
    _metric("Engine", "KV usage, peak", "%", "kv.usage_peak_percent"),
    _metric("Engine", "KV usage, mean", "%", "kv.usage_mean_percent"),
    _metric("Engine", "Steps", "", "steps.count"),
    _metric("Engine", "Step time p50", "ms", "steps.duration_ms.all.p50", "lower"),
    _metric("Engine", "Step time p99", "ms", "steps.duration_ms.all.p99", "lower"),
    _metric("Engine", "Scheduling p50", "ms", "steps.schedule_ms.p50", "lower"),
    _metric("Engine", "Host gap p50", "ms", "steps.host_gap_ms.p50", "lower"),
    _metric("Engine", "Host gap p99", "ms", "steps.host_gap_ms.p99", "lower"),
    _metric("Engine", "Time inside steps", "%", "steps.in_steps_percent"),
    _metric("Engine", "Sequences per step", "", "steps.mean_batch"),
    _metric("Engine", "Tokens per step", "tokens", "steps.tokens_per_step"),
)
