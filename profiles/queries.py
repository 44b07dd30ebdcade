"""What a GPU is asked, and how: by what each question costs.

On an H200 (driver 580) most take 1–6 µs. The energy counter takes 3 ms, so it is asked once a
second. `nvmlDeviceGetPcieThroughput` blocks for 21 ms per direction, so PCIe traffic is taken from
the byte counters (160 µs each) and shown as a rate, as NVLink's is. `nvmlDeviceGetPowerUsage` is a
mean over a second from Ampere on (NVIDIA's reference), so the instant value is preferred. What GPM
is asked is in profiles.gpm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ALL_LINKS = 0xFFFFFFFF
"""NVML's scope id for the sum over all NVLink links."""

ENERGY_PERIOD_NS = 1_000_000_000

_FASTEST_NVLINK = 4e12  # bytes/s, above any; its counters have 64 bits, so this is a mere sanity
_PCIE_LANE_BYTES_PER_S = (0.3125e9, 0.625e9, 1e9, 2e9, 4e9, 8e9)  # line rate, generation 1 to 6


@dataclass(frozen=True, slots=True)
class Query:
    """One call to NVML, and the columns that its answer fills."""

    name: str
    columns: tuple[str, ...]
    ask: Callable[[Any], tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Field:
    """One value of the batched call, in the column's unit after `scale`.

    It is asked no oftener than every `period_ns`. A counter that can't count more than `fastest`
    per second becomes a rate. `instead` is asked where the device does not offer the field.
    """

    name: str
    column: str
    field_id: int
    scope_id: int = 0
    scale: float = 1.0
    period_ns: int = 0
    fastest: float | None = None
    instead: Query | None = None


def queries(nvml: Any) -> list[Query]:
    """One call each."""

    def utilization(handle: Any) -> tuple[float, ...]:
        return (nvml.nvmlDeviceGetUtilizationRates(handle).gpu,)

    def memory(handle: Any) -> tuple[float, ...]:
        info = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
        return info.used, info.total

    def clock(kind: int) -> Callable[[Any], tuple[float, ...]]:
        return lambda handle: (nvml.nvmlDeviceGetClockInfo(handle, kind),)

    def temperature(handle: Any) -> tuple[float, ...]:
        return (nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),)

    def throttle_reasons(handle: Any) -> tuple[float, ...]:
        return (nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),)

    return [
        Query("utilization", ("utilization_percent",), utilization),
        Query("memory", ("memory_used_bytes", "memory_total_bytes"), memory),
        Query("sm_clock", ("sm_clock_mhz",), clock(nvml.NVML_CLOCK_SM)),
        Query("memory_clock", ("memory_clock_mhz",), clock(nvml.NVML_CLOCK_MEM)),
        Query("temperature", ("temperature_celsius",), temperature),
        Query("throttle_reasons", ("throttle_reasons",), throttle_reasons),
    ]


def fields(nvml: Any, fastest_pcie: float) -> list[Field]:
    """All of one call. `fastest_pcie`: bytes/s that the link can't exceed in one direction."""
    mean_power = Query(
        "mean_power",
        ("power_watts",),
        lambda handle: (nvml.nvmlDeviceGetPowerUsage(handle) / 1000,),
    )

    def pcie(name: str, field_id: int) -> Field:
        return Field(name, f"{name}_bytes_per_s", field_id, fastest=fastest_pcie)

    def nvlink(name: str, field_id: int) -> Field:
        column = f"{name}_bytes_per_s"
        return Field(name, column, field_id, ALL_LINKS, 1024, fastest=_FASTEST_NVLINK / 1024)

    power = nvml.NVML_FI_DEV_POWER_INSTANT
    energy = nvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION
    return [
        Field("power", "power_watts", power, scale=1e-3, instead=mean_power),
        Field("energy", "energy_joules", energy, scale=1e-3, period_ns=ENERGY_PERIOD_NS),
        pcie("pcie_rx", nvml.NVML_FI_DEV_PCIE_COUNT_RX_BYTES),
        pcie("pcie_tx", nvml.NVML_FI_DEV_PCIE_COUNT_TX_BYTES),
        nvlink("nvlink_rx", nvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX),
        nvlink("nvlink_tx", nvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX),
    ]


def fastest_pcie_bytes_per_s(nvml: Any, handle: Any) -> float:
    """The line rate of the link, one direction; of the fastest there is where NVML can't tell."""
    try:
        generation = nvml.nvmlDeviceGetMaxPcieLinkGeneration(handle)
        lanes = nvml.nvmlDeviceGetMaxPcieLinkWidth(handle)
        rate = float(lanes * _PCIE_LANE_BYTES_PER_S[generation - 1])
    except (nvml.NVMLError, IndexError):
        rate = 0.0
    return rate or 16 * _PCIE_LANE_BYTES_PER_S[-1]
