"""Samples of GPUs through NVML."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from profiles.counters import RateCounter
from profiles.errors import ProfileError
from profiles.gpm import GpmCounters
from profiles.nvml import FoundGpus, GpuHandle, Gpus, explain, find_gpus, is_permanent, open_nvml
from profiles.queries import Field, fastest_pcie_bytes_per_s, fields, queries
from profiles.samples import COLUMN_INDEX, Row

_POLL_SHARE = 0.75  # of the time that a counter needs to come round: the rest is for lateness


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
        self._queries = queries(nvml)
        self._fields = fields(nvml, fastest_pcie_bytes_per_s(nvml, gpu.handle))
        self._due_ns: dict[str, int] = {}  # by field, those with a period of their own
        self._counters = {
            field.name: RateCounter(field.fastest)
            for field in self._fields
            if field.fastest is not None
        }
        self._gpm: GpmCounters | None = None
        self._gpm_offered = True  # until the device says that it isn't
        self._narrow: dict[str, int] = {}  # counter: longest gap between readings, nanoseconds
        self._members = {  # of NVML's union, and the bits in it
            nvml.NVML_VALUE_TYPE_DOUBLE: ("dVal", 64),
            nvml.NVML_VALUE_TYPE_UNSIGNED_INT: ("uiVal", 32),
            nvml.NVML_VALUE_TYPE_UNSIGNED_LONG: ("ulVal", 64),
            nvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: ("ullVal", 64),
            nvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: ("sllVal", 64),
            nvml.NVML_VALUE_TYPE_SIGNED_INT: ("siVal", 32),
            nvml.NVML_VALUE_TYPE_UNSIGNED_SHORT: ("usVal", 16),
        }

    @property
    def poll_period_ns(self) -> int | None:
        return int(min(self._narrow.values()) * _POLL_SHARE) if self._narrow else None

    def sample(self, row: Row, now_ns: int) -> None:
        try:
            self._sample_fields(row, now_ns)
            self._sample_queries(row)
            self._sample_gpm(row, now_ns)
        except _GpuLostError as error:
            self._lose(error)

    def poll(self) -> None:
        """Read the counters that come round before the next sample."""
        try:
            for field, answer in self._ask([f for f in self._fields if f.name in self._narrow]):
                self._read(field, answer)
        except _GpuLostError as error:
            self._lose(error)

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

    def _sample_gpm(self, row: Row, now_ns: int) -> None:
        if not self._gpm_offered:
            return
        try:
            if self._gpm is None:
                counted = [field.name for field in self._fields]
                self._gpm = GpmCounters(self._nvml, self._handle, counted)
            told, untold = self._gpm.read(now_ns)
        except self._nvml.NVMLError as error:
            if self._fails_for_good("gpm", error):
                self._gpm_offered = False
                self.close()
            return
        for metric, value in told:
            row[COLUMN_INDEX[metric.column]] = value
        for metric, reason in untold:
            if self._fails_for_good(metric.name, reason):
                self._gpm.drop(metric)

    def close(self) -> None:
        """Gives back what NVML holds for it."""
        gpm, self._gpm = self._gpm, None
        if gpm is not None:
            gpm.close()

    def _sample_fields(self, row: Row, now_ns: int) -> None:
        due = [field for field in self._fields if now_ns >= self._due_ns.get(field.name, now_ns)]
        for field, answer in self._ask(due):
            if field.period_ns:
                self._due_ns[field.name] = now_ns + field.period_ns
            value = self._read(field, answer)
            if field.name in self._counters:
                value = self._take_rate(field.name)
            row[COLUMN_INDEX[field.column]] = value * field.scale

    def _ask(self, asked: list[Field]) -> list[tuple[Field, Any]]:
        """The fields that gave a value, with NVML's answers; the others' reasons are noted."""
        if not asked:
            return []
        try:
            answers = self._nvml.nvmlDeviceGetFieldValues(
                self._handle, [(field.field_id, field.scope_id) for field in asked]
            )
        except self._nvml.NVMLError as error:
            for field in asked:
                self._note_field(field, error)
            return []
        given = []
        for field, answer in zip(asked, answers, strict=True):
            if answer.nvmlReturn == self._nvml.NVML_SUCCESS:
                given.append((field, answer))
            else:
                self._note_field(field, self._nvml.NVMLError(answer.nvmlReturn))
        return given

    def _read(self, field: Field, answer: Any) -> float:
        """The value, not yet scaled. A counter is told of it on the driver's clock."""
        member, bits = self._members[answer.valueType]
        value: float = getattr(answer.value, member)
        counter = self._counters.get(field.name)
        if counter is not None:
            counter.read(int(value), answer.timestamp, bits)
            if bits < 64:
                self._narrow[field.name] = counter.longest_gap_ns(bits)
        return value

    def _take_rate(self, name: str) -> float:
        counter = self._counters[name]
        if not counter.is_sure:
            key = f"{self._device}.{name}"
            self._reasons[key] = "the counter may have come round unseen: it was read too late"
            self._failures[key] += 1
        return counter.take()

    def _note_field(self, field: Field, error: Exception) -> None:
        if self._fails_for_good(field.name, error):
            self._fields.remove(field)
            self._narrow.pop(field.name, None)
            if field.instead is not None:
                self._queries.append(field.instead)

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

    def _lose(self, error: _GpuLostError) -> None:
        self._reasons[self._device] = f"NVML: {error}"
        self._failures[self._device] += 1
        self._queries.clear()
        self._fields.clear()
        self._narrow.clear()
        self._gpm_offered = False


class GpuSampler:
    """Samples the GPUs in `found`; `nvml` is the initialised module, or None if there is none.

    A query that the device does not offer is asked once; one that fails is asked again at the
    next tick; a GPU that fell off the bus is asked nothing more. `clock` paces what is asked
    less often than the rest, in nanoseconds.
    """

    def __init__(
        self,
        nvml: Any | None,
        found: FoundGpus,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._nvml = nvml
        self._clock = clock
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
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> GpuSampler:
        """A sampler of `gpus`; one without devices, and with the reason, where NVML is missing."""
        try:
            nvml = open_nvml(nvml)
        except ProfileError as error:
            return cls(None, FoundGpus((), {"gpu": str(error)}))
        return cls(nvml, find_gpus(nvml, gpus, environ), clock)

    @property
    def poll_period_ns(self) -> int | None:
        periods = [gpu.poll_period_ns for gpu in self._gpus]
        return min((period for period in periods if period is not None), default=None)

    def sample(self, rows: Row) -> None:
        now_ns = self._clock()
        for gpu, row in zip(self._gpus, rows, strict=True):
            gpu.sample(row, now_ns)

    def poll(self) -> None:
        for gpu in self._gpus:
            gpu.poll()

    def close(self) -> None:
        if self._nvml is not None:
            nvml, self._nvml = self._nvml, None
            for gpu in self._gpus:
                gpu.close()
            nvml.nvmlShutdown()
