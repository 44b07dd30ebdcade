"""What a run ran on: the machine's description for the record, and published peaks by GPU."""

from __future__ import annotations

import dataclasses
import platform
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiles.errors import ProfileError
from profiles.limits import cgroup_memory_bytes, usable_cores
from profiles.nvml import GpuHandle, Gpus, as_text, explain, find_gpus, open_nvml


@dataclass(frozen=True, slots=True)
class GpuDescription:
    """One GPU; None where the driver does not tell, with the reason in the machine's `reasons`.

    Attributes:
        device: its name in the run's samples, `gpu0` first.
        power_limit_watts: the limit in force, not the card's default.
        compute_capability: "9.0" for Hopper.
    """

    device: str
    name: str | None
    pci_bus_id: str | None
    memory_total_bytes: int | None
    power_limit_watts: float | None
    compute_capability: str | None


@dataclass(frozen=True, slots=True)
class HardwareDescription:
    """A machine, as this process may use it.

    Attributes:
        hardware_key: what expectations are filed under: the first GPU's `gpu_key`, or
            `cpu-<model>-<usable cores>c`.
        physical_cores, logical_cores: of the machine.
        usable_cores: what affinity and control groups leave to this process.
        memory_total_bytes: the machine's, or the control group's limit where that is less.
        cuda_driver_version: the newest CUDA that the driver supports, "13.0".
        reasons: why something is None, by field or `device.field`.
    """

    hardware_key: str
    cpu_model: str | None
    architecture: str
    physical_cores: int | None
    logical_cores: int
    usable_cores: int
    memory_total_bytes: int
    operating_system: str
    kernel: str
    python_version: str
    driver_version: str | None
    cuda_driver_version: str | None
    gpus: tuple[GpuDescription, ...]
    reasons: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """The same as dicts, lists, str, numbers and None, ready for JSON."""
        plain = dataclasses.asdict(self)
        plain["gpus"] = list(plain["gpus"])
        return plain


@dataclass(frozen=True, slots=True)
class Peak:
    """Published peak figures of one GPU: dense FLOP/s (no sparsity) and memory bytes/s.

    `fp8_flops` is None where the GPU has no FP8 units.
    """

    bf16_flops: float
    fp8_flops: float | None
    memory_bytes_per_s: float
    source: str


_HALVED = "; its figure with sparsity, halved"

PEAKS: Mapping[str, Peak] = {
    "h200": Peak(989e12, 1979e12, 4.8e12, "NVIDIA H200 datasheet, SXM" + _HALVED),
    "h100": Peak(989e12, 1979e12, 3.35e12, "NVIDIA H100 datasheet, SXM" + _HALVED),
    "a100-80gb": Peak(312e12, None, 2.039e12, "NVIDIA A100 datasheet, 80GB SXM"),
    "l40s": Peak(362.05e12, 733e12, 864e9, "NVIDIA L40S datasheet, without sparsity"),
}
"""Peaks by `gpu_key`."""

_GPU_NOISE = {"nvidia", "tesla", "geforce", "sxm", "sxm2", "sxm3", "sxm4", "sxm5", "hbm3", "hbm3e"}


def gpu_key(name: str) -> str:
    """A short stable key for NVML's name of a GPU.

    "NVIDIA H100 80GB HBM3" is `h100`, "NVIDIA H100 PCIe" `h100-pcie`, "NVIDIA A100-SXM4-80GB"
    `a100-80gb`: a variant with other peaks gets another key.
    """
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
    kept = [word for word in words if word not in _GPU_NOISE]
    if kept[:2] == ["h100", "80gb"]:
        del kept[1]  # the SXM board's name says its memory, the others' say their form
    return "-".join(kept)


def peak_for(name: str) -> Peak | None:
    """Published peaks of the GPU that NVML or torch calls `name`; None for one not listed."""
    return PEAKS.get(gpu_key(name))


def cpu_key(model: str | None, cores: int) -> str:
    """`cpu-<model>-<cores>c`, without trademarks, clock and core counts of the model's name."""
    name = (model or platform.machine() or "unknown").lower()
    name = re.sub(r"\((r|tm)\)|@.*|\bwith\b.*|\b\d+-core\b|\bcpu\b|\bprocessor\b", " ", name)
    slug = re.sub(r"[^a-z0-9]+", "-", name).strip("-")
    return f"cpu-{slug}-{cores}c"


