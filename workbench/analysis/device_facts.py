"""The devices in the end report: a line for each, and one for what it doesn't offer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.analysis.devices import throttle_shares
from workbench.analysis.lookup import at
from workbench.analysis.printable import plain
from workbench.analysis.quantities import MISSING, number, percent, quantity
from workbench.analysis.report_tables import Facts

_WORDS = {
    "gpm": "SM, tensor and DRAM activity (GPM)",
    "sm_active": "SM activity",
    "sm_occupancy": "SM occupancy",
    "tensor_active": "tensor activity",
    "hmma_active": "16-bit tensor activity",
    "dram_bandwidth": "DRAM bandwidth",
    "pcie_rx": "PCIe in",
    "pcie_tx": "PCIe out",
    "nvlink_rx": "NVLink in",
    "nvlink_tx": "NVLink out",
    "energy": "energy counter",
    "throttle_reasons": "throttle reasons",
}
"""What a query of the telemetry is called, where its own name would not do."""

_FIGURES = {
    "gpm": ("sm_active_percent",),
    "energy": (),
    "power": ("power_watts",),
    "memory": ("memory_peak_gib",),
    "throttle_reasons": ("throttled_percent",),
    "temperature": ("temperature_peak_celsius",),
}
"""Figures that show that a query was answered; of the others, those that begin with its name."""


def device_facts(devices: Mapping[str, Any], reasons: Mapping[str, Any]) -> Facts:
    """A line for each device and for what it doesn't offer; the reason for one not measured."""
    facts: Facts = []
    for name, figures in devices.items():
        facts.append((plain(name), _device_fact(figures)))
        absent = absent_line(name, figures, reasons)
        if absent:
            facts.append((f"  {plain(name)} lacks", absent))
    facts += [
        (plain(name), f"not measured: {plain(reason)}")
        for name, reason in reasons.items()
        if "." not in name and name not in devices
    ]
    return facts


def absent_line(device: str, figures: Any, reasons: Mapping[str, Any]) -> str:
    """What the device does not offer, and why not, in one line; "" where it has everything.

    Args:
        reasons: of the telemetry, by `device.query`.
    """
    by_reason: dict[str, list[str]] = {}
    for key, reason in reasons.items():
        owner, _, query = key.partition(".")
        if owner == device and query and not _is_told(query, figures):
            said = plain(reason).partition(" (NVMLError")[0]
            by_reason.setdefault(said, []).append(_WORDS.get(query, plain(query.replace("_", " "))))
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())


def _is_told(query: str, figures: Any) -> bool:
    if not isinstance(figures, Mapping):
        return False
    if query == "energy":
        return bool(at(figures, "energy_counted"))
    names = _FIGURES.get(query)
    if names is None:
        names = tuple(name for name in figures if name.startswith(f"{query}_"))
    return any(at(figures, name) is not None for name in names)


def _device_fact(figures: Any) -> str:
    memory = at(figures, "memory_peak_gib")
    parts = [
        ("utilisation {}", percent, "utilization_percent"),
        ("SMs active {}", percent, "sm_active_percent"),
        ("occupancy {}", percent, "sm_occupancy_percent"),
        ("tensor cores {}", percent, "tensor_active_percent"),
        ("DRAM bandwidth {}", percent, "dram_bandwidth_percent"),
        (f"memory {number(memory)} of {{}}", _gib, "memory_total_gib"),
        ("power {}", lambda watts: quantity(watts, "W"), "power_watts"),
        ("{} per output token", lambda j: quantity(j, "J"), "energy_per_output_token_joules"),
        ("SM {}", lambda clock: quantity(clock, "MHz"), "sm_clock_mhz"),
        ("{} at most", lambda heat: quantity(heat, "°C"), "temperature_peak_celsius"),
        ("NVLink in {}", _rate, "nvlink_rx_gb_per_s"),
        ("out {}", _rate, "nvlink_tx_gb_per_s"),
        ("PCIe in {}", _rate, "pcie_rx_gb_per_s"),
        ("out {}", _rate, "pcie_tx_gb_per_s"),
        ("process CPU {}", percent, "process_cpu_percent"),
        ("RSS {} at most", _gib, "process_rss_peak_gib"),
        ("machine CPU {}", percent, "host_cpu_percent"),
    ]
    said = []
    for form, say, name in parts:
        value = at(figures, name)
        if value is None:
            continue
        said.append(form.format(say(value)))
        if name == "energy_per_output_token_joules":
            said[-1] += " (counted)" if at(figures, "energy_counted") else " (from power)"
    if isinstance(figures, Mapping):
        said += [f"{reason} {percent(share)}" for reason, share in throttle_shares(figures).items()]
    return ", ".join(said) or MISSING


def _gib(value: float | None) -> str:
    return quantity(value, "GiB")


def _rate(value: float | None) -> str:
    return quantity(value, "GB/s")
