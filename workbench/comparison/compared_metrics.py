"""What a comparison has a row for: where each figure lies in a summary, its unit, and which way is
better. Definitions are docs/metrics.md's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from workbench.analysis.lookup import at
from workbench.analysis.metrics import STAGES

Better = Literal["lower", "higher"]
Family = Literal["outcome", "cause"]

BY_LIMITS = ("goodput", "attainment")
"""Names of the metrics that the SLO decides."""
BY_STATUS = ("failed", "rejected", "unfinished")
"""Names of those that count requests which ended so."""
BY_REQUEST = ("preemptions", "recomputed_tokens")
"""Names of those that sum up a column of the requests."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of a run.

    Attributes:
        name: what people call it, unique in a comparison: "ttft_p99".
        path: where it lies in a summary; scale: what it is multiplied by to be in `unit`.
        better: which way is better; None where neither is.
        family: "outcome" for what users of the server feel, "cause" for what it comes from;
            verdicts are corrected for their number (Holm) in each family by itself.
    """

    group: str
    label: str
    unit: str
    name: str
    path: tuple[str, ...]
    better: Better | None = None
    scale: float = 1.0
    family: Family = "cause"

    @property
    def figure(self) -> str:
        """Its last part: "p99", "mean", …"""
        return self.path[-1]

    @property
    def column(self) -> str:
        """The part before: "ttft_ms" of a latency."""
        return self.path[-2] if len(self.path) > 1 else ""

    @property
    def key(self) -> str:
        """Its place in a summary: "latency.ttft_ms.p99"."""
        return ".".join(self.path)

    def value(self, summary: Mapping[str, Any] | None) -> float | None:
        """The figure in `unit`; None where the run has none."""
        found = at(summary, *self.path)
        if isinstance(found, bool) or not isinstance(found, int | float):
            return None
        return found * self.scale


_LATENCIES = (
    ("ttft_ms", "TTFT"),
    ("tpot_ms", "TPOT"),
    ("itl_ms", "ITL"),
    ("itl_per_token_ms", "ITL/token"),
    ("e2e_ms", "E2E"),
)
_FIGURES = ("p50", "p90", "p95", "p99", "mean")
_STAGE_FIGURES = ("p50", "p99", "mean")
_DEVICE_FIGURES: tuple[tuple[str, str, str, Better | None], ...] = (
    ("utilization_percent", "utilisation", "%", None),
    ("memory_peak_gib", "memory, peak", "GiB", None),
    ("sm_active_percent", "SMs active", "%", None),
    ("sm_occupancy_percent", "SM occupancy", "%", None),
    ("tensor_active_percent", "tensor cores active", "%", None),
    ("hmma_active_percent", "tensor cores active, 16-bit", "%", None),
    ("dram_bandwidth_percent", "DRAM bandwidth used", "%", None),
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
    metrics = [*_latency_metrics(known), *_THROUGHPUT, *_REQUESTS, *_stage_metrics(known)]
    metrics += [*_ENGINE, *_device_metrics(known)]
    return tuple(
        metric for metric in metrics if any(metric.value(summary) is not None for summary in known)
    )


def _latency_metrics(summaries: Sequence[Mapping[str, Any]]) -> list[Metric]:
    metrics = []
    for column, label in _LATENCIES:
        if column == "itl_per_token_ms" and all(
            at(summary, "latency", column) == at(summary, "latency", "itl_ms")
            for summary in summaries
        ):
            continue
        metrics += [_latency("Latency", column, label, figure, "outcome") for figure in _FIGURES]
    for figure in ("p50", "mean"):
        path = ("latency", "output_speed", figure)
        metrics.append(
            Metric(
                "Latency", f"Output speed {figure}", "tok/s/user", f"output_speed_{figure}", path,
                "higher", 1, "outcome",
            )
        )  # fmt: skip
    return metrics


def _stage_metrics(summaries: Sequence[Mapping[str, Any]]) -> list[Metric]:
    return [
        _latency("Stages of TTFT", f"{stage}_ms", stage.replace("_", " "), figure, "cause")
        for stage in STAGES
        if any(at(summary, "latency", f"{stage}_ms", "max") for summary in summaries)
        for figure in _STAGE_FIGURES
    ]


def _latency(group: str, column: str, label: str, figure: str, family: Family) -> Metric:
    name = f"{column.removesuffix('_ms')}_{figure}"
    path = ("latency", column, figure)
    return Metric(group, f"{label} {figure}", "ms", name, path, "lower", 1, family)


def _device_metrics(summaries: Iterable[Mapping[str, Any]]) -> list[Metric]:
    names = sorted({name for summary in summaries for name in at(summary, "devices") or {}})
    return [
        Metric(
            "Devices",
            f"{name} {label}",
            unit,
            f"{name}_{figure}",
            ("devices", name, figure),
            better,
        )
        for name in names
        for figure, label, unit, better in _DEVICE_FIGURES
    ]


def _metric(
    group: str,
    label: str,
    unit: str,
    name: str,
    path: str,
    better: Better | None = None,
    scale: float = 1.0,
    family: Family = "cause",
) -> Metric:
    return Metric(group, label, unit, name, tuple(path.split(".")), better, scale, family)


def _outcome(
    group: str, label: str, unit: str, name: str, path: str, better: Better, scale: float = 1.0
) -> Metric:
    return _metric(group, label, unit, name, path, better, scale, "outcome")


_THROUGHPUT = (
    _outcome(
        "Throughput",
        "Output",
        "tok/s",
        "output_throughput",
        "throughput.output_tokens_per_s",
        "higher",
    ),
    _metric(
        "Throughput",
        "Prompt, computed",
        "tok/s",
        "prompt_throughput",
        "throughput.prompt_tokens_per_s",
    ),
    _outcome(
        "Throughput",
        "Requests ended ok",
        "req/s",
        "request_throughput",
        "throughput.requests_per_s",
        "higher",
    ),
    _outcome("Throughput", "Goodput", "req/s", "goodput", "objectives.goodput_per_s", "higher"),
    _outcome("Throughput", "Attainment", "%", "attainment", "objectives.attainment", "higher", 100),
    _metric("Throughput", "Offered", "req/s", "offered_rate", "load.offered_per_s"),
    _metric("Throughput", "Achieved", "req/s", "achieved_rate", "load.achieved_per_s"),
    _outcome(
        "Throughput",
        "Achieved of offered",
        "%",
        "achieved_share",
        "load.achieved_share",
        "higher",
        100,
    ),
)
_REQUESTS = (
    _metric("Requests", "In the window", "", "requests", "requests.measured"),
    _metric("Requests", "Ended ok", "", "ok", "requests.by_status.ok"),
    _outcome("Requests", "Failed", "", "failed", "requests.by_status.failed", "lower"),
    _outcome("Requests", "Rejected", "", "rejected", "requests.by_status.rejected", "lower"),
    _metric("Requests", "Cancelled", "", "cancelled", "requests.by_status.cancelled"),
    _outcome("Requests", "Unfinished", "", "unfinished", "requests.by_status.unfinished", "lower"),
    _metric("Requests", "In flight at the window's end", "", "in_flight_end", "load.in_flight_end"),
    _metric("Requests", "Drain", "s", "drain", "drain_s"),
    _metric(
        "Requests", "Input tokens p50", "tokens", "input_tokens_p50", "lengths.input_tokens.p50"
    ),
    _metric(
        "Requests", "Input tokens mean", "tokens", "input_tokens_mean", "lengths.input_tokens.mean"
    ),
    _metric(
        "Requests", "Output tokens p50", "tokens", "output_tokens_p50", "lengths.output_tokens.p50"
    ),
    _metric(
        "Requests",
        "Output tokens mean",
        "tokens",
        "output_tokens_mean",
        "lengths.output_tokens.mean",
    ),
)
_ENGINE = (
    _metric("Engine", "Prefix hits", "%", "prefix_hits", "cache.prefix_hit_percent", "higher"),
    _metric("Engine", "Preemptions", "", "preemptions", "cache.preemptions", "lower"),
    _metric(
        "Engine",
        "Recomputed tokens",
        "tokens",
        "recomputed_tokens",
        "cache.recomputed_tokens",
        "lower",
    ),
    _metric("Engine", "KV usage, peak", "%", "kv_usage_peak", "kv.usage_peak_percent"),
    _metric("Engine", "KV usage, mean", "%", "kv_usage_mean", "kv.usage_mean_percent"),
    _metric("Engine", "Steps", "", "steps", "steps.count"),
    _metric("Engine", "Step time p50", "ms", "step_p50", "steps.duration_ms.all.p50", "lower"),
    _metric("Engine", "Step time p99", "ms", "step_p99", "steps.duration_ms.all.p99", "lower"),
    _metric("Engine", "Scheduling p50", "ms", "schedule_p50", "steps.schedule_ms.p50", "lower"),
    _metric("Engine", "Host gap p50", "ms", "host_gap_p50", "steps.host_gap_ms.p50", "lower"),
    _metric("Engine", "Host gap p99", "ms", "host_gap_p99", "steps.host_gap_ms.p99", "lower"),
    _metric("Engine", "Host time p50", "ms", "host_time_p50", "steps.gpu.host_ms.p50", "lower"),
    _metric("Engine", "GPU busy", "%", "gpu_busy", "steps.gpu.busy_percent"),
    _metric("Engine", "GPU time p50", "ms", "gpu_step_p50", "steps.gpu.step_ms.all.p50", "lower"),
    _metric("Engine", "GPU time p99", "ms", "gpu_step_p99", "steps.gpu.step_ms.all.p99", "lower"),
    _metric(
        "Engine",
        "GPU idle between decodes p50",
        "ms",
        "gpu_idle_p50",
        "steps.gpu.decode_idle_ms.p50",
        "lower",
    ),
    _metric(
        "Engine",
        "GPU idle between decodes p99",
        "ms",
        "gpu_idle_p99",
        "steps.gpu.decode_idle_ms.p99",
        "lower",
    ),
    _metric(
        "Engine",
        "GPU idle between decodes",
        "%",
        "gpu_idle_share",
        "steps.gpu.decode_idle_percent",
        "lower",
    ),
    _metric("Engine", "Time inside steps", "%", "in_steps", "steps.in_steps_percent"),
    _metric("Engine", "Sequences per step", "", "batch_mean", "steps.mean_batch"),
    _metric("Engine", "Tokens per step", "tokens", "tokens_per_step", "steps.tokens_per_step"),
)
