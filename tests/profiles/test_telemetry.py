"""Telemetry: null with its reason where a value can't be had, and never a word to the run."""

from __future__ import annotations

import itertools
import math
import threading
from collections import namedtuple
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.errors import ProfileError
from profiles.gpu import GpuSampler
from profiles.nvml import find_gpus
from profiles.process import ProcessSampler
from profiles.samples import COLUMNS, GPU_COLUMNS, HOST_COLUMNS, decode_throttle_reasons
from profiles.telemetry import Telemetry, next_deadline, open_telemetry

GPM = GPU_COLUMNS[-5:]
RATES = tuple(name for name in GPU_COLUMNS if name.endswith("_bytes_per_s"))
WAIT_SECONDS = 30  # how long a test waits for a thread before it calls it stuck


class Clock:
    """Nanoseconds that pass only when told."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


class ConstantSampler:
    """One device whose first column is 1; says when it was sampled."""

    poll_period_ns: int | None = None

    def __init__(self, device: str = "gpu0", defect: Exception | None = None) -> None:
        self.devices = (device,)
        self.reasons: dict[str, str] = {}
        self.failures: dict[str, int] = {}
        self.defect = defect
        self.sampled = threading.Event()
        self.closed = 0

    def sample(self, rows: Any) -> None:
        self.sampled.set()
        if self.defect is not None:
            raise self.defect
        rows[:, 0] = 1.0

    def poll(self) -> None:
        if self.defect is not None:
            raise self.defect

    def close(self) -> None:
        self.closed += 1


def sample_gpus(nvml: Any, ticks: int = 1, gpus: Any = "all") -> tuple[Telemetry, Any]:
    clock = itertools.count(0, 100_000_000).__next__
    telemetry = Telemetry([GpuSampler.open(gpus, nvml=nvml, environ={}, clock=clock)], Clock())
    for _ in range(ticks):
        telemetry.tick()
    return telemetry, telemetry.drain()


def test_a_gpu_that_offers_everything_fills_every_column(fake_nvml: Any, fake_gpu: Any) -> None:
    gpu = fake_gpu(
        gpm_values={
            pynvml.NVML_GPM_METRIC_SM_UTIL: 91.5,
            pynvml.NVML_GPM_METRIC_SM_OCCUPANCY: 33.0,
            pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL: 61.0,
            pynvml.NVML_GPM_METRIC_HMMA_TENSOR_UTIL: 60.0,
            pynvml.NVML_GPM_METRIC_DRAM_BW_UTIL: 72.25,
        }
    )
    clock = Clock()
    telemetry = Telemetry([GpuSampler.open("all", nvml=fake_nvml(gpu), clock=clock)], clock)
    for _ in range(3):
        telemetry.tick()
        clock.now_ns += 2_000_000_000
        gpu.timestamp_us += 500_000
        for field_id in gpu.fields:
            gpu.fields[field_id] += 5_000
    columns = telemetry.drain()

    last = {name: columns[name][2] for name in GPU_COLUMNS}
    assert last == {
        "utilization_percent": 87,
        "memory_used_bytes": 20 << 30,
        "memory_total_bytes": 141 << 30,
        "power_watts": pytest.approx(422.25),
        "sm_clock_mhz": 1980,
        "memory_clock_mhz": 3201,
        "temperature_celsius": 54,
        "pcie_rx_bytes_per_s": 10_000,
        "pcie_tx_bytes_per_s": 10_000,
        "nvlink_rx_bytes_per_s": 10_000 * 1024,
        "nvlink_tx_bytes_per_s": 10_000 * 1024,
        "throttle_reasons": 0x24,
        "energy_joules": pytest.approx(9_010.5),
        "sm_active_percent": 91.5,
        "sm_occupancy_percent": 33,
        "tensor_active_percent": 61,
        "hmma_active_percent": 60,
        "dram_bandwidth_percent": 72.25,
    }
    since_before = (*RATES, *GPM)
    assert all(math.isnan(columns[name][0]) for name in since_before), "of one reading alone"
    assert all(np.isnan(columns[name]).all() for name in HOST_COLUMNS)
    assert telemetry.reasons == {}
    assert telemetry.failures == {}


def test_what_is_not_supported_is_null_with_its_reason_and_asked_once(
    fake_nvml: Any, fake_gpu: Any
) -> None:
    unsupported = pynvml.NVML_ERROR_NOT_SUPPORTED
    nvml = fake_nvml(
        fake_gpu(
            gpm=False,
            errors={
                "temperature": unsupported,
                pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX: unsupported,
                pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX: unsupported,
            },
        )
    )
    telemetry, columns = sample_gpus(nvml, ticks=3)
    for name in ("temperature_celsius", "nvlink_rx_bytes_per_s", "nvlink_tx_bytes_per_s", *GPM):
        assert np.isnan(columns[name]).all()
    assert columns["sm_clock_mhz"].tolist() == [1980] * 3
    reason = "Not Supported (NVMLError_NotSupported)"
    assert telemetry.reasons == {
        "gpu0.temperature": reason,
        "gpu0.nvlink_rx": reason,
        "gpu0.nvlink_tx": reason,
        "gpu0.gpm": reason,
    }
    assert telemetry.failures == {}
    assert nvml.calls["temperature"] == nvml.calls["gpm_support"] == 1
    assert nvml.calls["fields"] == 3


def test_links_without_byte_counters_are_told_by_gpm(fake_nvml: Any, fake_gpu: Any) -> None:
    unsupported = pynvml.NVML_ERROR_NOT_SUPPORTED
    gpu = fake_gpu(
        errors={pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX: unsupported},
        gpm_values={
            pynvml.NVML_GPM_METRIC_NVLINK_TOTAL_RX_PER_SEC: 3.0,
            pynvml.NVML_GPM_METRIC_NVLINK_TOTAL_TX_PER_SEC: 7.0,
        },
    )
    telemetry, columns = sample_gpus(fake_nvml(gpu), ticks=3)
    assert columns["nvlink_rx_bytes_per_s"][2] == 3 << 20
    assert columns["nvlink_tx_bytes_per_s"][2] != 7 << 20, "its bytes are counted"
    assert set(telemetry.reasons) == {"gpu0.nvlink_rx"}


def test_a_gpm_metric_that_is_not_offered_is_null_and_the_others_go_on(
    fake_nvml: Any, fake_gpu: Any
) -> None:
    tensor, dram = pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL, pynvml.NVML_GPM_METRIC_DRAM_BW_UTIL
    gpu = fake_gpu(
        gpm_errors={tensor: pynvml.NVML_ERROR_NOT_SUPPORTED}, gpm_values={tensor: 9.0, dram: 40.0}
    )
    telemetry, columns = sample_gpus(fake_nvml(gpu), ticks=4)
    assert np.isnan(columns["tensor_active_percent"]).all()
    assert columns["dram_bandwidth_percent"][2:].tolist() == [40.0] * 2
    assert telemetry.reasons == {"gpu0.tensor_active": "Not Supported (NVMLError_NotSupported)"}
    assert telemetry.failures == {}


def test_gpm_in_use_by_a_profiler_is_null_meanwhile(fake_nvml: Any, fake_gpu: Any) -> None:
    gpu = fake_gpu(gpm_values={pynvml.NVML_GPM_METRIC_SM_UTIL: 80.0})
    clock = Clock()
    telemetry = Telemetry([GpuSampler.open("all", nvml=fake_nvml(gpu), clock=clock)], clock)
    for errors in ({}, {}, {}, {"gpm_sample": pynvml.NVML_ERROR_IN_USE}, {}):
        gpu.errors = errors
        telemetry.tick()
        clock.now_ns += 100_000_000
    known = ~np.isnan(telemetry.drain()["sm_active_percent"])
    assert known.tolist() == [False, False, True, False, True]
    assert telemetry.failures == {"gpu0.gpm": 1}


def test_gpm_is_not_asked_again_before_it_has_anything_new(fake_nvml: Any, fake_gpu: Any) -> None:
    clock = Clock()
    gpu = fake_gpu(gpm_values={pynvml.NVML_GPM_METRIC_SM_UTIL: 80.0})
    telemetry = Telemetry([GpuSampler.open("all", nvml=fake_nvml(gpu), clock=clock)], clock)
    for ms in (0, 40, 100, 179, 200, 279, 300):
        clock.now_ns = ms * 1_000_000
        telemetry.tick()
    known = ~np.isnan(telemetry.drain()["sm_active_percent"])
    assert known.tolist() == [False, False, False, False, True, False, True]
    assert telemetry.reasons == {} and telemetry.failures == {}


@pytest.mark.parametrize("ticks", [1, 2, 3])
def test_the_samples_of_gpm_are_freed(fake_nvml: Any, fake_gpu: Any, ticks: int) -> None:
    nvml = fake_nvml(fake_gpu(), fake_gpu(uuid="GPU-bbbb", gpm=False))
    telemetry, _ = sample_gpus(nvml, ticks)
    assert len(nvml.gpm_samples) == 2
    telemetry.close()
    assert nvml.gpm_samples == {} and nvml.open_sessions == 0


def test_without_an_instant_power_the_mean_one_is_asked(fake_nvml: Any, fake_gpu: Any) -> None:
    field_id = pynvml.NVML_FI_DEV_POWER_INSTANT
    nvml = fake_nvml(fake_gpu(errors={field_id: pynvml.NVML_ERROR_NOT_SUPPORTED}))
    telemetry, columns = sample_gpus(nvml, ticks=2)
    assert columns["power_watts"].tolist() == [350.5, 350.5]
    assert "gpu0.power" in telemetry.reasons


def test_a_driver_without_field_values_gives_up_on_them_all(fake_nvml: Any, fake_gpu: Any) -> None:
    nvml = fake_nvml(fake_gpu(errors={"fields": pynvml.NVML_ERROR_FUNCTION_NOT_FOUND}))
    telemetry, columns = sample_gpus(nvml, ticks=2)
    assert nvml.calls["fields"] == 1
    assert np.isnan(columns["energy_joules"]).all()
    assert columns["power_watts"].tolist() == [350.5, 350.5]
    assert "gpu0.pcie_rx" in telemetry.reasons


def test_a_failure_mid_run_is_null_counted_and_asked_again(fake_nvml: Any, fake_gpu: Any) -> None:
    gpu = fake_gpu()
    clock = Clock()
    telemetry = Telemetry([GpuSampler.open("all", nvml=fake_nvml(gpu), clock=clock)], clock)
    for errors in ({}, {"utilization": pynvml.NVML_ERROR_TIMEOUT, "fields": 999}, {}):
        gpu.errors = errors
        clock.now_ns += 1_000_000_000
        telemetry.tick()
    columns = telemetry.drain()
    assert np.isnan(columns["utilization_percent"]).tolist() == [False, True, False]
    assert np.isnan(columns["power_watts"]).tolist() == [False, True, False]
    assert columns["temperature_celsius"].tolist() == [54] * 3
    assert telemetry.failures["gpu0.utilization"] == 1
    assert telemetry.failures["gpu0.energy"] == 1
    assert telemetry.reasons["gpu0.utilization"] == "Timeout (NVMLError_Timeout)"


def test_a_gpu_that_vanishes_leaves_null_rows_and_is_left_alone(
    fake_nvml: Any, fake_gpu: Any
) -> None:
    lost, well = fake_gpu(), fake_gpu(uuid="GPU-bbbb", pci_bus_id="00000000:5E:00.0")
    nvml = fake_nvml(lost, well)
    telemetry = Telemetry([GpuSampler.open("all", nvml=nvml)], Clock())
    telemetry.tick()
    lost.lose()
    telemetry.tick()
    nvml.calls.clear()
    telemetry.tick()
    columns = telemetry.drain()
    of_lost = columns["device"] == "gpu0"
    assert columns["device"].tolist() == ["gpu0", "gpu1"] * 3
    assert np.isnan(columns["utilization_percent"][of_lost]).tolist() == [False, True, True]
    assert np.isnan(columns["power_watts"][of_lost]).tolist() == [False, True, True]
    assert not np.isnan(columns["utilization_percent"][~of_lost]).any()
    assert telemetry.reasons == {"gpu0": "NVML: GPU is lost (NVMLError_GpuIsLost)"}
    assert telemetry.failures == {"gpu0": 1}
    assert nvml.calls["utilization"] == 1, "only the other one is asked"


PCIE_RX = pynvml.NVML_FI_DEV_PCIE_COUNT_RX_BYTES


def test_a_counter_of_32_bits_is_polled_between_ticks(fake_nvml: Any, fake_gpu: Any) -> None:
    """60 GB/s through a counter that comes round every 72 ms, sampled every 100 ms."""
    gpu = fake_gpu(bits={PCIE_RX: 32})
    sampler = GpuSampler.open("all", nvml=fake_nvml(gpu), clock=Clock())
    telemetry = Telemetry([sampler], Clock())
    assert sampler.poll_period_ns is None, "not before a counter is known to be narrow"
    telemetry.tick()
    assert sampler.poll_period_ns == int(int((1 << 32) / 64e9 * 1e9) * 0.75)
    for step in (telemetry.poll, telemetry.tick) * 3:
        gpu.timestamp_us += 50_000
        gpu.fields[PCIE_RX] += 3_000_000_000
        step()
    columns = telemetry.drain()
    assert columns["pcie_rx_bytes_per_s"][1:].tolist() == [60e9] * 3
    assert telemetry.reasons == {}


def test_a_counter_of_32_bits_that_was_read_too_late_is_null(fake_nvml: Any, fake_gpu: Any) -> None:
    gpu = fake_gpu(bits={PCIE_RX: 32})
    telemetry = Telemetry([GpuSampler.open("all", nvml=fake_nvml(gpu))], Clock())
    for gap_us in (0, 100_000, 50_000):
        gpu.timestamp_us += gap_us
        gpu.fields[PCIE_RX] += 60_000 * gap_us
        telemetry.tick()
    rates = telemetry.drain()["pcie_rx_bytes_per_s"]
    assert np.isnan(rates).tolist() == [True, True, False]
    assert rates[2] == 60e9
    assert "read too late" in telemetry.reasons["gpu0.pcie_rx"]
    assert telemetry.failures == {"gpu0.pcie_rx": 1}


def test_an_unknown_link_is_taken_for_the_fastest(fake_nvml: Any, fake_gpu: Any) -> None:
    periods = []
    for errors in ({}, {"pcie_link": pynvml.NVML_ERROR_NOT_SUPPORTED}):
        gpu = fake_gpu(bits={PCIE_RX: 32}, errors=errors)
        sampler = GpuSampler.open("all", nvml=fake_nvml(gpu))
        Telemetry([sampler], Clock()).tick()
        periods.append(sampler.poll_period_ns)
    assert periods[1] == pytest.approx(periods[0] / 2)


def test_a_gpu_that_vanishes_between_ticks_is_polled_no_more(fake_nvml: Any, fake_gpu: Any) -> None:
    gpu = fake_gpu(bits={PCIE_RX: 32})
    sampler = GpuSampler.open("all", nvml=fake_nvml(gpu))
    telemetry = Telemetry([sampler], Clock())
    telemetry.tick()
    gpu.lose()
    telemetry.poll()
    telemetry.tick()
    assert sampler.poll_period_ns is None
    assert telemetry.failures == {"gpu0": 1}


def test_energy_is_asked_once_a_second(fake_nvml: Any, fake_gpu: Any) -> None:
    clock = Clock()
    telemetry = Telemetry([GpuSampler.open("all", nvml=fake_nvml(fake_gpu()), clock=clock)], clock)
    for clock.now_ns in (0, 400_000_000, 999_999_999, 1_000_000_000, 1_400_000_000):
        telemetry.tick()
    columns = telemetry.drain()
    assert np.isnan(columns["energy_joules"]).tolist() == [False, True, True, False, True]
    assert not np.isnan(columns["power_watts"]).any()
    assert telemetry.reasons == {}


def test_without_nvml_there_is_no_gpu_row_and_one_reason(fake_nvml: Any) -> None:
    nvml = fake_nvml(init_error=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    sampler = GpuSampler.open("all", nvml=nvml)
    telemetry = Telemetry([sampler, ConstantSampler("host")], Clock())
    telemetry.tick()
    assert telemetry.devices == ("host",)
    assert telemetry.drain()["device"].tolist() == ["host"]
    assert telemetry.reasons == {
        "gpu": "NVML: NVML Shared Library Not Found (NVMLError_LibraryNotFound)"
    }
    telemetry.close()


def test_nvml_is_shut_down_once(fake_nvml: Any, fake_gpu: Any) -> None:
    nvml = fake_nvml(fake_gpu())
    telemetry, _ = sample_gpus(nvml)
    assert nvml.open_sessions == 1
    telemetry.close()
    telemetry.close()
    assert nvml.open_sessions == 0


FOUR = [
    ("GPU-aaaa1111", "00000000:3B:00.0"),
    ("GPU-aaaa2222", "00000000:5E:00.0"),
    ("GPU-bbbb3333", "00000000:86:00.0"),
    ("GPU-cccc4444", "00000001:86:00.0"),
]


@pytest.mark.parametrize(
    ("gpus", "environ", "expected", "missing"),
    [
        ("all", {"CUDA_VISIBLE_DEVICES": "1"}, {"gpu0": 0, "gpu1": 1, "gpu2": 2, "gpu3": 3}, set()),
        ("visible", {}, {"gpu0": 0, "gpu1": 1, "gpu2": 2, "gpu3": 3}, set()),
        ("visible", {"CUDA_VISIBLE_DEVICES": "2,0"}, {"gpu0": 2, "gpu1": 0}, set()),
        ("visible", {"CUDA_VISIBLE_DEVICES": "GPU-b, GPU-aaaa2"}, {"gpu0": 2, "gpu1": 1}, set()),
        ("visible", {"CUDA_VISIBLE_DEVICES": "1,9,0"}, {"gpu0": 1}, {"gpu1"}),
        ("visible", {"CUDA_VISIBLE_DEVICES": "-1"}, {}, {"gpu0"}),
        ("visible", {"CUDA_VISIBLE_DEVICES": ""}, {}, {"gpu"}),
        (["86:00.0", "0001:86:00.0"], {}, {"gpu0": 2, "gpu1": 3}, set()),
        (["0:5e:00.0", "GPU-nowhere", "GPU-cccc4444"], {}, {"gpu0": 1, "gpu2": 3}, {"gpu1"}),
        (["GPU-aaaa"], {}, {}, {"gpu0"}),
    ],
)
def test_gpus_are_those_asked_for_in_their_order(
    fake_nvml: Any,
    fake_gpu: Any,
    gpus: Any,
    environ: dict[str, str],
    expected: dict[str, int],
    missing: set[str],
) -> None:
    cards = [fake_gpu(uuid=uuid, pci_bus_id=bus_id) for uuid, bus_id in FOUR]
    found = find_gpus(fake_nvml(*cards), gpus, environ)
    assert {gpu.device: cards.index(gpu.handle) for gpu in found.handles} == expected
    assert set(found.reasons) == missing


CpuTimes = namedtuple("CpuTimes", "user system idle iowait guest guest_nice")


class FakePsutil:
    class Error(Exception):
        pass

    def __init__(self) -> None:
        self.times = CpuTimes(100.0, 50.0, 800.0, 50.0, 20.0, 0.0)
        self.defect: Exception | None = None

    def Process(self) -> Any:  # noqa: N802
        return SimpleNamespace(
            oneshot=nullcontext,
            memory_info=lambda: SimpleNamespace(rss=123 << 20),
            num_threads=self._threads,
        )

    def _threads(self) -> int:
        if self.defect is not None:
            raise self.defect
        return 9

    def virtual_memory(self) -> Any:
        return SimpleNamespace(available=7 << 30)

    def cpu_times(self) -> CpuTimes:
        return self.times


def test_process_and_machine_are_sampled_as_shares_since_the_sample_before() -> None:
    psutil, clock, cpu_clock = FakePsutil(), Clock(), Clock()
    telemetry = Telemetry([ProcessSampler(psutil, clock, cpu_clock)], clock)
    telemetry.tick()
    clock.now_ns += 100_000_000
    cpu_clock.now_ns += 150_000_000
    psutil.times = CpuTimes(102.0, 51.0, 806.0, 51.0, 22.0, 0.0)  # guest is part of user
    telemetry.tick()
    columns = telemetry.drain()
    assert columns["device"].tolist() == ["host", "host"]
    assert columns["time_ns"].tolist() == [0, 100_000_000]
    assert math.isnan(columns["process_cpu_percent"][0])
    assert math.isnan(columns["host_cpu_percent"][0])
    assert columns["process_cpu_percent"][1] == 150
    assert columns["host_cpu_percent"][1] == pytest.approx(30)  # 3 s of 10
    assert columns["process_rss_bytes"].tolist() == [123 << 20] * 2
    assert columns["process_threads"].tolist() == [9, 9]
    assert columns["host_memory_available_bytes"].tolist() == [7 << 30] * 2
    assert all(np.isnan(columns[name]).all() for name in GPU_COLUMNS)


def test_a_process_query_that_fails_leaves_the_machine_sampled() -> None:
    psutil = FakePsutil()
    psutil.defect = psutil.Error("no access to /proc")
    telemetry = Telemetry([ProcessSampler(psutil, Clock(), Clock())], Clock())
    telemetry.tick()
    columns = telemetry.drain()
    assert math.isnan(columns["process_threads"][0])
    assert columns["host_memory_available_bytes"][0] == 7 << 30
    assert telemetry.reasons == {"host.process": "no access to /proc (Error)"}
    assert telemetry.failures == {"host.process": 1}


def test_this_machine_is_sampled_by_the_installed_psutil() -> None:
    telemetry = Telemetry([ProcessSampler()], Clock())
    telemetry.tick()
    columns = telemetry.drain()
    for name in ("process_rss_bytes", "process_threads", "host_memory_available_bytes"):
        assert columns[name][0] > 0


def test_drained_columns_are_complete_typed_and_emptied() -> None:
    clock = Clock()
    telemetry = Telemetry([ConstantSampler("gpu0"), ConstantSampler("host")], clock, period_ns=5)
    for clock.now_ns in (10, 20):
        telemetry.tick()
    columns = telemetry.drain()
    assert tuple(columns) == COLUMNS
    assert columns["time_ns"].tolist() == [10, 10, 20, 20]
    assert columns["device"].tolist() == ["gpu0", "host", "gpu0", "host"]
    assert columns["period_ns"].tolist() == [5] * 4
    empty = telemetry.drain()
    assert tuple(empty) == COLUMNS
    for name in COLUMNS:
        assert len(columns[name]) == 4
        assert len(empty[name]) == 0
        assert empty[name].dtype.kind == columns[name].dtype.kind
    assert columns["time_ns"].dtype == np.int64
    assert columns["utilization_percent"].dtype == np.float64


def test_a_defect_in_a_source_reaches_nobody_but_its_own_rows() -> None:
    broken = ConstantSampler("gpu0", RuntimeError("not an NVML error"))
    telemetry = Telemetry([broken, ConstantSampler("host")], Clock())
    telemetry.tick()
    telemetry.poll()
    telemetry.tick()
    columns = telemetry.drain()
    assert np.isnan(columns[GPU_COLUMNS[0]]).tolist() == [True, False, True, False]
    assert "not an NVML error" in telemetry.reasons["gpu0"]
    assert telemetry.failures == {"gpu0": 2}


def test_the_thread_samples_at_once_and_stops_inside_its_period() -> None:
    sampler = ConstantSampler()
    with Telemetry([sampler], Clock(), period_ns=3600 * 10**9) as telemetry:
        assert sampler.sampled.wait(WAIT_SECONDS)
        thread = next(each for each in threading.enumerate() if each.name == "telemetry")
        assert thread.daemon
    assert not thread.is_alive()
    assert sampler.closed == 1
    assert len(telemetry.drain()["time_ns"]) == 1
    with pytest.raises(ProfileError, match="open a new one"):
        telemetry.start()


def test_the_thread_leaves_out_the_ticks_that_it_missed() -> None:
    clock = Clock()
    third = threading.Event()

    class SlowSampler(ConstantSampler):
        """Its first sample takes three and a half periods."""

        samples = 0

        def sample(self, rows: Any) -> None:
            self.samples += 1
            if self.samples == 1:
                clock.now_ns += 350
            elif self.samples == 3:
                third.set()
            else:
                clock.now_ns = 400  # the deadline: time passes while the thread waits

    with Telemetry([SlowSampler()], clock, period_ns=100) as telemetry:
        assert third.wait(WAIT_SECONDS)
    assert telemetry.missed_ticks == 3
    assert telemetry.drain()["time_ns"][:2].tolist() == [0, 350]


def test_the_thread_polls_in_even_steps_between_ticks() -> None:
    clock = Clock()
    done = threading.Event()
    steps: list[tuple[str, int]] = []

    class PolledSampler(ConstantSampler):
        """Time passes while it is looked at, a quarter of a period each time."""

        poll_period_ns = 50

        def sample(self, rows: Any) -> None:
            self.step("sample")

        def poll(self) -> None:
            self.step("poll")

        def step(self, name: str) -> None:
            steps.append((name, clock.now_ns))
            clock.now_ns += 25
            if len(steps) == 5:
                done.set()

    with Telemetry([PolledSampler()], clock, period_ns=100):
        assert done.wait(WAIT_SECONDS)
    assert steps[:4] == [("sample", 0), ("poll", 25), ("sample", 50), ("poll", 75)]


def test_a_query_that_hangs_does_not_hang_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("profiles.telemetry._JOIN_SECONDS", 0.01)
    release = threading.Event()

    class HangingSampler(ConstantSampler):
        def sample(self, rows: Any) -> None:
            self.sampled.set()
            release.wait(WAIT_SECONDS)

    sampler = HangingSampler()
    telemetry = Telemetry([sampler], Clock())
    telemetry.start()
    assert sampler.sampled.wait(WAIT_SECONDS)
    telemetry.close()
    assert sampler.closed == 0, "still in use"
    assert "did not return" in telemetry.reasons["telemetry"]
    release.set()


@given(
    deadline_ns=st.integers(0, 10**15),
    late_ns=st.integers(0, 10**12),
    period_ns=st.integers(1, 10**10),
)
def test_deadlines_stay_on_their_grid(deadline_ns: int, late_ns: int, period_ns: int) -> None:
    now_ns = deadline_ns + late_ns
    following_ns, missed = next_deadline(deadline_ns, now_ns, period_ns)
    assert (following_ns - deadline_ns) == (missed + 1) * period_ns
    assert following_ns >= now_ns
    assert missed == 0 or following_ns - period_ns < now_ns


@pytest.mark.parametrize("period_ns", [0, -1])
def test_an_impossible_period_is_refused(period_ns: int) -> None:
    with pytest.raises(ProfileError, match="must be positive"):
        open_telemetry(Clock(), period_ns=period_ns)


def test_two_sources_of_one_device_are_refused() -> None:
    with pytest.raises(ProfileError, match="share a device name"):
        Telemetry([ConstantSampler("host"), ConstantSampler("host")], Clock())


def test_throttle_reasons_read_as_words() -> None:
    assert decode_throttle_reasons(0x24) == ("software power cap", "software thermal slowdown")
    assert decode_throttle_reasons(0.0) == ()
    assert decode_throttle_reasons(math.nan) == ()
