"""A real GPU, through the real NVML."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import polars as pl
import pytest

from profiles.errors import ProfileError
from profiles.gpu import GpuSampler
from profiles.hardware import describe
from profiles.nvml import find_gpus, open_nvml, torch_gpu_uuids
from profiles.telemetry import Telemetry
from workbench.analysis.devices import device_figures
from workbench.analysis.metrics import Window

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


def sample_under_load(seconds: float) -> tuple[Telemetry, dict[str, Any], list[float]]:
    """Samples at 10 Hz while matrices are multiplied, and what each sample took, ms."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    telemetry = Telemetry([GpuSampler.open(torch_gpu_uuids()[:1])], time.perf_counter_ns)
    torch.mm(a, a)
    torch.cuda.synchronize()  # what the first product loads would stretch the first period
    took_ms = []
    due_s = time.perf_counter()
    end_s = due_s + seconds
    try:
        while time.perf_counter() < end_s:
            for _ in range(10):
                torch.mm(a, a)
            if time.perf_counter() >= due_s:
                began_ns = time.perf_counter_ns()
                telemetry.tick()
                took_ms.append((time.perf_counter_ns() - began_ns) / 1e6)
                due_s = began_ns / 1e9 + 0.1
            torch.cuda.synchronize()
    finally:
        telemetry.close()
    return telemetry, telemetry.drain(), took_ms


def test_the_units_of_a_gpu_are_busy_under_load_or_it_says_that_it_cannot_tell() -> None:
    telemetry, columns, took_ms = sample_under_load(3.0)
    print(f"a sample takes {np.median(took_ms):.2f} ms (most {np.max(took_ms):.2f} ms)")
    if "gpu0.gpm" in telemetry.reasons:
        assert np.isnan(columns["sm_active_percent"]).all()
        pytest.skip(f"GPM: {telemetry.reasons['gpu0.gpm']}")
    for name in ("sm_active", "tensor_active", "hmma_active", "dram_bandwidth"):
        told = columns[f"{name}_percent"][2:]
        if f"gpu0.{name}" in telemetry.reasons:
            assert np.isnan(told).all()
            continue
        assert ((told >= 0) & (told <= 101)).all(), (name, told)
        print(f"{name}: {np.median(told):.1f} %")
    assert np.median(columns["sm_active_percent"][2:]) > 30


def test_the_energy_counter_agrees_with_the_power() -> None:
    _, columns, _ = sample_under_load(6.0)
    devices = pl.DataFrame(columns)
    window = Window(int(columns["time_ns"][0]) + 10**9, int(columns["time_ns"][-1]) - 10**9)
    counted = device_figures(devices, window, 0)["gpu0"]
    if not counted.get("energy_counted"):
        pytest.skip("this GPU has no energy counter")
    power = device_figures(devices.drop("energy_joules"), window, 0)["gpu0"]
    assert power["energy_joules"] == pytest.approx(counted["energy_joules"], rel=0.15)
