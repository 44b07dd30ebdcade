"""What the devices did during the window: means, peaks and energy of the sampled telemetry."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from profiles.samples import HARMLESS_THROTTLE_REASONS, THROTTLE_REASONS
from workbench.analysis.metrics import Window

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_GIB = 2.0**-30
_GB = 1e-9

_FIGURES: tuple[tuple[str, str, Callable[[pl.Expr], pl.Expr], float], ...] = (
    ("utilization_percent", "utilization_percent", pl.Expr.mean, 1),
    ("sm_active_percent", "sm_active_percent", pl.Expr.mean, 1),
    ("sm_occupancy_percent", "sm_occupancy_percent", pl.Expr.mean, 1),
    ("tensor_active_percent", "tensor_active_percent", pl.Expr.mean, 1),
    ("hmma_active_percent", "hmma_active_percent", pl.Expr.mean, 1),
    ("dram_bandwidth_percent", "dram_bandwidth_percent", pl.Expr.mean, 1),
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

_SLOWING_BITS = {
    bit: reason
    for bit, reason in THROTTLE_REASONS.items()
    if reason not in HARMLESS_THROTTLE_REASONS
}

_ENOUGH_COVERAGE = 0.95


def device_figures(
    devices: pl.DataFrame | None, window: Window, output_tokens: int
) -> dict[str, dict[str, float]]:
    """Figures by device (`gpu0`, …, `host`), each with its unit in its name.

    Means (utilisation, GPM's shares, power, clocks, CPU %: 100 is one core for the process, all
    cores for the host; PCIe and NVLink GB/s) and peaks (memory GiB, temperature) over the samples
    inside the window. `energy_joules` is what the device's energy counter rose by or, where it
    has none, ∫power dt by trapezoids; `energy_counted` is 1 for the counter, 0 for the integral.
    `energy_per_output_token_joules` is the energy ÷ the window's output tokens, where samples
    cover the window. `throttled_percent`: share of samples in which power or heat slowed the
    device down; `throttled_by_software_power_cap_percent`, …: of each reason that there was. A
    figure that a device has no value for is left out.
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
        values |= _throttled(inside) | _energy(rows, window, output_tokens)
        figures[str(name)] = {
            "samples": inside.height,
            **{figure: float(value) for figure, value in values.items() if value is not None},
        }
    return figures


def throttle_shares(figures: Mapping[str, float]) -> dict[str, float]:
    """What slowed a device down, in words, and in which share of its samples, %; the most first."""
    shares = {
        reason: share
        for reason in _SLOWING_BITS.values()
        if isinstance(share := figures.get(_throttled_by(reason)), int | float)
    }
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _throttled_by(reason: str) -> str:
    return f"throttled_by_{reason.replace(' ', '_')}_percent"


def _throttled(rows: pl.DataFrame) -> dict[str, float]:
    if "throttle_reasons" not in rows.columns:
        return {}
    masks = rows["throttle_reasons"].drop_nulls().cast(pl.Int64).to_numpy()
    if not masks.size:
        return {}
    shares = {"throttled_percent": 100 * float(np.mean((masks & sum(_SLOWING_BITS)) != 0))}
    for bit, reason in _SLOWING_BITS.items():
        if (masks & bit).any():
            shares[_throttled_by(reason)] = 100 * float(np.mean((masks & bit) != 0))
    return shares


def _energy(rows: pl.DataFrame, window: Window, output_tokens: int) -> dict[str, float]:
    counted = _counted_joules(rows, window)
    joules = _integrated_joules(rows, window) if counted is None else counted
    if joules is None:
        return {}
    energy = {"energy_joules": joules, "energy_counted": float(counted is not None)}
    if output_tokens:
        energy["energy_per_output_token_joules"] = joules / output_tokens
    return energy


def _counted_joules(rows: pl.DataFrame, window: Window) -> float | None:
    """What the energy counter rose by in the window, J; its value at the edges is interpolated.

    None where readings cover less than 95 % of the window, or the counter started anew.
    """
    times, joules = _sampled(rows, "energy_joules")
    edges = _covered(times, window)
    if edges is None or (np.diff(joules) < 0).any():
        return None
    before, after = np.interp(edges, times, joules)
    return float(after - before)


def _integrated_joules(rows: pl.DataFrame, window: Window) -> float | None:
    """∫power dt over the window, J; power at its edges is interpolated from the samples around.

    None where the samples cover less than 95 % of the window.
    """
    times, power = _sampled(rows, "power_watts")
    edges = _covered(times, window)
    if edges is None:
        return None
    inside = times[(times > edges[0]) & (times < edges[1])]
    at = np.concatenate((edges[:1], inside, edges[1:]))
    watts = np.interp(at, times, power)
    return float(np.sum((watts[1:] + watts[:-1]) / 2 * np.diff(at)) / 1e9)


def _sampled(rows: pl.DataFrame, column: str) -> tuple[Ints, Floats]:
    """The times and values of the samples that have a value."""
    if column not in rows.columns:
        return np.empty(0, np.int64), np.empty(0)
    sampled = rows.select("time_ns", pl.col(column).cast(pl.Float64)).fill_nan(None).drop_nulls()
    return sampled["time_ns"].to_numpy(), sampled[column].to_numpy()


def _covered(times_ns: Ints, window: Window) -> Ints | None:
    """The part of the window that samples cover, ns; None where that is less than 95 % of it."""
    if times_ns.size < 2 or window.length_s <= 0:
        return None
    edges = np.clip([window.start_ns, window.end_ns], times_ns[0], times_ns[-1])
    covered = edges[1] - edges[0] >= _ENOUGH_COVERAGE * (window.end_ns - window.start_ns)
    return edges if covered else None
