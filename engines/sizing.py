"""What an engine takes of a machine's memory, and the limits that it chooses: plain arithmetic,
without torch, so that it can be told before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from engines.errors import EngineConfigError, ModelError
from engines.models.config import ModelConfig
from engines.models.quantised import quantised_shapes
from engines.options import DEFAULT_MAX_MODEL_LEN, EngineOptions
from engines.scheduling.config import SchedulerConfig

DEFAULT_MAX_NUM_SEQS = {"cpu": 16, "cuda": 256}
"""By kind of device."""

ELEMENT_BYTES = {"float32": 4, "bfloat16": 2, "fp8": 1}
"""Bytes of a weight, or of an element of the KV cache, by dtype."""

SCALE_BYTES = 4
"""Of a float32 scale beside FP8 values."""

CPU_KV_BYTES = 4 << 30
"""The largest KV pool that is taken on a CPU without being asked to."""

CPU_SHARE = 0.5
"""The part of the free host memory that a KV pool may take."""

CUDA_SHARE = 0.9
"""The part of the free device memory that a KV pool and its scratch may take together."""

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
    seqs = options.max_num_seqs or DEFAULT_MAX_NUM_SEQS[device]
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


def check_weights_fit(
    config: ModelConfig,
    dtype: str,
    device: str,
    free_bytes: int,
    quantization: str = "none",
    can_quantise: bool = False,
) -> None:
    """Refuses a model whose weights are larger than the memory that is free.

    Args:
        can_quantise: the device computes in FP8, which is named where it would be small enough.

    Raises:
        ModelError: the message gives both sizes and what would fit.
    """
    needed, room = weights_bytes(config, dtype, quantization), int(free_bytes * WEIGHTS_SHARE)
    if needed <= room:
        return
    ways = [f"a model of up to {room / needed * config.num_parameters / 1e9:.2g} B parameters"]
    if dtype == "float32" and (halved := weights_bytes(config, "bfloat16")) <= room:
        ways.append(f"--dtype bfloat16 ({gib(halved)})")
    if can_quantise and quantization == "none":
        quantised = weights_bytes(config, "bfloat16", "fp8")
        if quantised <= room:
            ways.append(f"--quantization fp8 ({gib(quantised)})")
    said = dtype if quantization == "none" else quantization
    raise ModelError(
        f"{config.name} in {said} needs {gib(needed)} for its weights, but {device} has "
        f"{gib(free_bytes)} free, of which {gib(room)} may go to weights; would fit: "
        f"{', '.join(ways)}; or take a device with more memory"
    )


def weights_bytes(config: ModelConfig, dtype: str, quantization: str = "none") -> int:
    """Bytes of the model's weights; quantised are the matrices of `engines.models.quantised`."""
    element_bytes = ELEMENT_BYTES[dtype]
    if quantization == "none":
        return config.num_parameters * element_bytes
    shapes = quantised_shapes(config)
    elements = sum(rows * columns for rows, columns in shapes)
    scales = sum(rows if quantization == "fp8" else 1 for rows, _ in shapes)
    rest = (config.num_parameters - elements) * element_bytes
    return elements * ELEMENT_BYTES["fp8"] + scales * SCALE_BYTES + rest


def kv_bytes_per_token(config: ModelConfig, kv_dtype: str) -> int:
    """Bytes of one token's keys and values over all layers; of "fp8" with a scale for each KV
    head, layer, and K and V."""
    values = config.kv_bytes_per_token(ELEMENT_BYTES[kv_dtype])
    heads = 2 * config.num_layers * config.num_kv_heads
    return values + (heads * SCALE_BYTES if kv_dtype == "fp8" else 0)


def choose_num_blocks(
    options: EngineOptions,
    config: ModelConfig,
    scheduling: SchedulerConfig,
    kv_dtype: str,
    device: str,
    free_bytes: int,
    scratch_bytes: int = 0,
) -> int:
    """Blocks of the KV pool, the null block included, with `free_bytes` beside the weights.

    Without a wish, as many as the sequences that run at once could ever use, within a share of the
    memory that is free.

    Args:
        kv_dtype: "float32", "bfloat16" or "fp8".
        scratch_bytes: what a step takes beside the pool (`engines.scratch`).

    Raises:
        EngineConfigError: the wish, or even one block, doesn't fit.
    """
    size = options.block_size
    if size < 1:
        raise EngineConfigError(f"block_size = {size}: a block holds at least one token")
    block_bytes = kv_bytes_per_token(config, kv_dtype) * size
    room = _Room(device, free_bytes, scratch_bytes)
    if options.num_blocks is not None:
        _check_blocks_fit(options.num_blocks, block_bytes, config, room)
        return options.num_blocks
    pool_bytes = _pool_bytes(options.kv_memory_bytes, room)
    num_blocks = pool_bytes // block_bytes
    if options.kv_memory_bytes is None:
        most_tokens = scheduling.max_num_seqs * scheduling.max_model_len
        num_blocks = min(num_blocks, -(-most_tokens // size) + 1)
    if num_blocks < 2:
        raise EngineConfigError(
            f"a KV pool of {gib(max(pool_bytes, 0))} holds no two blocks of {block_bytes:,} bytes "
            f"({size} tokens of {config.name}){room.said}; {_ways(options, scheduling, room)}"
        )
    return num_blocks


@dataclass(frozen=True, slots=True)
class _Room:
    """The memory beside the weights."""

    device: str
    free_bytes: int
    scratch_bytes: int

    @property
    def most_bytes(self) -> int:
        """Of a pool."""
        return max(0, self.free_bytes - self.scratch_bytes)

    @property
    def said(self) -> str:
        told = f": {self.device} has {gib(self.free_bytes)} free beside the weights"
        if self.scratch_bytes:
            told += f", and a step takes up to {gib(self.scratch_bytes)}"
        return told


def _ways(options: EngineOptions, scheduling: SchedulerConfig, room: _Room) -> str:
    """What makes room for a pool."""
    if options.kv_memory_bytes is not None:
        return "ask for more --kv-memory"
    ways = ["free memory", "take a smaller model"]
    if room.scratch_bytes:
        ways.append(
            f"lower --max-num-batched-tokens (now {scheduling.max_num_batched_tokens:,}) or "
            f"--max-num-seqs (now {scheduling.max_num_seqs:,})"
        )
    return ", or ".join(ways)


def _check_blocks_fit(num_blocks: int, block_bytes: int, config: ModelConfig, room: _Room) -> None:
    if num_blocks * block_bytes > room.most_bytes:
        raise EngineConfigError(
            f"num_blocks = {num_blocks:,} of {config.name} need {gib(num_blocks * block_bytes)}"
            f"{room.said}; {room.most_bytes // block_bytes:,} would fit"
        )


def _pool_bytes(asked_bytes: int | None, room: _Room) -> int:
    if asked_bytes is None:
        if room.device == "cuda":
            return int(room.free_bytes * CUDA_SHARE) - room.scratch_bytes
        return min(CPU_KV_BYTES, int(room.free_bytes * CPU_SHARE))
    if asked_bytes > room.most_bytes:
        raise EngineConfigError(
            f"kv_memory {gib(asked_bytes)} is more than there is room for{room.said}; "
            f"{gib(room.most_bytes)} would fit"
        )
    return asked_bytes


def gib(number: int) -> str:
    """Bytes as GiB, for messages."""
    return f"{number / (1 << 30):.2f} GiB"
