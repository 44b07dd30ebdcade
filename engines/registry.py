"""From options to a running engine: the one place that knows every arrangement by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from engines.attention.base import AttentionBackend, AttentionShape
from engines.attention.reference import ReferenceAttention
from engines.base import Clock, Engine
from engines.capabilities import DeviceFacts, Resolved, resolve
from engines.compute.probe import Capacity, Lengths, measure_capacity
from engines.compute.worker import TorchWorker, Worker, allocate_kv
from engines.errors import EngineConfigError, EngineError, ModelError
from engines.kernels.fp8 import quantise_weight
from engines.kernels.reference import ReferenceKernels
from engines.kv_cache import FP8, KVCache
from engines.memory import check_weights_fit, choose_num_blocks, device_facts
from engines.models.config import ModelConfig
from engines.models.decoder import Decoder
from engines.models.quantised import described
from engines.models.source import ModelSource, resolve_model
from engines.monolithic import MonolithicEngine
from engines.options import EngineOptions, refuse_on_cpu
from engines.scheduling.blocks import BlockPool
from engines.scheduling.config import SchedulerConfig
from engines.scheduling.scheduler import Scheduler
from engines.sizing import scheduler_config
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


def choose_threads(options: EngineOptions, device: torch.device) -> None:
    """As many torch threads as are asked for, or usable, where the host is what computes."""
    if device.type == "cpu":
        torch.set_num_threads(options.threads or usable_cores(os.cpu_count() or 1))


def build(
    options: EngineOptions, clock: Clock, ranges: Ranges, progress: Progress = _silent
) -> BuiltEngine:
    """Loads the model and composes the engine.

    Raises:
        ModelError: the model is unknown, broken or too large.
        EngineConfigError: an option is impossible here.
        EngineError: there is no memory for the KV pool, or for the steps beside it.
    """
    device = choose_device(options.device)
    if device.type == "cpu":
        refuse_on_cpu(options)
    choose_threads(options, device)
    source = resolve_model(options.model, progress)
    config = source.config
    facts = device_facts(device)
    resolved = resolve(options, config, facts)
    scheduling = scheduler_config(options, config, device.type)
    decoder = load_decoder(source, scheduling.max_model_len, device, resolved, options, progress)
    num_blocks = choose_num_blocks(options, config, scheduling, resolved, device)
    try:
        kv = allocate_kv(decoder, num_blocks, options.block_size, kv_dtype(resolved))
    except (RuntimeError, MemoryError) as error:
        raise EngineError(f"no memory for a KV pool of {num_blocks:,} blocks: {error}") from error
    try:
        worker = make_worker(resolved, decoder, kv, scheduling, ranges, clock, progress)
    except torch.OutOfMemoryError as error:
        raise EngineError(
            f"no memory for a step beside a KV pool of {num_blocks:,} blocks: {error}; give the "
            f"pool less with --kv-memory, or lower --max-num-batched-tokens (now "
            f"{scheduling.max_num_batched_tokens:,})"
        ) from error
    pool = BlockPool(num_blocks, options.block_size, options.prefix_caching)
    description: dict[str, object] = {
        "name": options.engine,
        **described_parts(source, facts, resolved, options.block_size),
        "model_kind": source.kind,
        "parameters": config.num_parameters,
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
        "cuda_graphs": resolved.cuda_graphs,
        "overlap": resolved.overlap,
        "num_blocks": pool.num_usable,
        "kv_bytes": kv.num_bytes,
        "max_num_seqs": scheduling.max_num_seqs,
        "max_num_batched_tokens": scheduling.max_num_batched_tokens,
        "max_model_len": scheduling.max_model_len,
        "chunked_prefill": scheduling.chunked_prefill,
        "prefix_caching": options.prefix_caching,
        "policy": scheduling.policy,
        "batching": scheduling.batching,
    }
    scheduler = Scheduler(scheduling, pool, config.stop_token_ids)
    engine = MonolithicEngine(
        scheduler, worker, clock, ranges, description, overlap=resolved.overlap
    )
    tokenizer = source.tokenizer()

    def encode(text: str) -> Sequence[int]:
        assert tokenizer is not None
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def capacity(input_tokens: Lengths, output_tokens: Lengths, seconds: float) -> Capacity:
        return measure_capacity(worker, scheduling, pool, input_tokens, output_tokens, seconds)

    return BuiltEngine(engine, config, encode if tokenizer is not None else None, capacity)


def described_parts(
    source: ModelSource, facts: DeviceFacts, resolved: Resolved, block_size: int
) -> dict[str, object]:
    """What is said of a model, its device and the parts that compute it, by any who has them."""
    quantised = resolved.quantization != "none"
    return {
        "model": source.name,
        "model_checksum": source.checksum,
        "device": facts.kind,
        "device_name": facts.name,
        "dtype": resolved.dtype,
        "kv_dtype": resolved.kv_dtype,
        "quantization": resolved.quantization,
        "quantised": described(source.config.num_layers) if quantised else None,
        "attention": resolved.attention,
        "kernels": resolved.kernels,
        "block_size": block_size,
    }


def kv_dtype(resolved: Resolved) -> torch.dtype:
    """The torch dtype of the KV cache."""
    dtype: torch.dtype = FP8 if resolved.kv_dtype == "fp8" else getattr(torch, resolved.kv_dtype)
    return dtype


def make_attention(
    resolved: Resolved,
    decoder: Decoder,
    block_size: int,
    scheduling: SchedulerConfig,
    progress: Progress,
) -> AttentionBackend:
    """The attention backend that was chosen, for this model."""
    c, device = decoder.config, decoder.embed.device
    shape = AttentionShape(c.num_heads, c.num_kv_heads, c.head_dim, c.sliding_window)
    dtype = decoder.embed.dtype
    if resolved.attention == "triton":
        from engines.attention.paged import TritonAttention
        from engines.compute.cuda_worker import padded

        seqs = _seqs_of_a_step(scheduling)
        tokens = padded(max(seqs, scheduling.max_num_batched_tokens))
        return TritonAttention(
            shape,
            block_size,
            device,
            dtype,
            seqs,
            tokens,
            kv_dtype=kv_dtype(resolved),
            pdl=_starts_early(c, device),
        )
    if resolved.attention == "flashinfer":
        from engines.attention.flashinfer import open_flashinfer

        return open_flashinfer(shape, block_size, device, dtype, kv_dtype(resolved), progress)
    return ReferenceAttention(shape, block_size, device, dtype)


def _seqs_of_a_step(scheduling: SchedulerConfig) -> int:
    """Two at least: the step that tells the capacity decodes one sequence beside one's prompt."""
    return max(2, scheduling.max_num_seqs)