def describe(
    gpus: Gpus = "visible", *, nvml: Any | None = None, root: Path = Path("/")
) -> HardwareDescription:
    """Describe this machine. Takes milliseconds, imports no torch, touches no GPU's state.

    `nvml` (the module) and `root` (of /proc and /sys) stand in for the machine's in tests.
    """
    import psutil

    reasons: dict[str, str] = {}
    driver, cuda, found = _describe_gpus(gpus, nvml, reasons)
    model = _cpu_model(root)
    if model is None:
        reasons["cpu_model"] = "neither /proc/cpuinfo nor sysctl names the model"
    logical = psutil.cpu_count() or 1
    physical = psutil.cpu_count(logical=False)
    if physical is None:
        reasons["physical_cores"] = "the system does not tell"
    usable = usable_cores(logical, root)
    memory = psutil.virtual_memory().total
    named = [gpu.name for gpu in found if gpu.name is not None]
    return HardwareDescription(
        hardware_key=gpu_key(named[0]) if named else cpu_key(model, usable),
        cpu_model=model,
        architecture=platform.machine(),
        physical_cores=physical,
        logical_cores=logical,
        usable_cores=usable,
        memory_total_bytes=min(memory, cgroup_memory_bytes(root) or memory),
        operating_system=_operating_system(root),
        kernel=platform.release(),
        python_version=platform.python_version(),
        driver_version=driver,
        cuda_driver_version=cuda,
        gpus=found,
        reasons=reasons,
    )


def _describe_gpus(
    gpus: Gpus, nvml: Any | None, reasons: dict[str, str]
) -> tuple[str | None, str | None, tuple[GpuDescription, ...]]:
    """Driver version, CUDA version and GPUs; what is missing adds to `reasons`."""
    try:
        nvml = open_nvml(nvml)
    except ProfileError as error:
        reasons["gpu"] = str(error)
        return None, None, ()
    try:
        driver = _ask(nvml, reasons, "driver_version", nvml.nvmlSystemGetDriverVersion)
        cuda = _ask(nvml, reasons, "cuda_driver_version", nvml.nvmlSystemGetCudaDriverVersion_v2)
        found = find_gpus(nvml, gpus)
        reasons.update(found.reasons)
        return (
            None if driver is None else as_text(driver),
            None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
            tuple(_describe_gpu(nvml, gpu, reasons) for gpu in found.handles),
        )
    finally:
        nvml.nvmlShutdown()


def _describe_gpu(nvml: Any, gpu: GpuHandle, reasons: dict[str, str]) -> GpuDescription:
    def ask(field: str, query: Callable[..., Any], *more: Any) -> Any:
        return _ask(nvml, reasons, f"{gpu.device}.{field}", query, gpu.handle, *more)

    name = ask("name", nvml.nvmlDeviceGetName)
    pci = ask("pci_bus_id", nvml.nvmlDeviceGetPciInfo)
    memory = ask("memory_total_bytes", nvml.nvmlDeviceGetMemoryInfo, nvml.nvmlMemory_v2)
    limit = ask("power_limit_watts", nvml.nvmlDeviceGetEnforcedPowerLimit)  # milliwatts
    capability = ask("compute_capability", nvml.nvmlDeviceGetCudaComputeCapability)
    return GpuDescription(
        device=gpu.device,
        name=None if name is None else as_text(name),
        pci_bus_id=None if pci is None else as_text(pci.busId),
        memory_total_bytes=None if memory is None else memory.total,
        power_limit_watts=None if limit is None else limit / 1000,
        compute_capability=None if capability is None else f"{capability[0]}.{capability[1]}",
    )


def _ask(
    nvml: Any, reasons: dict[str, str], key: str, query: Callable[..., Any], *arguments: Any
) -> Any:
    """The answer, or None with the reason under `key`."""
    try:
        return query(*arguments)
    except nvml.NVMLError as error:
        reasons[key] = explain(error)
        return None


def _cpu_model(root: Path) -> str | None:
    """The first CPU's name: /proc/cpuinfo on Linux, sysctl on macOS."""
    try:
        lines = (root / "proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip().lower() in ("model name", "cpu model", "hardware"):
            return value.strip() or None
    if platform.system() == "Darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        return answer.stdout.strip() or None
    return None


def _operating_system(root: Path) -> str:
    """The distribution's own name, or the platform's: "Debian GNU/Linux 12 (bookworm)"."""
    try:
        lines = (root / "etc/os-release").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip().strip("\"'")
    return f"{platform.system()} {platform.mac_ver()[0] or platform.release()}"
