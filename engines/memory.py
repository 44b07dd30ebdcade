"""How much memory is free on a device of torch's, and what of it an engine takes."""

from __future__ import annotations

import psutil
import torch

from engines import sizing
from engines.models.config import ModelConfig
from engines.options import EngineOptions
from engines.scheduling.config import SchedulerConfig


def free_bytes(device: torch.device) -> int:
    """Memory on `device` that is free now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def check_weights_fit(config: ModelConfig, dtype: torch.dtype, device: torch.device) -> None:
    """Refuses a model whose weights are larger than the memory that is free.

    Raises:
        ModelError: the message gives both sizes and what would fit.
    """
    sizing.check_weights_fit(config, name_of(dtype), device.type, free_bytes(device))


def choose_num_blocks(
    options: EngineOptions,
    config: ModelConfig,
    scheduling: SchedulerConfig,
    dtype: torch.dtype,
    device: torch.device,
) -> int:
    """Blocks of the KV pool, the null block included, once the weights are loaded.

    Raises:
        EngineConfigError: as `engines.sizing.choose_num_blocks`.
    """
    return sizing.choose_num_blocks(
        options, config, scheduling, name_of(dtype), device.type, free_bytes(device)
    )


def name_of(dtype: torch.dtype) -> str:
    """ "float32", "bfloat16": the dtype as options have it."""
    return str(dtype).removeprefix("torch.")
