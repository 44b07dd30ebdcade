"""From options to a model that scores texts: an engine's parts without its scheduler and graphs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from engines.capabilities import resolve
from engines.compute.perplexity import SequenceScorer
from engines.compute.worker import allocate_kv
from engines.memory import device_facts
from engines.models.source import resolve_model
from engines.options import EngineOptions
from engines.registry import (
    choose_device,
    choose_threads,
    described_parts,
    kv_dtype,
    load_decoder,
    make_attention,
    take_kernels,
)
from engines.sizing import scheduler_config


@dataclass(frozen=True, slots=True)
class BuiltScorer:
    """A scorer that is ready, and what it was made of, as an engine describes itself."""

    scorer: SequenceScorer
    settings: dict[str, object]


def build_scorer(
    options: EngineOptions, longest: int, progress: Callable[[str], None]
) -> BuiltScorer:
    """Loads the model with the parts that an engine with these options would have, and a KV cache
    for one sequence of `longest` tokens. Steps have the engine's token budget.

    Raises:
        ModelError: the model is unknown, broken or too large.
        EngineConfigError: an option is impossible here.
    """
    options = replace(options, max_num_seqs=1, max_model_len=longest)
    device = choose_device(options.device)
    choose_threads(options, device)
    source = resolve_model(options.model, progress)
    facts = device_facts(device)
    parts = resolve(options, source.config, facts)
    scheduling = scheduler_config(options, source.config, device.type)
    decoder = load_decoder(source, longest, device, parts, options, progress)
    take_kernels(parts, decoder)
    num_blocks = 1 + -(-longest // options.block_size)
    kv = allocate_kv(decoder, num_blocks, options.block_size, kv_dtype(parts))
    attention = make_attention(parts, decoder, options.block_size, scheduling, progress)
    budget = scheduling.max_num_batched_tokens
    settings = described_parts(source, facts, parts, options.block_size)
    settings["max_num_batched_tokens"] = budget
    return BuiltScorer(SequenceScorer(decoder, attention, kv, budget), settings)
