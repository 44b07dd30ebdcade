"""What an engine is made of, in a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def engine_parts(described: Mapping[str, Any]) -> str:
    """ "triton attention, fused kernels, CUDA graphs, overlap, fp8 weights, fp8 KV" of an engine's
    own description, or of what it would choose; what it doesn't tell is left out, and on a CPU
    what there has no alternative."""
    said = [] if described.get("device") == "cpu" else _gpu_parts(described)
    if described.get("quantization") not in (None, "none"):
        said.append(f"{described['quantization']} weights")
    if described.get("kv_dtype") == "fp8":
        said.append("fp8 KV")
    return ", ".join(said)


def _gpu_parts(described: Mapping[str, Any]) -> list[str]:
    said = [
        f"{described[key]} {what}"
        for key, what in (("attention", "attention"), ("kernels", "kernels"))
        if described.get(key)
    ]
    for key, what in (("cuda_graphs", "CUDA graphs"), ("overlap", "overlap")):
        if described.get(key) is not None:
            said.append(what if described[key] else f"no {what}")
    return said
