"""From options to a running engine: the one place that knows every arrangement by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from engines.attention.base import AttentionShape
from engines.attention.reference import ReferenceAttention
from engines.base import Clock, Engine
from engines.compute.probe import Capacity, Lengths, measure_capacity
from engines.compute.worker import TorchWorker, allocate_kv
from engines.errors import EngineConfigError, EngineError, ModelError
from engines.memory import check_weights_fit, choose_num_blocks, name_of
from engines.models.config import ModelConfig
from engines.models.decoder import Decoder
from engines.models.source import ModelSource, resolve_model
from engines.monolithic import MonolithicEngine
from engines.options import EngineOptions
from engines.scheduling.blocks import BlockPool
from engines.scheduling.scheduler import Scheduler
from engines.sizing import dtype_for, scheduler_config
from profiles.limits import usable_cores
from profiles.ranges import Ranges

Progress = Callable[[str], None]


def _silent(_: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """An engine that is ready, and what it was made of.

    `encode` turns text into token ids without special tokens; None for a model that has no
    tokenizer. `capacity` measures what the worker can do for input and output lengths in a number
    of seconds (see `engines.compute.probe`); it may be called only while the engine is empty.
    """

    engine: Engine
    config: ModelConfig
    encode: Callable[[str], Sequence[int]] | None
    capacity: Callable[[Lengths, Lengths, float], Capacity]


def choose_device(name: str) -> torch.device:
    """The torch device for "auto", "cpu" or "cuda".

    Raises:
        EngineConfigError: CUDA was asked for and torch finds none.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        raise EngineConfigError(
            f"--device cuda: torch {torch.__version__} (built {build}) finds no CUDA device; "
            "check the driver and CUDA_VISIBLE_DEVICES, or run with --device cpu"
        )
    return torch.device("cuda", torch.cuda.current_device())


def build(
    options: EngineOptions, clock: Clock, ranges: Ranges, progress: Progress = _silent
) -> BuiltEngine:
    """Loads the model and composes the engine.

    Raises:
        ModelError: the model is unknown, broken or too large.
        EngineConfigError: an option is impossible here.
    """
    device = choose_device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(options.threads or usable_cores(os.cpu_count() or 1))
    dtype: torch.dtype = getattr(torch, dtype_for(options.dtype, device.type))
    source = resolve_model(options.model, progress)
    config = source.config
    scheduling = scheduler_config(options, config, device.type)
    decoder = _load(source, scheduling.max_model_len, device, dtype, options.weights_seed, progress)
    num_blocks = choose_num_blocks(options, config, scheduling, dtype, device)
    try:
        kv = allocate_kv(decoder, num_blocks, options.block_size)
    except (RuntimeError, MemoryError) as error:
        raise EngineError(f"no memory for a KV pool of {num_blocks:,} blocks: {error}") from error
    shape = AttentionShape(
        config.num_heads, config.num_kv_heads, config.head_dim, config.sliding_window
    )
    attention = ReferenceAttention(shape, options.block_size, device, dtype)
    worker = TorchWorker(decoder, kv, attention, ranges)
    pool = BlockPool(num_blocks, options.block_size, options.prefix_caching)
    description: dict[str, object] = {
        "name": options.engine,
        "model": source.name,
        "model_kind": source.kind,
        "model_checksum": source.checksum,
        "parameters": config.num_parameters,
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
        "dtype": name_of(dtype),
        "attention": attention.name,
        "block_size": options.block_size,
        "num_blocks": pool.num_usable,
        "kv_bytes": kv.numel() * kv.element_size(),
        "max_num_seqs": scheduling.max_num_seqs,
        "max_num_batched_tokens": scheduling.max_num_batched_tokens,
        "max_model_len": scheduling.max_model_len,
        "chunked_prefill": scheduling.chunked_prefill,
        "prefix_caching": options.prefix_caching,
        "policy": scheduling.policy,
        "batching": scheduling.batching,
    }
    scheduler = Scheduler(scheduling, pool, config.stop_token_ids)
    engine = MonolithicEngine(scheduler, worker, clock, ranges, description)
    tokenizer = source.tokenizer()

    def encode(text: str) -> Sequence[int]:
        assert tokenizer is not None
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def capacity(input_tokens: Lengths, output_tokens: Lengths, seconds: float) -> Capacity:
        return measure_capacity(worker, scheduling, pool, input_tokens, output_tokens, seconds)

    return BuiltEngine(engine, config, encode if tokenizer is not None else None, capacity)


def _load(
    source: ModelSource,
    max_positions: int,
    device: torch.device,
    dtype: torch.dtype,
    seed: int,
    progress: Progress,
) -> Decoder:
    check_weights_fit(source.config, dtype, device)
    progress(f"loading {source.name}")
    try:
        decoder = Decoder(source.config, max_positions, device, dtype)
        if source.kind == "random":
            decoder.randomise(seed)
        else:
            decoder.load(source.tensors())
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise ModelError(f"{source.name}: out of memory while loading: {error}") from error
    return decoder
