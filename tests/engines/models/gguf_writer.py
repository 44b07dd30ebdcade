"""Writes small GGUF files for the tests, valid ones and ones that are wrong in one place."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

U32, F32, BOOL, STRING, ARRAY, U64 = 4, 6, 7, 8, 9, 10
F32_TENSOR, Q8_0_TENSOR = 0, 8


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def typed(value: Any) -> bytes:
    """Type number and value of one metadata entry."""
    if isinstance(value, bool):
        return struct.pack("<I?", BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", U32, value)
    if isinstance(value, float):
        return struct.pack("<If", F32, value)
    if isinstance(value, str):
        return struct.pack("<I", STRING) + text(value)
    kind = typed(value[0])[:4] if value else struct.pack("<I", U32)
    return (
        struct.pack("<I", ARRAY)
        + kind
        + struct.pack("<Q", len(value))
        + b"".join(typed(item)[4:] for item in value)
    )


def index_entry(name: str | bytes, shape: Sequence[int], kind: int, offset: int) -> bytes:
    """`shape` is numpy's; the file has it reversed."""
    return (
        text(name)
        + struct.pack("<I", len(shape))
        + struct.pack(f"<{len(shape)}Q", *reversed(shape))
        + struct.pack("<IQ", kind, offset)
    )


def container(
    metadata: bytes, entries: int, index: bytes, tensors: int, data: bytes, version: int = 3
) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, entries) + metadata + index
    return head + b"\0" * (-len(head) % 32) + data


def gguf_bytes(
    metadata: Mapping[str, Any], tensors: Mapping[str, np.ndarray], version: int = 3
) -> bytes:
    """A valid file of 32-bit tensors."""
    index, data = b"", b""
    for name, values in tensors.items():
        data += b"\0" * (-len(data) % 32)
        index += index_entry(name, values.shape, F32_TENSOR, len(data))
        data += np.ascontiguousarray(values, dtype="<f4").tobytes()
    encoded = b"".join(text(key) + typed(value) for key, value in metadata.items())
    return container(encoded, len(metadata), index, len(tensors), data, version)


def byte_alphabet() -> list[str]:
    """The printable characters that stand for the 256 bytes in byte-level BPE, by byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


HIDDEN, HEADS, KV_HEADS, HEAD_DIM, FFN = 16, 4, 2, 4, 24


def tokenizer_fields(pre: str = "smollm") -> dict[str, Any]:
    tokens = ["<|end|>", "<|start|>", *byte_alphabet(), "he", "ll", "hell", "hello", "Ġw", "12"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3, 3] + [1] * (len(tokens) - 2),
        "tokenizer.ggml.merges": ["h e", "l l", "he ll", "hell o", "Ġ w", "1 2"],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.add_bos_token": False,
    }


def model_metadata(architecture: str = "llama") -> dict[str, Any]:
    return {
        "general.architecture": architecture,
        f"{architecture}.block_count": 1,
        f"{architecture}.context_length": 128,
        f"{architecture}.embedding_length": HIDDEN,
        f"{architecture}.feed_forward_length": FFN,
        f"{architecture}.attention.head_count": HEADS,
        f"{architecture}.attention.head_count_kv": KV_HEADS,
        f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5,
        f"{architecture}.rope.freq_base": 10_000.0,
        **tokenizer_fields(),
    }


def model_tensors() -> dict[str, np.ndarray]:
    """One layer under GGUF names; each value is random, so that no two rows are alike."""
    draw = np.random.default_rng(0).standard_normal
    vocab = len(tokenizer_fields()["tokenizer.ggml.tokens"])
    shapes = {
        "token_embd.weight": (vocab, HIDDEN),
        "output_norm.weight": (HIDDEN,),
        "blk.0.attn_norm.weight": (HIDDEN,),
        "blk.0.attn_q.weight": (HEADS * HEAD_DIM, HIDDEN),
        "blk.0.attn_k.weight": (KV_HEADS * HEAD_DIM, HIDDEN),
        "blk.0.attn_v.weight": (KV_HEADS * HEAD_DIM, HIDDEN),
        "blk.0.attn_output.weight": (HIDDEN, HEADS * HEAD_DIM),
        "blk.0.ffn_norm.weight": (HIDDEN,),
        "blk.0.ffn_gate.weight": (FFN, HIDDEN),
        "blk.0.ffn_up.weight": (FFN, HIDDEN),
        "blk.0.ffn_down.weight": (HIDDEN, FFN),
    }
    return {name: draw(shape).astype(np.float32) for name, shape in shapes.items()}


def write_model(path: Path, architecture: str = "llama", **changes: Any) -> Path:
    """A whole tiny model; `changes` are metadata with `__` for `.`, None leaves an entry out."""
    metadata = model_metadata(architecture)
    for key, value in changes.items():
        metadata[key.replace("__", ".")] = value
    kept = {key: value for key, value in metadata.items() if value is not None}
    path.write_bytes(gguf_bytes(kept, model_tensors()))
    return path
