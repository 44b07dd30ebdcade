"""An NVML that lives in memory: the real constants and errors, invented GPUs."""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

GIB = 1 << 30


@dataclass
class FakeGpu:
    """One GPU. `errors` maps a function's name or a field's id to the NVML error code it gives."""

    uuid: str = "GPU-aaaa1111"
    pci_bus_id: str = "00000000:3B:00.0"
    name: str = "NVIDIA H200"
    power_milliwatts: int = 350_500
    fields: dict[int, int] = field(
        default_factory=lambda: {
            pynvml.NVML_FI_DEV_POWER_INSTANT: 412_250,
            pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION: 9_000_500,
            pynvml.NVML_FI_DEV_PCIE_COUNT_RX_BYTES: 1_000,
            pynvml.NVML_FI_DEV_PCIE_COUNT_TX_BYTES: 2_000,
            pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX: 30,
            pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX: 40,
        }
    )
    timestamp_us: int = 1_000_000
    bits: dict[int, int] = field(default_factory=dict)  # by field; 64 where it says nothing
    pcie_generation: int = 5
    errors: dict[str | int, int] = field(default_factory=dict)
    gpm: bool = True
    gpm_values: dict[int, float] = field(default_factory=dict)  # by metric; 0 where it's silent
    gpm_errors: dict[int, int] = field(default_factory=dict)

    def lose(self) -> None:
        """Fall off the bus: every query fails from now on."""
        self.errors = {"*": pynvml.NVML_ERROR_GPU_IS_LOST}


