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
ATTENTION = ("auto", "reference", "triton", "flashinfer")
KERNELS = ("auto", "reference", "fused")
QUANTIZATIONS = ("none", "fp8", "fp8-tensorwise")
KV_DTYPES = ("auto", "fp8")

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
        attention: the backend, one of `ATTENTION`.
        kernels: of the layers beside attention, one of `KERNELS`.
        cuda_graphs: replay captured steps; None where it is possible.
        overlap: plan a step while the one before it runs; None where it is possible.
        quantization: of the matrices of `engines.models.quantised`, one of `QUANTIZATIONS`: "fp8"
            has a scale for each output row, "fp8-tensorwise" one for each matrix.
        kv_dtype: of the KV cache, one of `KV_DTYPES`; "auto" is the model's dtype.
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
    attention: str = "auto"
    kernels: str = "auto"
    cuda_graphs: bool | None = None
    overlap: bool | None = None
    quantization: str = "none"
    kv_dtype: str = "auto"
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
            ("kernels", self.kernels, KERNELS),
            ("quantization", self.quantization, QUANTIZATIONS),
            ("kv_dtype", self.kv_dtype, KV_DTYPES),
        ):
            if value not in known:
                raise EngineConfigError(f"{name} {value!r}: there is {', '.join(known)}")
        if self.device == "cpu":
            refuse_on_cpu(self)
        _refuse_contradictions(self)


def refuse_on_cpu(options: EngineOptions) -> None:
    """Refuses what only a GPU can do.

    Raises:
        EngineConfigError: the first such option, and what to do.
    """
    asked = (
        (options.attention in ("triton", "flashinfer"), f"--attention {options.attention}"),
        (options.kernels == "fused", "--kernels fused"),
        (bool(options.cuda_graphs), "--graphs"),
        (bool(options.overlap), "--overlap"),
        (options.quantization != "none", f"--quantization {options.quantization}"),
    )
    for is_asked, flag in asked:
        if is_asked:
            raise EngineConfigError(
                f"{flag} needs a CUDA device, and this engine is on a CPU; leave it out, or run "
                "where there is a GPU with --device cuda"
            )


def _refuse_contradictions(options: EngineOptions) -> None:
    """Refuses what no device can do."""
    if options.cuda_graphs:
        for name, value, needed in (
            ("attention", options.attention, "triton"),
            ("kernels", options.kernels, "fused"),
        ):
            if value not in ("auto", needed):
                raise EngineConfigError(
                    f"--graphs: a step is captured with --{name} {needed} alone, not with {value}; "
                    f"leave out --graphs or --{name}"
                )
    if options.overlap and options.attention == "reference":
        raise EngineConfigError(
            "--overlap: the reference attention plans each step on the host and waits for it; "
            "leave out --overlap, or take --attention triton"
        )
    if options.attention == "flashinfer" and options.kv_dtype == "fp8":
        raise EngineConfigError(
            "--kv-cache-dtype fp8: flashinfer takes no scale for each token; take --attention "
            "triton or reference with it"
        )
    if options.quantization != "none" and options.dtype == "float32":
        raise EngineConfigError(
            f"--quantization {options.quantization}: scaled matrix products come out in bfloat16; "
            "take --dtype bfloat16 with it"
        )
