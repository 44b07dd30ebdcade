"""The columns of a telemetry sample, and what a source of samples must offer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

Row = npt.NDArray[np.float64]

GPU_COLUMNS = (
    "utilization_percent",  # share of the driver's last window in which any kernel ran
    "memory_used_bytes",  # by all processes, the driver's reserve left out
    "memory_total_bytes",
    "power_watts",  # at the instant; averaged over a second where the driver has no other
    "sm_clock_mhz",
    "memory_clock_mhz",
    "temperature_celsius",
    "pcie_rx_bytes_per_s",  # by the GPU, protocol counted; mean since the sample before
    "pcie_tx_bytes_per_s",
    "nvlink_rx_bytes_per_s",  # all links, payload without protocol; mean since the sample before
    "nvlink_tx_bytes_per_s",
    "throttle_reasons",  # why clocks are lower: bit mask, see THROTTLE_REASONS; 0 is none
    "energy_joules",  # a counter since the driver was loaded; asked once a second, NaN in between
    # Means since the sample before, by GPM (Hopper and later):
    "sm_active_percent",  # SMs with work on them
    "sm_occupancy_percent",  # warps on the SMs, of as many as fit
    "tensor_active_percent",  # tensor cores, any type
    "hmma_active_percent",  # tensor cores, 16-bit floating point; part of tensor_active_percent
    "dram_bandwidth_percent",  # bytes read from and written to memory, of the most there can be
)
"""What is sampled per GPU."""

HOST_COLUMNS = (
    "process_cpu_percent",  # this process; 100 is one core busy. Mean since the sample before
    "process_rss_bytes",
    "process_threads",
    "host_cpu_percent",  # all cores; 100 is all busy. Mean since the sample before
    "host_memory_available_bytes",
)
"""What is sampled of the process and its machine."""

VALUE_COLUMNS = GPU_COLUMNS + HOST_COLUMNS

COLUMNS = ("time_ns", "device", "period_ns", *VALUE_COLUMNS)
"""Every column of a sample.

`time_ns` int64: when the tick began, on the clock of the run. `device` str: `gpu0`, `gpu1`, … in
the order of the run's devices, or `host`. `period_ns` int64: the sampling period. The rest are
float64, NaN where the device has no such value or could not tell it; the reason is kept beside
the samples, never a placeholder in them.
"""

COLUMN_INDEX: Mapping[str, int] = {name: index for index, name in enumerate(VALUE_COLUMNS)}

THROTTLE_REASONS: Mapping[int, str] = {
    0x001: "gpu idle",
    0x002: "application clocks",
    0x004: "software power cap",
    0x008: "hardware slowdown",
    0x010: "sync boost",
    0x020: "software thermal slowdown",
    0x040: "hardware thermal slowdown",
    0x080: "hardware power brake",
    0x100: "display clocks",
}
"""Bits of `throttle_reasons`, as NVML's `nvmlClocksEventReason*` define them."""

HARMLESS_THROTTLE_REASONS = frozenset(
    ("gpu idle", "application clocks", "sync boost", "display clocks")
)
"""Those in which nothing slows the device down: it idles, or its clocks were set so."""


class Sampler(Protocol):
    """A source of samples: one row per device at each tick.

    Attributes:
        devices: names of its rows, fixed for its lifetime.
        reasons: why values are missing, by `device` or `device.query`; grows as queries fail.
        failures: how often a query failed that had worked or may work again.
        poll_period_ns: how often `poll` is wanted, None for never; may change at a sample.
    """

    @property
    def devices(self) -> tuple[str, ...]: ...

    @property
    def reasons(self) -> Mapping[str, str]: ...

    @property
    def failures(self) -> Mapping[str, int]: ...

    @property
    def poll_period_ns(self) -> int | None: ...

    def sample(self, rows: Row) -> None:
        """Fill `rows` float64 `[devices, VALUE_COLUMNS]`, given full of NaN.

        A value that can't be had stays NaN and gets its reason; nothing is raised for it.
        """

    def poll(self) -> None:
        """Look at what would be gone by the next sample, such as a counter that comes round."""

    def close(self) -> None:
        """Release what the source holds. It is not sampled again."""


def decode_throttle_reasons(mask: float) -> tuple[str, ...]:
    """The reasons in a `throttle_reasons` value, in words; none for 0 and for NaN."""
    if mask != mask:
        return ()
    return tuple(name for bit, name in THROTTLE_REASONS.items() if int(mask) & bit)
