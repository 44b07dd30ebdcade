"""How much memory there is, and how large a KV pool may be."""

from __future__ import annotations

import psutil
import torch

from engines.errors import EngineConfigError, ModelError
from engines.models.config import ModelConfig

CPU_KV_BYTES = 4 << 30
"""The largest KV pool that is taken on a CPU without being asked to."""

CPU_SHARE = 0.5
"""The part of the free host memory that a KV pool may take."""

CUDA_SHARE = 0.9
"""The part of the free device memory that a KV pool and its scratch may take together."""

CUDA_SCRATCH_BYTES = 6 << 30
"""Kept free on a GPU for activations, logits and the reference attention's gathered copies."""


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
    needed, free = config.num_parameters * dtype.itemsize, free_bytes(device)
    if needed > free * 0.95:
        raise ModelError(
            f"{config.name} in {str(dtype).removeprefix('torch.')} needs {gib(needed)} for its "
            f"weights, but {device.type} has {gib(free)} free; take a smaller model, "
            f"{'--dtype bfloat16 or ' if dtype.itemsize > 2 else ''}a device with more memory"
        )


def choose_num_blocks(
    config: ModelConfig,
    dtype: torch.dtype,
    device: torch.device,
    block_size: int,
    most_tokens: int,
    kv_memory_bytes: int | None,
) -> int:
    """Blocks of the KV pool, the null block included.

    Without a wish, as many as could ever be used (`most_tokens`), within a share of the memory
    that is free once the weights are loaded.

    Raises:
        EngineConfigError: the wish, or even one block, doesn't fit.
    """
    block_bytes = config.kv_bytes_per_token(dtype.itemsize) * block_size
    free = free_bytes(device)
    if kv_memory_bytes is not None:
        if kv_memory_bytes > free:
            raise EngineConfigError(
                f"kv_memory {gib(kv_memory_bytes)} is more than the {gib(free)} that are free "
                f"on {device.type} beside the weights; ask for less"
            )
        room = kv_memory_bytes
    elif device.type == "cuda":
        room = int(free * CUDA_SHARE) - CUDA_SCRATCH_BYTES
    else:
        room = min(CPU_KV_BYTES, int(free * CPU_SHARE))
    num_blocks = room // block_bytes
    if kv_memory_bytes is None:
        num_blocks = min(num_blocks, -(-most_tokens // block_size) + 1)
    if num_blocks < 2:
        raise EngineConfigError(
            f"a KV pool of {gib(max(room, 0))} holds no two blocks of {block_bytes:,} bytes "
            f"({block_size} tokens of {config.name}); free memory, or ask for more kv_memory"
        )
    return num_blocks


def check_blocks_fit(
    config: ModelConfig, dtype: torch.dtype, device: torch.device, block_size: int, num_blocks: int
) -> None:
    """Refuses a number of blocks that was asked for and is larger than the free memory.

    Raises:
        EngineConfigError: the message gives both sizes and how many blocks would fit.
    """
    block_bytes = config.kv_bytes_per_token(dtype.itemsize) * block_size
    free = free_bytes(device)
    if num_blocks * block_bytes > free:
        raise EngineConfigError(
            f"num_blocks = {num_blocks:,} of {config.name} need {gib(num_blocks * block_bytes)}, "
            f"but {device.type} has {gib(free)} free; {free // block_bytes:,} would fit"
        )


def gib(number: int) -> str:
    """Bytes as GiB, for messages."""
    return f"{number / (1 << 30):.2f} GiB"
