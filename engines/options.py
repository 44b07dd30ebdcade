"""What can be asked of an engine, before any of it is built. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from engines.errors import EngineConfigError

ENGINES = ("monolithic",)
"""The arrangements that `--engine` takes; `engines.registry` builds them."""

REMOTE = "remote"
"""What a server that is driven over HTTP is called among the engines."""

DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("auto", "float32", "bfloat16")
ATTENTION = ("reference",)

DEFAULT_MAX_MODEL_LEN = 32_768


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """An engine and its model, as asked for; None means "choose for this device and model".

    Attributes:
        engine: one of `ENGINES`.
        model: embedded name, folder, GGUF file or `random:SHAPE` (`engines.models.source`).
        device: "cpu", "cuda" or "auto" (CUDA where there is one).
        dtype: "float32", "bfloat16" or "auto" (float32 on a CPU, bfloat16 on CUDA).
        threads: torch threads on a CPU; None takes all cores that this process may use.
        block_size: tokens of a KV block.
        num_blocks: blocks of the KV pool, the null block included.
        kv_memory_bytes: size of the KV pool where `num_blocks` isn't given.
        max_num_seqs: sequences that run at once (CPU 16, CUDA 256).
        max_num_batched_tokens: token budget of a step (CPU 256, CUDA 8192).
        max_model_len: prompt and output tokens of one request (the model's, at most 32,768).
        chunked_prefill, prefix_caching, policy, batching: see `SchedulerConfig`, `BlockPool`.
        weights_seed: of random weights.
    """

    engine: str = "monolithic"
    model: str = "smollm2-135m-instruct"
    device: str = "auto"
    dtype: str = "auto"
    threads: int | None = None
    attention: str = "reference"
    block_size: int = 16
    num_blocks: int | None = None
    kv_memory_bytes: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    max_model_len: int | None = None
    chunked_prefill: bool = True
    prefix_caching: bool = True
    policy: str = "fcfs"
    batching: str = "continuous"
    weights_seed: int = 0

    def __post_init__(self) -> None:
        for name, value, known in (
            ("engine", self.engine, ENGINES),
            ("device", self.device, DEVICES),
            ("dtype", self.dtype, DTYPES),
            ("attention", self.attention, ATTENTION),
        ):
            if value not in known:
                raise EngineConfigError(f"{name} {value!r}: there is {', '.join(known)}")
