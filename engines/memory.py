"""How much memory is free on a device of torch's, and what of it an engine takes."""

from __future__ import annotations

import psutil
import torch

from engines import sizing
from engines.capabilities import DeviceFacts, Resolved, computes_in_fp8, installed
from engines.dtypes import name_of
from engines.models.config import ModelConfig
from engines.options import EngineOptions
from engines.scheduling.config import SchedulerConfig
from engines.scratch import scratch_bytes


def free_bytes(device: torch.device) -> int:
    """Memory on `device` that is free now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def device_facts(device: torch.device) -> DeviceFacts:
    """What decides which fast parts `device` can have."""
    if device.type != "cuda":
        return DeviceFacts("cpu", "cpu", None, installed())
    return DeviceFacts(
        "cuda",
        torch.cuda.get_device_name(device),
        torch.cuda.get_device_capability(device),
        installed(),
    )


def check_weights_fit(
    config: ModelConfig, dtype: torch.dtype, device: torch.device, quantization: str = "none"
) -> None:
    """Refuses a model whose weights are larger than the memory that is free.

    Raises:
        ModelError: the message gives both sizes and what would fit.
    """
    sizing.check_weights_fit(
        config,
        name_of(dtype),
        device.type,
        free_bytes(device),
        quantization,
        can_quantise=computes_in_fp8(device_facts(device)),
    )


def choose_num_blocks(
    options: EngineOptions,
    config: ModelConfig,
    scheduling: SchedulerConfig,
    resolved: Resolved,
    device: torch.device,
) -> int:
    """Blocks of the KV pool, the null block included, once the weights are loaded.

    Raises:
        EngineConfigError: as `engines.sizing.choose_num_blocks`.
    """
    scratch = scratch_bytes(config, scheduling, resolved) if device.type == "cuda" else 0
    return sizing.choose_num_blocks(
        options,
        config,
        scheduling,
        resolved.kv_dtype,
        device.type,
        free_bytes(device),
        scratch,
    )
