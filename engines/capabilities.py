"""What of an engine's fast parts a device can do, and what is chosen where nothing is asked.

Plain conditions on facts, without torch, so that they hold before anything is loaded too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec

from engines.errors import EngineConfigError
from engines.limits import (
    FLASHINFER_HEAD_DIMS,
    FP8_CAPABILITY,
    FP8_MULTIPLE,
    KERNEL_CAPABILITY,
    TRITON_HEAD_DIMS,
    TRITON_LEAST_BLOCK,
    fits_triton,
)
from engines.models.config import ModelConfig
from engines.models.quantised import LEAST_LAYERS
from engines.options import EngineOptions, refuse_on_cpu
from engines.sizing import dtype_for

PACKAGES = ("triton", "flashinfer")
"""What fast parts need beside torch."""


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What decides about a device.

    Attributes:
        kind: "cpu" or "cuda".
        name: as messages call it.
        capability: CUDA compute capability, such as (9, 0); None on a CPU.
        packages: those of `PACKAGES` that can be imported.
    """

    kind: str
    name: str
    capability: tuple[int, int] | None
    packages: frozenset[str]


@dataclass(frozen=True, slots=True)
class Resolved:
    """The parts that an engine is made of, none of them "auto".

    Attributes:
        dtype: of weights and activations, "float32" or "bfloat16".
        kv_dtype: "float32", "bfloat16" or "fp8".
        attention, kernels, cuda_graphs, overlap, quantization: as `EngineOptions` has them.
    """

    dtype: str
    kv_dtype: str
    attention: str
    kernels: str
    cuda_graphs: bool
    overlap: bool
    quantization: str


def installed(packages: Iterable[str] = PACKAGES) -> frozenset[str]:
    """Those of `packages` that are installed; none of them is imported."""
    return frozenset(name for name in packages if find_spec(name) is not None)


def resolve(options: EngineOptions, config: ModelConfig, facts: DeviceFacts) -> Resolved:
    """Every choice for a model on a device: as asked, or the fastest that is possible.

    Raises:
        EngineConfigError: what was asked for is impossible there; the message names what is.
    """
    if facts.kind == "cpu":
        refuse_on_cpu(options)
    dtype = dtype_for(options.dtype, facts.kind)
    attention = _attention(options, config, dtype, facts)
    kernels = _kernels(options, attention, facts)
    _check_quantization(options, config, facts)
    if options.kv_dtype == "fp8" and (attention == "triton" or kernels == "fused"):
        fast = "--attention triton" if attention == "triton" else "--kernels fused"
        _check_fp8(f"--kv-cache-dtype fp8 with {fast}", facts)
    return Resolved(
        dtype=dtype,
        kv_dtype="fp8" if options.kv_dtype == "fp8" else dtype,
        attention=attention,
        kernels=kernels,
        cuda_graphs=_cuda_graphs(options, attention, kernels),
        overlap=_overlap(options, attention),
        quantization=options.quantization,
    )


def computes_in_fp8(facts: DeviceFacts) -> bool:
    """Whether the device multiplies FP8 matrices."""
    return _below(FP8_CAPABILITY, facts) is None


def why_no_triton(
    options: EngineOptions, config: ModelConfig, dtype: str, facts: DeviceFacts
) -> str | None:
    """Why the Triton attention can't compute this model here; None where it can."""
    lack = _why_no_kernels(facts)
    if lack is not None:
        return lack
    if dtype != "bfloat16":
        return f"it computes in bfloat16, not in {dtype}"
    if config.head_dim not in TRITON_HEAD_DIMS:
        return (
            f"it has head sizes that are multiples of 16 from {TRITON_HEAD_DIMS[0]} to "
            f"{TRITON_HEAD_DIMS[-1]}, and {config.name} has {config.head_dim}"
        )
    size = options.block_size
    if not fits_triton(size):
        return f"it has block sizes that are powers of two from {TRITON_LEAST_BLOCK}, not {size}"
    return None


