"""Samples of GPUs through NVML.

What a query costs decides how it is asked. NVIDIA documents that `nvmlDeviceGetPcieThroughput`
looks at 20 ms of traffic, and it blocks for as long, per direction: PCIe traffic is taken from
the byte counters instead and shown as a rate. `nvmlDeviceGetPowerUsage` is a mean over a second
from Ampere on, so the instant value is preferred. Power, energy and counters are one call.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from profiles.errors import ProfileError
from profiles.nvml import FoundGpus, GpuHandle, Gpus, explain, find_gpus, is_permanent, open_nvml
from profiles.samples import COLUMN_INDEX, Row

ALL_LINKS = 0xFFFFFFFF
"""NVML's scope id for the sum over all NVLink links."""


@dataclass(frozen=True, slots=True)
class _Query:
    """One call to NVML, and the columns that its answer fills."""

    name: str
    columns: tuple[str, ...]
    ask: Callable[[Any], tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class _Field:
    """One value of the batched call, in the column's unit after `scale`.

    A counter becomes a rate per second. `instead` is asked from then on where the device does
    not offer the field.
    """

    name: str
    column: str
    field_id: int
    scope_id: int = 0
    scale: float = 1.0
    is_counter: bool = False
    instead: _Query | None = None


def _queries(nvml: Any) -> list[_Query]:
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
        _Query("utilization", ("utilization_percent",), utilization),
        _Query("memory", ("memory_used_bytes", "memory_total_bytes"), memory),
        _Query("sm_clock", ("sm_clock_mhz",), clock(nvml.NVML_CLOCK_SM)),
        _Query("memory_clock", ("memory_clock_mhz",), clock(nvml.NVML_CLOCK_MEM)),
        _Query("temperature", ("temperature_celsius",), temperature),
        _Query("throttle_reasons", ("throttle_reasons",), throttle_reasons),
    ]


def _fields(nvml: Any) -> list[_Field]:
    mean_power = _Query(
        "mean_power",
        ("power_watts",),
        lambda handle: (nvml.nvmlDeviceGetPowerUsage(handle) / 1000,),
    )

    def counter(name: str, field_id: int, scope_id: int = 0, scale: float = 1.0) -> _Field:
        return _Field(name, f"{name}_bytes_per_s", field_id, scope_id, scale, is_counter=True)

    nvlink_rx = nvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX
    nvlink_tx = nvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX
    power = nvml.NVML_FI_DEV_POWER_INSTANT
    energy = nvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION
    return [
        _Field("power", "power_watts", power, scale=1e-3, instead=mean_power),
        _Field("energy", "energy_joules", energy, scale=1e-3),
        counter("pcie_rx", nvml.NVML_FI_DEV_PCIE_COUNT_RX_BYTES),
        counter("pcie_tx", nvml.NVML_FI_DEV_PCIE_COUNT_TX_BYTES),
        counter("nvlink_rx", nvlink_rx, ALL_LINKS, scale=1024),
        counter("nvlink_tx", nvlink_tx, ALL_LINKS, scale=1024),
    ]


class _GpuLostError(Exception):
    """The GPU fell off the bus; it stays away until the driver is restarted."""


