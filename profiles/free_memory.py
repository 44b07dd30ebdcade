"""How much memory is free now, on the host or on the first GPU. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from profiles.errors import ProfileError
from profiles.nvml import Gpus, as_text, explain, find_gpus, open_nvml


@dataclass(frozen=True, slots=True)
class FreeMemory:
    """Free memory of a device: "cpu", or a GPU by the name that NVML has for it.

    `capability` is a GPU's CUDA compute capability, such as (9, 0); None of a CPU.
    """

    device: str
    free_bytes: int
    capability: tuple[int, int] | None = None


def host_memory() -> FreeMemory:
    """What the host can give to a new process without swapping."""
    import psutil

    return FreeMemory("cpu", int(psutil.virtual_memory().available))


def gpu_memory(gpus: Gpus = "visible", nvml: Any | None = None) -> FreeMemory:
    """What is free on the first GPU that a run would see; no context is made on it.

    Raises:
        ProfileError: there is no GPU, or the driver doesn't tell; the message says which.
    """
    nvml = open_nvml(nvml)
    try:
        found = find_gpus(nvml, gpus)
        if not found.handles:
            raise ProfileError("; ".join(found.reasons.values()) or "no GPU is visible")
        handle = found.handles[0].handle
        name = as_text(nvml.nvmlDeviceGetName(handle))
        free_bytes = int(nvml.nvmlDeviceGetMemoryInfo(handle, nvml.nvmlMemory_v2).free)
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
        return FreeMemory(name, free_bytes, (int(major), int(minor)))
    except nvml.NVMLError as error:
        raise ProfileError(f"NVML: {explain(error)}") from None
    finally:
        nvml.nvmlShutdown()
