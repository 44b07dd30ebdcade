"""Whether a spec's model fits this machine, and how many requests its KV pool would hold.

The engine's own arithmetic (`engines.sizing`) on the memory that is free now; nothing is loaded,
fetched or converted, and torch isn't imported.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from engines.capabilities import DeviceFacts, Resolved, computes_in_fp8, installed, resolve
from engines.errors import EngineConfigError, EngineError
from engines.models.config import ModelConfig
from engines.models.source import model_shape
from engines.options import EngineOptions
from engines.scratch import scratch_bytes
from engines.sizing import (
    check_weights_fit,
    choose_num_blocks,
    kv_bytes_per_token,
    scheduler_config,
    weights_bytes,
)
from profiles.errors import ProfileError
from profiles.free_memory import FreeMemory, gpu_memory, host_memory
from workbench.analysis.engine_parts import engine_parts
from workbench.analysis.quantities import size_text
from workbench.launch.preview import Lengths
from workbench.spec import RunSpec
from workloads.fitting import fit_to_context

PERCENTILES = (50, 99)


@dataclass(frozen=True, slots=True)
class ModelNeed:
    """A model on a device, and what of it is free now.

    Attributes:
        chosen: the parts that the engine would take for it.
        device: "cpu", or the GPU's name.
        ready: the model is on this machine; else its first use fetches or converts it.
    """

    name: str
    parameters: int
    chosen: Resolved
    weights_bytes: int
    kv_bytes_per_token: int
    device: str
    free_bytes: int
    ready: bool

    @property
    def dtype(self) -> str:
        """Of weights and activations."""
        return self.chosen.dtype

    @property
    def parts(self) -> str:
        """What the engine would be made of, in a line, as `engine_parts` has it."""
        return engine_parts(asdict(self.chosen) | {"device": self.device})


@dataclass(frozen=True, slots=True)
class PoolNeed:
    """The KV pool that the engine would take, and the limits that it would run with.

    Attributes:
        blocks: of `block_size` tokens, those that sequences can use.
        bytes: of the whole pool, the null block included.
    """

    blocks: int
    block_size: int
    bytes: int
    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int

    @property
    def tokens(self) -> int:
        """Tokens that it holds."""
        return self.blocks * self.block_size


@dataclass(frozen=True, slots=True)
class RequestNeed:
    """The KV of one request of a given length at its end, and how many such the pool holds.

    Attributes:
        percentile: of the sample's prompt + output lengths.
        at_once: as far as the pool goes; the engine runs at most `max_num_seqs`.
    """

    percentile: int
    tokens: int
    bytes: int
    at_once: int


@dataclass(frozen=True, slots=True)
class FitEstimate:
    """Whether a run can start on what is free; parts are None where they can't be told.

    Attributes:
        fits: None for a server, whose memory isn't known.
        why: one sentence.
    """

    fits: bool | None
    why: str
    model: ModelNeed | None = None
    pool: PoolNeed | None = None
    needs: tuple[RequestNeed, ...] = ()


def estimate_fit(spec: RunSpec, lengths: Lengths | None) -> FitEstimate:
    """What the spec's engine would take of the memory that is free now.

    Args:
        lengths: of the traffic, as `preview` has them; None where they aren't known.
    """
    if spec.target.url:
        return FitEstimate(None, "a server's memory isn't known")
    try:
        config, ready = model_shape(spec.model.name)
        kind, free = _device(spec.model.device)
        options = spec.engine_options()
        facts = DeviceFacts(kind, free.device, free.capability, installed())
        chosen = resolve(options, config, facts)
    except (EngineError, ProfileError) as error:
        return FitEstimate(False, str(error))
    model = ModelNeed(
        name=config.name,
        parameters=config.num_parameters,
        chosen=chosen,
        weights_bytes=weights_bytes(config, chosen.dtype, chosen.quantization),
        kv_bytes_per_token=kv_bytes_per_token(config, chosen.kv_dtype),
        device=free.device,
        free_bytes=free.free_bytes,
        ready=ready,
    )
    try:
        pool = _pool(options, config, model, facts)
    except EngineError as error:
        return FitEstimate(False, str(error), model)
    needs = () if lengths is None else _needs(lengths, model, pool)
    return FitEstimate(True, _sentence(model, pool, needs, lengths), model, pool, needs)


def device_kind(asked: str) -> str:
    """The kind of device that the engine would choose for "auto", "cpu" or "cuda": one of the
    latter two. Raises `EngineConfigError` where "cuda" was asked for and there is none."""
    return _device(asked)[0]


def _device(asked: str) -> tuple[str, FreeMemory]:
    """The kind of device that the engine would choose, "cpu" or "cuda", and its memory."""
    if asked == "cpu":
        return "cpu", host_memory()
    try:
        if _torch_is_cpu_only():
            raise ProfileError("torch is built without CUDA; install one that has it")
        return "cuda", gpu_memory()
    except ProfileError as error:
        if asked == "cuda":
            raise EngineConfigError(f"--device cuda: {error}; or take --device cpu") from None
        return "cpu", host_memory()


def _torch_is_cpu_only() -> bool:
    try:
        return version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False


def _pool(
    options: EngineOptions, config: ModelConfig, model: ModelNeed, facts: DeviceFacts
) -> PoolNeed:
    scheduling, chosen = scheduler_config(options, config, facts.kind), model.chosen
    check_weights_fit(
        config,
        model.dtype,
        facts.kind,
        model.free_bytes,
        chosen.quantization,
        can_quantise=computes_in_fp8(facts),
    )
    num_blocks = choose_num_blocks(
        options,
        config,
        scheduling,
        chosen.kv_dtype,
        facts.kind,
        model.free_bytes - model.weights_bytes,
        scratch_bytes(config, scheduling, chosen) if facts.kind == "cuda" else 0,
    )
    return PoolNeed(
        blocks=num_blocks - 1,
        block_size=options.block_size,
        bytes=num_blocks * options.block_size * model.kv_bytes_per_token,
        max_num_seqs=scheduling.max_num_seqs,
        max_num_batched_tokens=scheduling.max_num_batched_tokens,
        max_model_len=min(scheduling.max_model_len, (num_blocks - 1) * options.block_size),
    )


def _needs(lengths: Lengths, model: ModelNeed, pool: PoolNeed) -> tuple[RequestNeed, ...]:
    inputs, outputs, _ = fit_to_context(
        lengths.input_tokens, lengths.output_tokens, max(2, pool.max_model_len)
    )
    totals = np.percentile(inputs + outputs, PERCENTILES, method="higher").tolist()
    needs = []
    for percentile, tokens in zip(PERCENTILES, totals, strict=True):
        blocks = -(-int(tokens) // pool.block_size)
        taken = blocks * pool.block_size * model.kv_bytes_per_token
        needs.append(RequestNeed(percentile, int(tokens), taken, pool.blocks // blocks))
    return tuple(needs)


def _sentence(
    model: ModelNeed, pool: PoolNeed, needs: tuple[RequestNeed, ...], lengths: Lengths | None
) -> str:
    said = (
        f"needs {size_text(model.weights_bytes)} for weights; {size_text(model.free_bytes)} free: "
        f"fits; the KV pool holds {pool.tokens:,} tokens"
    )
    if needs and lengths is not None:
        at_once = needs[0].at_once
        requests = "request" if at_once == 1 else "requests"
        said += f", about {at_once:,} {lengths.what} {requests} of p50 length"
        if at_once < pool.max_num_seqs:
            said += f", fewer than the {pool.max_num_seqs:,} that may run at once"
    return said if model.ready else f"{said}; the model is not here yet: its first use fetches it"
