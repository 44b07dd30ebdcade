"""What the devices did during the window: means, peaks and energy of the sampled telemetry."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from workbench.analysis.metrics import Window

_GIB = 2.0**-30
_GB = 1e-9

_FIGURES: tuple[tuple[str, str, Callable[[pl.Expr], pl.Expr], float], ...] = (
    ("utilization_percent", "utilization_percent", pl.Expr.mean, 1),
    ("memory_peak_gib", "memory_used_bytes", pl.Expr.max, _GIB),
    ("memory_total_gib", "memory_total_bytes", pl.Expr.max, _GIB),
    ("power_watts", "power_watts", pl.Expr.mean, 1),
    ("sm_clock_mhz", "sm_clock_mhz", pl.Expr.mean, 1),
    ("memory_clock_mhz", "memory_clock_mhz", pl.Expr.mean, 1),
    ("temperature_peak_celsius", "temperature_celsius", pl.Expr.max, 1),
    ("pcie_rx_gb_per_s", "pcie_rx_bytes_per_s", pl.Expr.mean, _GB),
    ("pcie_tx_gb_per_s", "pcie_tx_bytes_per_s", pl.Expr.mean, _GB),
    ("nvlink_rx_gb_per_s", "nvlink_rx_bytes_per_s", pl.Expr.mean, _GB),
    ("nvlink_tx_gb_per_s", "nvlink_tx_bytes_per_s", pl.Expr.mean, _GB),
    ("process_cpu_percent", "process_cpu_percent", pl.Expr.mean, 1),
    ("process_rss_peak_gib", "process_rss_bytes", pl.Expr.max, _GIB),
    ("host_cpu_percent", "host_cpu_percent", pl.Expr.mean, 1),
    ("host_memory_available_min_gib", "host_memory_available_bytes", pl.Expr.min, _GIB),
)

_HARMLESS_THROTTLE_BITS = 0x1 | 0x2 | 0x10 | 0x100
"""Idle, clocks that the user set, sync boost, display clocks: nothing slowed the device down."""

_ENOUGH_COVERAGE = 0.95


def device_figures(
    devices: pl.DataFrame | None, window: Window, output_tokens: int
) -> dict[str, dict[str, float]]:
    """Figures by device (`gpu0`, …, `host`), each with its unit in its name.

    Means (utilisation, power, clocks, CPU %: 100 is one core for the process, all cores for the
    host; PCIe and NVLink GB/s) and peaks (memory GiB, temperature) over the samples inside the
    window. `energy_joules` is ∫power dt by trapezoids, and `energy_per_output_token_joules` that
    ÷ the window's output tokens, where samples cover the window. `throttled_percent`: share of
    samples in which power or heat slowed the device down. A figure that a device has no value
    for is left out.
    """
    if devices is None or not devices.height or "device" not in devices.columns:
        return {}
    present = [figure for figure in _FIGURES if figure[1] in devices.columns]
    figures: dict[str, dict[str, float]] = {}
    for (name,), rows in sorted(devices.sort("time_ns").group_by("device", maintain_order=True)):
        inside = rows.filter(window.holds("time_ns")).fill_nan(None)
        values = inside.select(
            (how(pl.col(column)) * scale).alias(figure) for figure, column, how, scale in present
        ).row(0, named=True)
        values["throttled_percent"] = _throttled_percent(inside)
        energy = _energy_joules(rows, window)
        values["energy_joules"] = energy
        if energy is not None and output_tokens:
            values["energy_per_output_token_joules"] = energy / output_tokens
        figures[str(name)] = {
            "samples": inside.height,
            **{figure: float(value) for figure, value in values.items() if value is not None},
        }
    return figures


def _throttled_percent(rows: pl.DataFrame) -> float | None:
    if "throttle_reasons" not in rows.columns:
        return None
    masks = rows["throttle_reasons"].drop_nulls().cast(pl.Int64).to_numpy()
    if not masks.size:
        return None
    return 100 * float(np.mean((masks & ~_HARMLESS_THROTTLE_BITS) != 0))


def _energy_joules(rows: pl.DataFrame, window: Window) -> float | None:
    """∫power dt over the window, J; power at its edges is interpolated from the samples around.

    None where the samples cover less than 95 % of the window.
    """
    if "power_watts" not in rows.columns:
        return None
    sampled = rows.select("time_ns", "power_watts").fill_nan(None).drop_nulls()
    times, power = (sampled[name].to_numpy() for name in ("time_ns", "power_watts"))
    if times.size < 2 or window.length_s <= 0:
        return None
    edges = np.clip([window.start_ns, window.end_ns], times[0], times[-1])
    if edges[1] - edges[0] < _ENOUGH_COVERAGE * (window.end_ns - window.start_ns):
        return None
    inside = times[(times > edges[0]) & (times < edges[1])]
    at = np.concatenate((edges[:1], inside, edges[1:]))
    watts = np.interp(at, times, power)
    return float(np.sum((watts[1:] + watts[:-1]) / 2 * np.diff(at)) / 1e9)
