"""A real GPU, through the real NVML."""

from __future__ import annotations

import time

import numpy as np
import pytest

from profiles.errors import ProfileError
from profiles.gpu import GpuSampler
from profiles.hardware import describe
from profiles.nvml import find_gpus, open_nvml, torch_gpu_uuids
from profiles.telemetry import Telemetry

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def real_gpu() -> None:
    try:
        nvml = open_nvml()
    except ProfileError as error:
        pytest.skip(str(error))
    try:
        found = find_gpus(nvml, "visible")
    finally:
        nvml.nvmlShutdown()
    if not found.handles:
        pytest.skip(f"no GPU is visible: {dict(found.reasons)}")


def test_a_real_gpu_is_sampled() -> None:
    telemetry = Telemetry([GpuSampler.open()], time.perf_counter_ns)
    telemetry.tick()
    time.sleep(0.1)  # counters need two readings
    telemetry.tick()
    columns = telemetry.drain()
    telemetry.close()
    assert (columns["memory_total_bytes"] > columns["memory_used_bytes"]).all()
    assert (columns["memory_total_bytes"] > 1 << 30).all()
    for name in ("utilization_percent", "power_watts", "temperature_celsius", "sm_clock_mhz"):
        query = name.rsplit("_", 1)[0]
        told = ~np.isnan(columns[name])
        assert told.all() or any(key.endswith(f".{query}") for key in telemetry.reasons)
        assert (columns[name][told] >= 0).all()


def test_torch_and_nvml_mean_the_same_gpus() -> None:
    pytest.importorskip("torch")
    uuids = torch_gpu_uuids()
    nvml = open_nvml()
    try:
        found = find_gpus(nvml, uuids)
        assert len(found.handles) == len(uuids) > 0, found.reasons
    finally:
        nvml.nvmlShutdown()


def test_a_real_gpu_is_described() -> None:
    described = describe()
    assert described.driver_version
    assert described.gpus[0].name
    assert not described.hardware_key.startswith("cpu-")
