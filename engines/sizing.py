"""What an engine takes of a machine's memory, and the limits that it chooses: plain arithmetic,
without torch, so that it can be told before anything is loaded."""

from __future__ import annotations

from engines.errors import EngineConfigError, ModelError
from engines.models.config import ModelConfig
from engines.options import DEFAULT_MAX_MODEL_LEN, EngineOptions
from engines.scheduling.config import SchedulerConfig

ELEMENT_BYTES = {"float32": 4, "bfloat16": 2}
"""Bytes of a weight, or of an element of the KV cache, by dtype."""

CPU_KV_BYTES = 4 << 30
"""The largest KV pool that is taken on a CPU without being asked to."""

CPU_SHARE = 0.5
"""The part of the free host memory that a KV pool may take."""

CUDA_SHARE = 0.9
"""The part of the free device memory that a KV pool and its scratch may take together."""

CUDA_SCRATCH_BYTES = 6 << 30
"""Kept free on a GPU for activations, logits and the reference attention's gathered copies."""

WEIGHTS_SHARE = 0.95
"""The part of the free memory that weights may take."""


def dtype_for(asked: str, device: str) -> str:
    """The dtype of weights and KV: as asked, or of "auto" what is usual on "cpu" or "cuda"."""
    if asked != "auto":
        return asked
    return "bfloat16" if device == "cuda" else "float32"


def scheduler_config(options: EngineOptions, config: ModelConfig, device: str) -> SchedulerConfig:
    """The scheduler's limits: as asked, or chosen for the model and for "cpu" or "cuda".

    Raises:
        EngineConfigError: the model is too short for `max_model_len`, or limits contradict.
    """
    cuda = device == "cuda"
    longest = options.max_model_len or min(config.max_position, DEFAULT_MAX_MODEL_LEN)
    if longest > config.max_position:
        raise EngineConfigError(
            f"max_model_len = {longest}: {config.name} knows {config.max_position} positions"
        )
    seqs = options.max_num_seqs or (256 if cuda else 16)
    budget = options.max_num_batched_tokens
    if budget is None:
        budget = max(8192 if cuda else 256, seqs)
        if not options.chunked_prefill:
            budget = max(budget, longest)
    return SchedulerConfig(
        max_num_seqs=seqs,
        max_num_batched_tokens=budget,
        max_model_len=longest,
        chunked_prefill=options.chunked_prefill,
        policy=options.policy,
        batching=options.batching,
    )


def check_weights_fit(config: ModelConfig, dtype: str, device: str, free_bytes: int) -> None:
    """Refuses a model whose weights are larger than the memory that is free.

    Raises:
        ModelError: the message gives both sizes and what would fit.
    """
    needed = weights_bytes(config, dtype)
    if needed > free_bytes * WEIGHTS_SHARE:
        raise ModelError(
            f"{config.name} in {dtype} needs {gib(needed)} for its "
            f"weights, but {device} has {gib(free_bytes)} free; take a smaller model, "
            f"{'--dtype bfloat16 or ' if ELEMENT_BYTES[dtype] > 2 else ''}"
            "a device with more memory"
        )


def weights_bytes(config: ModelConfig, dtype: str) -> int:
    """Bytes of the model's weights."""
    return config.num_parameters * ELEMENT_BYTES[dtype]


def choose_num_blocks(
    options: EngineOptions,
    config: ModelConfig,
    scheduling: SchedulerConfig,
    dtype: str,
    device: str,
    free_bytes: int,
) -> int:
    """Blocks of the KV pool, the null block included, with `free_bytes` beside the weights.

    Without a wish, as many as the sequences that run at once could ever use, within a share of the
    memory that is free.

    Raises:
        EngineConfigError: the wish, or even one block, doesn't fit.
    """
    size = options.block_size
    if size < 1:
        raise EngineConfigError(f"block_size = {size}: a block holds at least one token")
    block_bytes = config.kv_bytes_per_token(ELEMENT_BYTES[dtype]) * size
    if options.num_blocks is not None:
        _check_blocks_fit(options.num_blocks, block_bytes, config, device, free_bytes)
        return options.num_blocks
    room = _room_bytes(options.kv_memory_bytes, device, free_bytes)
    num_blocks = room // block_bytes
    if options.kv_memory_bytes is None:
        most_tokens = scheduling.max_num_seqs * scheduling.max_model_len
        num_blocks = min(num_blocks, -(-most_tokens // size) + 1)
    if num_blocks < 2:
        raise EngineConfigError(
            f"a KV pool of {gib(max(room, 0))} holds no two blocks of {block_bytes:,} bytes "
            f"({size} tokens of {config.name}); free memory, or ask for more kv_memory"
        )
    return num_blocks


def _check_blocks_fit(
    num_blocks: int, block_bytes: int, config: ModelConfig, device: str, free_bytes: int
) -> None:
    if num_blocks * block_bytes > free_bytes:
        raise EngineConfigError(
            f"num_blocks = {num_blocks:,} of {config.name} need {gib(num_blocks * block_bytes)}, "
            f"but {device} has {gib(free_bytes)} free; {free_bytes // block_bytes:,} would fit"
        )


def _room_bytes(asked_bytes: int | None, device: str, free_bytes: int) -> int:
    if asked_bytes is None:
        if device == "cuda":
            return int(free_bytes * CUDA_SHARE) - CUDA_SCRATCH_BYTES
        return min(CPU_KV_BYTES, int(free_bytes * CPU_SHARE))
    if asked_bytes > free_bytes:
        raise EngineConfigError(
            f"kv_memory {gib(asked_bytes)} is more than the {gib(free_bytes)} that are free "
            f"on {device} beside the weights; ask for less"
        )
    return asked_bytes


def gib(number: int) -> str:
    """Bytes as GiB, for messages."""
    return f"{number / (1 << 30):.2f} GiB"
