"""NVML, opened: the library's own words for what it can't do, and which GPUs a run means."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from profiles.errors import ProfileError

Gpus = Literal["all", "visible"] | Sequence[str]
"""Which GPUs: all that NVML knows; those that CUDA_VISIBLE_DEVICES leaves; or a list of NVML
indices, UUIDs (or their beginnings) or PCI bus ids. A list's order numbers the devices."""


@dataclass(frozen=True, slots=True)
class GpuHandle:
    """One GPU: its name in the run (`gpu0` is torch's `cuda:0`) and NVML's handle for it."""

    device: str
    handle: Any


@dataclass(frozen=True, slots=True)
class FoundGpus:
    """GPUs in the order asked for, and by device name why one is missing."""

    handles: tuple[GpuHandle, ...]
    reasons: Mapping[str, str] = field(default_factory=dict)


def open_nvml(nvml: Any | None = None) -> Any:
    """The `pynvml` module with NVML initialised; each call pairs with one `nvmlShutdown`.

    Raises:
        ProfileError: there is no driver, no library or no permission; the message says which.
    """
    if nvml is None:
        try:
            import pynvml
        except ImportError:
            raise ProfileError(
                "NVML: the Python module pynvml is missing; install nvidia-ml-py"
            ) from None
        nvml = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise ProfileError(f"NVML: {explain(error)}") from None
    return nvml


def explain(error: Exception) -> str:
    """NVML's message and the name of its error: "Not Supported (NVMLError_NotSupported)"."""
    return f"{error} ({type(error).__name__})"


def is_permanent(nvml: Any, error: Exception) -> bool:
    """Whether this device or driver will never answer the query that raised `error`."""
    return getattr(error, "value", None) in (
        nvml.NVML_ERROR_NOT_SUPPORTED,
        nvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        nvml.NVML_ERROR_NO_PERMISSION,
        nvml.NVML_ERROR_INVALID_ARGUMENT,  # a field id that an older driver does not know
    )


def find_gpus(nvml: Any, gpus: Gpus, environ: Mapping[str, str] | None = None) -> FoundGpus:
    """Handles of the GPUs that `gpus` names; `nvml` is initialised.

    `visible` follows CUDA: the list ends at its first entry that names no GPU. Numbers are NVML
    indices, in PCI order; CUDA counts in that order under CUDA_DEVICE_ORDER=PCI_BUS_ID, and
    where all GPUs are of one model. To be sure on a mixed machine, give UUIDs
    (`torch_gpu_uuids`).
    """
    environ = os.environ if environ is None else environ
    try:
        known = _known_gpus(nvml)
    except nvml.NVMLError as error:
        return FoundGpus((), {"gpu": f"NVML: {explain(error)}"})
    if gpus == "all" or (gpus == "visible" and "CUDA_VISIBLE_DEVICES" not in environ):
        handles = tuple(GpuHandle(f"gpu{index}", gpu.handle) for index, gpu in enumerate(known))
        return FoundGpus(handles, {} if known else {"gpu": "NVML: it knows no GPU"})

    if gpus == "visible":
        listed = environ["CUDA_VISIBLE_DEVICES"]
        wanted = [entry.strip() for entry in listed.split(",")] if listed.strip() else []
        if not wanted:
            return FoundGpus((), {"gpu": "CUDA_VISIBLE_DEVICES is empty"})
    else:
        wanted = [entry.strip() for entry in gpus]

    found: list[GpuHandle] = []
    reasons: dict[str, str] = {}
    for position, identifier in enumerate(wanted):
        handle = _match(nvml, known, identifier)
        if handle is not None:
            found.append(GpuHandle(f"gpu{position}", handle))
            continue
        reasons[f"gpu{position}"] = f"no GPU of this machine is {identifier!r}"
        if gpus == "visible":
            break
    return FoundGpus(tuple(found), reasons)


def torch_gpu_uuids() -> tuple[str, ...]:
    """UUIDs of torch's CUDA devices in torch's order, as NVML writes them. Initialises CUDA."""
    import torch

    return tuple(
        f"GPU-{torch.cuda.get_device_properties(index).uuid}"
        for index in range(torch.cuda.device_count())
    )


@dataclass(frozen=True, slots=True)
class _KnownGpu:
    handle: Any
    uuid: str
    pci_bus_id: str


def _known_gpus(nvml: Any) -> list[_KnownGpu]:
    known = []
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        bus_id = nvml.nvmlDeviceGetPciInfo(handle).busId
        known.append(_KnownGpu(handle, as_text(nvml.nvmlDeviceGetUUID(handle)), as_text(bus_id)))
    return known


def _match(nvml: Any, known: list[_KnownGpu], identifier: str) -> Any | None:
    if identifier.isdecimal():
        index = int(identifier)
        return known[index].handle if index < len(known) else None
    if identifier.startswith("MIG-"):
        try:
            return nvml.nvmlDeviceGetHandleByUUID(identifier)
        except nvml.NVMLError:
            return None
    if identifier.startswith("GPU-"):
        matches = [gpu for gpu in known if gpu.uuid.startswith(identifier)]
    else:
        bus_id = _normal_bus_id(identifier)
        matches = [gpu for gpu in known if _normal_bus_id(gpu.pci_bus_id) == bus_id]
    return matches[0].handle if len(matches) == 1 else None  # an ambiguous beginning names none


def _normal_bus_id(bus_id: str) -> tuple[str, ...]:
    """Domain, bus and device without leading zeros: the domain has 4 digits here, 8 there."""
    parts = bus_id.lower().split(".")[0].split(":")
    if len(parts) == 2:
        parts.insert(0, "0")
    return tuple(part.lstrip("0") for part in parts)


def as_text(value: str | bytes) -> str:
    """NVML's strings: bytes inside its structures, str elsewhere."""
    return value.decode() if isinstance(value, bytes) else value