def _starts_early(config: ModelConfig, device: torch.device) -> bool:
    """Whether attention may start before the kernel ahead of it ends.

    Beside the large matrices of Llama-3.1-8B that costs more than it brings: a decode step of one
    sequence took 4.30 ms with it on an H200 and 3.86 ms without, but 0.39 and 0.44 ms of
    SmolLM2-135M, 0.70 and 0.72 ms of Qwen3-0.6B.
    """
    from engines.kernels.triton.dependent_launch import can_start_early
    from engines.kernels.triton.product_config import suits_products

    small = suits_products(config.hidden_size, config.num_heads * config.head_dim)
    return small and can_start_early(device)


def take_kernels(resolved: Resolved, decoder: Decoder) -> None:
    """Gives the decoder the kernels that were chosen."""
    if resolved.kernels == "fused":
        from engines.kernels.fused import FusedKernels

        decoder.kernels = FusedKernels(decoder.embed.device)
    else:
        decoder.kernels = ReferenceKernels()


def make_worker(
    resolved: Resolved,
    decoder: Decoder,
    kv: KVCache,
    scheduling: SchedulerConfig,
    ranges: Ranges,
    clock: Clock,
    progress: Progress = _silent,
) -> Worker:
    """A worker of the parts that were chosen, compiled and captured."""
    take_kernels(resolved, decoder)
    attention = make_attention(resolved, decoder, kv.block_size, scheduling, progress)
    if resolved.attention == "reference":
        return TorchWorker(decoder, kv, attention, ranges)
    from engines.compute.cuda_worker import CudaWorker, Limits

    limits = Limits(
        _seqs_of_a_step(scheduling),
        scheduling.max_num_batched_tokens,
        scheduling.max_model_len,
    )
    worker = CudaWorker(decoder, kv, attention, limits, ranges, clock, resolved.cuda_graphs)
    worker.prepare(progress)
    return worker


def load_decoder(
    source: ModelSource,
    max_positions: int,
    device: torch.device,
    resolved: Resolved,
    options: EngineOptions,
    progress: Progress,
) -> Decoder:
    """The model's weights on `device`, quantised where that was chosen.

    Raises:
        ModelError: they are broken or too large.
    """
    dtype: torch.dtype = getattr(torch, resolved.dtype)
    check_weights_fit(source.config, dtype, device, resolved.quantization)
    progress(f"loading {source.name}")
    quantised = resolved.quantization != "none"
    random = source.kind == "random"
    # What is quantised never lies on the device as a whole: it comes matrix by matrix, from the
    # host's memory or from nowhere.
    matrices = torch.device("meta" if random else "cpu") if quantised else device
    try:
        decoder = Decoder(source.config, max_positions, device, dtype, matrices)
        if random:
            decoder.randomise(options.weights_seed)
        else:
            decoder.load(source.tensors())
        if quantised:
            progress(f"quantising {source.name} to {resolved.quantization}")
            per_row = resolved.quantization == "fp8"
            decoder.quantise(partial(quantise_weight, per_row=per_row), options.weights_seed)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise ModelError(f"{source.name}: out of memory while loading: {error}") from error
    return decoder