class _Gpu:
    """One GPU: what it is still asked, and what its counters said last."""

    def __init__(
        self, nvml: Any, gpu: GpuHandle, reasons: dict[str, str], failures: Counter[str]
    ) -> None:
        self._nvml = nvml
        self._device = gpu.device
        self._handle = gpu.handle
        self._reasons = reasons
        self._failures = failures
        self._queries = _queries(nvml)
        self._fields = _fields(nvml)
        self._counters: dict[str, tuple[float, int]] = {}  # column: (value, microseconds)
        self._value_members = {
            nvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
            nvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
            nvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
            nvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
            nvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
            nvml.NVML_VALUE_TYPE_SIGNED_INT: "siVal",
            nvml.NVML_VALUE_TYPE_UNSIGNED_SHORT: "usVal",
        }

    def sample(self, row: Row) -> None:
        try:
            self._sample_fields(row)
            self._sample_queries(row)
        except _GpuLostError as error:
            self._reasons[self._device] = f"NVML: {error}"
            self._failures[self._device] += 1
            self._queries.clear()
            self._fields.clear()

    def _sample_queries(self, row: Row) -> None:
        for query in self._queries.copy():
            try:
                answer = query.ask(self._handle)
            except self._nvml.NVMLError as error:
                if self._fails_for_good(query.name, error):
                    self._queries.remove(query)
                continue
            for column, value in zip(query.columns, answer, strict=True):
                row[COLUMN_INDEX[column]] = value

    def _sample_fields(self, row: Row) -> None:
        asked = self._fields.copy()
        if not asked:
            return
        try:
            answers = self._nvml.nvmlDeviceGetFieldValues(
                self._handle, [(field.field_id, field.scope_id) for field in asked]
            )
        except self._nvml.NVMLError as error:
            for field in asked:
                if self._fails_for_good(field.name, error):
                    self._give_up(field)
            return
        for field, answer in zip(asked, answers, strict=True):
            if answer.nvmlReturn != self._nvml.NVML_SUCCESS:
                if self._fails_for_good(field.name, self._nvml.NVMLError(answer.nvmlReturn)):
                    self._give_up(field)
                continue
            value = getattr(answer.value, self._value_members[answer.valueType]) * field.scale
            if field.is_counter:
                value = self._rate(field.column, value, answer.timestamp)
            row[COLUMN_INDEX[field.column]] = value

    def _rate(self, column: str, value: float, timestamp_us: int) -> float:
        """Per second since the reading before, on the driver's clock: it knows when it read.

        NaN for the first reading, one that is not newer, and a counter that went back (it wraps).
        """
        before = self._counters.get(column)
        self._counters[column] = (value, timestamp_us)
        if before is None or timestamp_us <= before[1] or value < before[0]:
            return math.nan
        return (value - before[0]) / (timestamp_us - before[1]) * 1e6

    def _fails_for_good(self, name: str, error: Exception) -> bool:
        """Note a failure; True if there is no use in asking this again.

        Raises:
            _GpuLostError: there is no use in asking this GPU anything.
        """
        if getattr(error, "value", None) == self._nvml.NVML_ERROR_GPU_IS_LOST:
            raise _GpuLostError(explain(error))
        key = f"{self._device}.{name}"
        self._reasons[key] = explain(error)
        if is_permanent(self._nvml, error):
            return True
        self._failures[key] += 1
        return False

    def _give_up(self, field: _Field) -> None:
        self._fields.remove(field)
        if field.instead is not None:
            self._queries.append(field.instead)


class GpuSampler:
    """Samples the GPUs in `found`; `nvml` is the initialised module, or None if there is none.

    A query that the device does not offer is asked once; one that fails is asked again at the
    next tick; a GPU that fell off the bus is asked nothing more.
    """

    def __init__(self, nvml: Any | None, found: FoundGpus) -> None:
        self._nvml = nvml
        self.devices = tuple(gpu.device for gpu in found.handles)
        self.reasons: dict[str, str] = dict(found.reasons)
        self.failures: Counter[str] = Counter()
        self._gpus = [_Gpu(nvml, gpu, self.reasons, self.failures) for gpu in found.handles]

    @classmethod
    def open(
        cls,
        gpus: Gpus = "visible",
        *,
        nvml: Any | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> GpuSampler:
        """A sampler of `gpus`; one without devices, and with the reason, where NVML is missing."""
        try:
            nvml = open_nvml(nvml)
        except ProfileError as error:
            return cls(None, FoundGpus((), {"gpu": str(error)}))
        return cls(nvml, find_gpus(nvml, gpus, environ))

    def sample(self, rows: Row) -> None:
        for gpu, row in zip(self._gpus, rows, strict=True):
            gpu.sample(row)

    def close(self) -> None:
        if self._nvml is not None:
            nvml, self._nvml = self._nvml, None
            nvml.nvmlShutdown()