class FakeNvml:
    """The functions of `pynvml` that are used here; `calls` counts them by name."""

    def __init__(self, *gpus: FakeGpu, init_error: int | None = None) -> None:
        self.gpus = gpus
        self.init_error = init_error
        self.open_sessions = 0
        self.calls: Counter[str] = Counter()
        self.gpm_samples: dict[int, FakeGpu | None] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("NVML", "nvmlMemory_v2", "c_nvmlGpm")):
            return getattr(pynvml, name)
        raise AttributeError(f"the fake NVML has no {name}")

    def _ask(self, function: str, gpu: FakeGpu) -> None:
        self.calls[function] += 1
        code = gpu.errors.get("*", gpu.errors.get(function))
        if code is not None:
            raise pynvml.NVMLError(code)

    def nvmlInit(self) -> None:  # noqa: N802
        if self.init_error is not None:
            raise pynvml.NVMLError(self.init_error)
        self.open_sessions += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open_sessions -= 1

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "580.159.03"

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:  # noqa: N802
        return 13_020

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:  # noqa: N802
        return self.gpus[index]

    def nvmlDeviceGetUUID(self, gpu: FakeGpu) -> str:  # noqa: N802
        return gpu.uuid

    def nvmlDeviceGetPciInfo(self, gpu: FakeGpu) -> Any:  # noqa: N802
        return SimpleNamespace(busId=gpu.pci_bus_id.encode())

    def nvmlDeviceGetName(self, gpu: FakeGpu) -> str:  # noqa: N802
        self._ask("name", gpu)
        return gpu.name

    def nvmlDeviceGetEnforcedPowerLimit(self, gpu: FakeGpu) -> int:  # noqa: N802
        self._ask("power_limit", gpu)
        return 700_000

    def nvmlDeviceGetCudaComputeCapability(self, gpu: FakeGpu) -> tuple[int, int]:  # noqa: N802
        return 9, 0

    def nvmlDeviceGetUtilizationRates(self, gpu: FakeGpu) -> Any:  # noqa: N802
        self._ask("utilization", gpu)
        return SimpleNamespace(gpu=87, memory=40)

    def nvmlDeviceGetMemoryInfo(self, gpu: FakeGpu, version: int) -> Any:  # noqa: N802
        self._ask("memory", gpu)
        assert version == pynvml.nvmlMemory_v2
        return SimpleNamespace(used=20 * GIB, free=121 * GIB, total=141 * GIB)

    def nvmlDeviceGetPowerUsage(self, gpu: FakeGpu) -> int:  # noqa: N802
        self._ask("mean_power", gpu)
        return gpu.power_milliwatts

    def nvmlDeviceGetClockInfo(self, gpu: FakeGpu, kind: int) -> int:  # noqa: N802
        self._ask("clock", gpu)
        return {pynvml.NVML_CLOCK_SM: 1980, pynvml.NVML_CLOCK_MEM: 3201}[kind]

    def nvmlDeviceGetTemperature(self, gpu: FakeGpu, sensor: int) -> int:  # noqa: N802
        self._ask("temperature", gpu)
        assert sensor == pynvml.NVML_TEMPERATURE_GPU
        return 54

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu: FakeGpu) -> int:  # noqa: N802
        self._ask("throttle_reasons", gpu)
        return 0x4 | 0x20

    def nvmlDeviceGetMaxPcieLinkGeneration(self, gpu: FakeGpu) -> int:  # noqa: N802
        self._ask("pcie_link", gpu)
        return gpu.pcie_generation

    def nvmlDeviceGetMaxPcieLinkWidth(self, gpu: FakeGpu) -> int:  # noqa: N802
        return 16

    def nvmlGpmQueryDeviceSupport(self, gpu: FakeGpu) -> Any:  # noqa: N802
        self._ask("gpm_support", gpu)
        return SimpleNamespace(isSupportedDevice=int(gpu.gpm))

    def nvmlGpmSampleAlloc(self) -> Any:  # noqa: N802
        sample = ctypes.cast(len(self.gpm_samples) + 1, pynvml.c_nvmlGpmSample_t)
        self.gpm_samples[_address(sample)] = None
        return sample

    def nvmlGpmSampleFree(self, sample: Any) -> None:  # noqa: N802
        del self.gpm_samples[_address(sample)]

    def nvmlGpmSampleGet(self, gpu: FakeGpu, sample: Any) -> None:  # noqa: N802
        self._ask("gpm_sample", gpu)
        assert _address(sample) in self.gpm_samples
        self.gpm_samples[_address(sample)] = gpu

    def nvmlGpmMetricsGet(self, request: Any) -> None:  # noqa: N802
        first, second = (_address(sample) for sample in (request.sample1, request.sample2))
        gpu = self.gpm_samples[first]
        assert gpu is not None and gpu is self.gpm_samples[second] and first != second
        assert request.version == 1
        self._ask("gpm_metrics", gpu)
        for answer in request.metrics[: request.numMetrics]:
            answer.nvmlReturn = gpu.gpm_errors.get(answer.metricId, pynvml.NVML_SUCCESS)
            answer.value = gpu.gpm_values.get(answer.metricId, 0.0)

    def nvmlDeviceGetFieldValues(  # noqa: N802
        self, gpu: FakeGpu, asked: list[tuple[int, int]]
    ) -> list[Any]:
        self._ask("fields", gpu)
        answers = []
        for field_id, scope_id in asked:
            if field_id in (
                pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX,
                pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX,
            ):
                assert scope_id == 0xFFFFFFFF
            answer = pynvml.c_nvmlFieldValue_t()
            answer.fieldId = field_id
            answer.timestamp = gpu.timestamp_us
            answer.nvmlReturn = gpu.errors.get(field_id, pynvml.NVML_SUCCESS)
            if gpu.bits.get(field_id) == 32:
                answer.valueType = pynvml.NVML_VALUE_TYPE_UNSIGNED_INT
                answer.value.uiVal = gpu.fields[field_id] % (1 << 32)
            else:
                answer.valueType = pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG
                answer.value.ullVal = gpu.fields[field_id]
            answers.append(answer)
        return answers


def _address(sample: Any) -> int:
    return ctypes.cast(sample, ctypes.c_void_p).value or 0


@pytest.fixture
def fake_gpu() -> Callable[..., FakeGpu]:
    return FakeGpu


@pytest.fixture
def fake_nvml() -> Callable[..., FakeNvml]:
    return FakeNvml