def _why_no_kernels(facts: DeviceFacts) -> str | None:
    if facts.kind == "cpu":
        return "it needs a CUDA device"
    if "triton" not in facts.packages:
        return "the package triton is not installed"
    return _below(KERNEL_CAPABILITY, facts)


def _why_no_flashinfer(config: ModelConfig, dtype: str, facts: DeviceFacts) -> str | None:
    if "flashinfer" not in facts.packages:
        return "the package flashinfer is not installed (pip install 'workbench[cuda]')"
    if dtype != "bfloat16":
        return f"it computes in bfloat16, not in {dtype}"
    if config.head_dim not in FLASHINFER_HEAD_DIMS:
        sizes = ", ".join(str(size) for size in FLASHINFER_HEAD_DIMS)
        return f"it has head sizes {sizes}, and {config.name} has {config.head_dim}"
    return _below(KERNEL_CAPABILITY, facts)


def _below(least: tuple[int, int], facts: DeviceFacts) -> str | None:
    if facts.capability is not None and facts.capability >= least:
        return None
    has = "unknown" if facts.capability is None else "{}.{}".format(*facts.capability)
    return f"it needs compute capability {least[0]}.{least[1]}, and that of {facts.name} is {has}"


def _attention(options: EngineOptions, config: ModelConfig, dtype: str, facts: DeviceFacts) -> str:
    if options.attention == "auto":
        needed = options.cuda_graphs or options.overlap
        lack = why_no_triton(options, config, dtype, facts)
        if lack is None:
            return "triton"
        if needed:
            flag = "--graphs" if options.cuda_graphs else "--overlap"
            raise EngineConfigError(
                f"{flag} needs the Triton attention, and {lack}; leave {flag} out"
            )
        return "reference"
    lack = None
    if options.attention == "triton":
        lack = why_no_triton(options, config, dtype, facts)
    elif options.attention == "flashinfer":
        lack = _why_no_flashinfer(config, dtype, facts)
    if lack is not None:
        can = "triton" if why_no_triton(options, config, dtype, facts) is None else "reference"
        raise EngineConfigError(
            f"--attention {options.attention}: {lack}; --attention {can} can do it"
        )
    return options.attention


def _kernels(options: EngineOptions, attention: str, facts: DeviceFacts) -> str:
    if options.kernels == "auto":
        fast = attention != "reference" and _why_no_kernels(facts) is None
        return "fused" if fast else "reference"
    if options.kernels == "fused" and (lack := _why_no_kernels(facts)) is not None:
        raise EngineConfigError(f"--kernels fused: {lack}; take --kernels reference")
    return options.kernels


def _cuda_graphs(options: EngineOptions, attention: str, kernels: str) -> bool:
    possible = attention == "triton" and kernels == "fused"
    return possible if options.cuda_graphs is None else options.cuda_graphs


def _overlap(options: EngineOptions, attention: str) -> bool:
    possible = attention != "reference"
    return possible if options.overlap is None else options.overlap


def _check_quantization(options: EngineOptions, config: ModelConfig, facts: DeviceFacts) -> None:
    if options.quantization == "none":
        return
    flag = f"--quantization {options.quantization}"
    _check_fp8(flag, facts)
    if config.num_layers < LEAST_LAYERS:
        raise EngineConfigError(
            f"{flag}: the first and the last layer stay in bfloat16, and {config.name} has "
            f"{config.num_layers}; run it without --quantization"
        )
    for name, size in (
        ("hidden_size", config.hidden_size),
        ("intermediate_size", config.intermediate_size),
    ):
        if size % FP8_MULTIPLE:
            raise EngineConfigError(
                f"{flag}: scaled matrix products take multiples of {FP8_MULTIPLE}, and "
                f"{config.name} has {name} = {size}; run it in bfloat16, without --quantization"
            )


def _check_fp8(what: str, facts: DeviceFacts) -> None:
    lack = _below(FP8_CAPABILITY, facts)
    if lack is not None:
        raise EngineConfigError(f"{what}: {lack}; run it without, in bfloat16")
