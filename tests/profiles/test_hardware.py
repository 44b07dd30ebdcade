"""Hardware: what a machine is called, what it may use, and what its makers promise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pynvml
import pytest

from profiles.hardware import PEAKS, cpu_key, describe, gpu_key, peak_for
from profiles.limits import cgroup_cores, cgroup_memory_bytes, usable_cores


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA H200 NVL", "h200-nvl"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("NVIDIA A100-SXM4-40GB", "a100-40gb"),
        ("NVIDIA A100 80GB PCIe", "a100-80gb-pcie"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA H200 MIG 1g.18gb", "h200-mig-1g-18gb"),
    ],
)
def test_gpu_keys_are_short_and_tell_variants_apart(name: str, key: str) -> None:
    assert gpu_key(name) == key


@pytest.mark.parametrize(
    ("model", "cores", "key"),
    [
        ("AMD EPYC", 2, "cpu-amd-epyc-2c"),
        ("AMD EPYC 9654 96-Core Processor", 16, "cpu-amd-epyc-9654-16c"),
        ("Intel(R) Xeon(R) Platinum 8480+ CPU @ 2.00GHz", 8, "cpu-intel-xeon-platinum-8480-8c"),
        ("AMD Ryzen 7 7840U with Radeon 780M Graphics", 16, "cpu-amd-ryzen-7-7840u-16c"),
        ("Apple M3 Pro", 12, "cpu-apple-m3-pro-12c"),
    ],
)
def test_cpu_keys_are_free_of_decoration(model: str, cores: int, key: str) -> None:
    assert cpu_key(model, cores) == key


def test_peaks_are_dense_and_name_their_source() -> None:
    h200 = peak_for("NVIDIA H200")
    assert h200 is not None
    assert (h200.bf16_flops, h200.fp8_flops, h200.memory_bytes_per_s) == (989e12, 1979e12, 4.8e12)
    h100 = peak_for("NVIDIA H100 80GB HBM3")
    assert h100 is not None
    assert h100.memory_bytes_per_s == 3.35e12
    a100 = peak_for("NVIDIA A100-SXM4-80GB")
    assert a100 is not None
    assert (a100.bf16_flops, a100.fp8_flops) == (312e12, None)
    assert peak_for("NVIDIA A100-SXM4-40GB") is None
    for peak in PEAKS.values():
        assert peak.source.startswith("NVIDIA")
        assert peak.fp8_flops is None or 1.9 < peak.fp8_flops / peak.bf16_flops < 2.1


def test_a_machine_with_gpus_is_described_and_goes_into_json(
    fake_nvml: Any, fake_gpu: Any, tmp_path: Path
) -> None:
    root = write(
        tmp_path,
        {
            "proc/cpuinfo": "processor\t: 0\nmodel name\t: AMD EPYC 9654 96-Core Processor\n",
            "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
        },
    )
    nvml = fake_nvml(fake_gpu(), fake_gpu(uuid="GPU-bbbb", pci_bus_id="00000000:5E:00.0"))
    described = describe("all", nvml=nvml, root=root)
    assert described.hardware_key == "h200"
    assert described.cpu_model == "AMD EPYC 9654 96-Core Processor"
    assert described.operating_system == "Debian GNU/Linux 12 (bookworm)"
    assert described.driver_version == "580.159.03"
    assert described.cuda_driver_version == "13.2"
    assert [gpu.device for gpu in described.gpus] == ["gpu0", "gpu1"]
    assert described.gpus[0].name == "NVIDIA H200"
    assert described.gpus[0].pci_bus_id == "00000000:3B:00.0"
    assert described.gpus[0].memory_total_bytes == 141 << 30
    assert described.gpus[0].power_limit_watts == 700.0
    assert described.gpus[0].compute_capability == "9.0"
    assert nvml.open_sessions == 0
    plain = described.as_dict()
    assert json.loads(json.dumps(plain)) == plain


def test_what_a_gpu_does_not_tell_is_none_with_its_reason(fake_nvml: Any, fake_gpu: Any) -> None:
    errors = {"power_limit": pynvml.NVML_ERROR_NOT_SUPPORTED, "name": pynvml.NVML_ERROR_UNKNOWN}
    described = describe("all", nvml=fake_nvml(fake_gpu(errors=errors)))
    assert described.gpus[0].power_limit_watts is None
    assert described.gpus[0].name is None
    assert described.gpus[0].memory_total_bytes == 141 << 30
    assert described.reasons["gpu0.power_limit_watts"] == "Not Supported (NVMLError_NotSupported)"
    assert described.hardware_key.startswith("cpu-")


def test_a_machine_without_gpu_is_called_by_its_cpu(fake_nvml: Any, tmp_path: Path) -> None:
    root = write(tmp_path, {"proc/cpuinfo": "model name\t: AMD EPYC\n"})
    nvml = fake_nvml(init_error=pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
    described = describe(nvml=nvml, root=root)
    assert described.hardware_key == f"cpu-amd-epyc-{described.usable_cores}c"
    assert described.gpus == ()
    assert described.driver_version is None
    reason = "NVML: Driver Not Loaded (NVMLError_DriverNotLoaded)"
    assert described.reasons["gpu"] == reason


def test_this_machine_can_be_described() -> None:
    described = describe()
    assert 1 <= described.usable_cores <= described.logical_cores
    assert described.memory_total_bytes > 0
    assert described.gpus or "gpu" in described.reasons
    json.dumps(described.as_dict())


def test_control_groups_v2_limit_by_the_tightest_group_on_the_way_up(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/outer/inner\n",
            "sys/fs/cgroup/outer/inner/cpu.max": "max 100000\n",
            "sys/fs/cgroup/outer/cpu.max": "350000 100000\n",
            "sys/fs/cgroup/outer/inner/memory.max": f"{8 << 30}\n",
            "sys/fs/cgroup/outer/memory.max": "max\n",
        },
    )
    assert cgroup_cores(root) == 3.5
    assert cgroup_memory_bytes(root) == 8 << 30


def test_control_groups_v1_are_read_from_the_mounted_top_inside_a_container(
    tmp_path: Path,
) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{4 << 30}\n",
        },
    )
    assert cgroup_cores(root) == 1.5
    assert cgroup_memory_bytes(root) == 4 << 30


def test_control_groups_without_limits_say_so(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "2:cpu:/\n0::/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu.max": "max 100000\n",
        },
    )
    assert cgroup_cores(root) is None
    assert cgroup_cores(tmp_path / "nowhere") is None
    assert cgroup_memory_bytes(root) is None


def test_usable_cores_are_the_fewest_and_at_least_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert usable_cores(16, tmp_path) == 6
    assert usable_cores(4, tmp_path) == 4
    half = {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/cpu.max": "50000 100000\n",
    }
    assert usable_cores(16, write(tmp_path, half)) == 1
