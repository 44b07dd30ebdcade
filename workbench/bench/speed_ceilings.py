"""What a device can do at most: published, or measured in a second with torch's own kernels."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch

from engines.compute.gpu_clock import timed_event
from engines.dtypes import name_of
from profiles.hardware import peak_for
from profiles.roofline import Ceilings
from workbench.errors import WorkbenchError

CEILINGS = ("measured", "spec")

_REPEATS = 7
_CUDA_READ_BYTES = 4 << 30
_CPU_READ_BYTES = 256 << 20
_CUDA_SIDE = 8192
_CPU_SIDE = 1024


def find_ceilings(kind: str, device: torch.device, dtype: torch.dtype, fp8: bool) -> Ceilings:
    """The ceilings of `device` for activations in `dtype`, and FP8 matrices beside or not.

    Args:
        kind: one of `CEILINGS`.

    Raises:
        WorkbenchError: there are no published ones of this device.
    """
    if kind == "measured":
        return measure_ceilings(device, dtype, fp8)
    if kind != "spec":
        raise WorkbenchError(f"--ceilings {kind!r}: there is {', '.join(CEILINGS)}")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"
    peak = peak_for(name)
    quantised = None if peak is None else (peak.fp8_flops if fp8 else peak.bf16_flops)
    if peak is None or quantised is None or dtype != torch.bfloat16:
        raise WorkbenchError(
            f"--ceilings spec: no published figures of {name} for this dtype are "
            "known here; take --ceilings measured"
        )
    return Ceilings(peak.memory_bytes_per_s, peak.bf16_flops, quantised, peak.source)


def measure_ceilings(device: torch.device, dtype: torch.dtype, fp8: bool) -> Ceilings:
    """Bytes/s of a sum over memory, FLOP/s of square matrix products; the median of seven."""
    cuda = device.type == "cuda"
    side = _CUDA_SIDE if cuda else _CPU_SIDE
    read_bytes = _CUDA_READ_BYTES if cuda else _CPU_READ_BYTES
    flop = 2 * side**3
    bytes_per_s = _bytes_per_s(read_bytes, device)
    flop_per_s = flop / _product_s(side, dtype, device)
    quantised_flop_per_s = flop / _fp8_product_s(side, device) if fp8 else flop_per_s
    if cuda:
        torch.cuda.empty_cache()
    name = name_of(dtype) + (" and float8_e4m3fn" if fp8 else "")
    source = f"measured here: a sum of {read_bytes >> 20} MiB, products of {side}³ in {name}"
    return Ceilings(bytes_per_s, flop_per_s, quantised_flop_per_s, source)


def _bytes_per_s(size_bytes: int, device: torch.device) -> float:
    values = torch.ones(size_bytes // 4, device=device)
    return size_bytes / _seconds(values.sum, device)


def _product_s(side: int, dtype: torch.dtype, device: torch.device) -> float:
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return _seconds(lambda: left @ right, device)


def _fp8_product_s(side: int, device: torch.device) -> float:
    one = torch.ones((), device=device)
    left, right = (torch.randn(side, side, device=device).to(torch.float8_e4m3fn) for _ in range(2))

    def product() -> torch.Tensor:
        result: torch.Tensor = torch._scaled_mm(
            left, right.T, scale_a=one, scale_b=one, out_dtype=torch.bfloat16, use_fast_accum=True
        )
        return result

    return _seconds(product, device)


def _seconds(once: Callable[[], torch.Tensor], device: torch.device) -> float:
    """Median seconds of one call, after two to warm up."""
    once(), once()
    return median(_timed(once, device) for _ in range(_REPEATS))


def _timed(once: Callable[[], torch.Tensor], device: torch.device) -> float:
    if device.type != "cuda":
        started = time.perf_counter()
        once()
        return time.perf_counter() - started
    start, end = timed_event(), timed_event()
    start.record()
    once()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1e3
