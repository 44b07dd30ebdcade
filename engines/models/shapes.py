"""Published model shapes by name, for random weights and speed work."""

from __future__ import annotations

import difflib
from typing import Any

from engines.errors import ModelError
from engines.models.config import ModelConfig, RopeScaling


def _llama(name: str, **shape: Any) -> ModelConfig:
    defaults: dict[str, Any] = {"head_dim": 128, "rms_norm_eps": 1e-5}
    return ModelConfig(name=name, **(defaults | shape))


_LLAMA3_ROPE = RopeScaling("llama3", 8.0, 1.0, 4.0, 8192)

SHAPES: dict[str, ModelConfig] = {
    shape.name: shape
    for shape in (
        _llama(
            "tiny",
            vocab_size=512,
            hidden_size=64,
            intermediate_size=128,
            num_layers=2,
            num_heads=4,
            num_kv_heads=2,
            head_dim=16,
            max_position=4096,
            tie_embeddings=True,
        ),
        _llama(
            "smollm2-135m",
            vocab_size=49_152,
            hidden_size=576,
            intermediate_size=1536,
            num_layers=30,
            num_heads=9,
            num_kv_heads=3,
            head_dim=64,
            max_position=8192,
            rope_theta=100_000.0,
            tie_embeddings=True,
        ),
        _llama(
            "smollm2-1.7b",
            vocab_size=49_152,
            hidden_size=2048,
            intermediate_size=8192,
            num_layers=24,
            num_heads=32,
            num_kv_heads=32,
            head_dim=64,
            max_position=8192,
            rope_theta=130_000.0,
            tie_embeddings=True,
        ),
        _llama(
            "qwen2.5-0.5b",
            vocab_size=151_936,
            hidden_size=896,
            intermediate_size=4864,
            num_layers=24,
            num_heads=14,
            num_kv_heads=2,
            head_dim=64,
            max_position=32_768,
            rope_theta=1_000_000.0,
            rms_norm_eps=1e-6,
            qkv_bias=True,
            tie_embeddings=True,
        ),
        _llama(
            "qwen2.5-7b",
            vocab_size=152_064,
            hidden_size=3584,
            intermediate_size=18_944,
            num_layers=28,
            num_heads=28,
            num_kv_heads=4,
            max_position=32_768,
            rope_theta=1_000_000.0,
            rms_norm_eps=1e-6,
            qkv_bias=True,
        ),
        _llama(
            "qwen3-0.6b",
            vocab_size=151_936,
            hidden_size=1024,
            intermediate_size=3072,
            num_layers=28,
            num_heads=16,
            num_kv_heads=8,
            max_position=40_960,
            rope_theta=1_000_000.0,
            rms_norm_eps=1e-6,
            qk_norm=True,
            tie_embeddings=True,
        ),
        _llama(
            "qwen3-8b",
            vocab_size=151_936,
            hidden_size=4096,
            intermediate_size=12_288,
            num_layers=36,
            num_heads=32,
            num_kv_heads=8,
            max_position=40_960,
            rope_theta=1_000_000.0,
            rms_norm_eps=1e-6,
            qk_norm=True,
        ),
        _llama(
            "llama-3.2-1b",
            vocab_size=128_256,
            hidden_size=2048,
            intermediate_size=8192,
            num_layers=16,
            num_heads=32,
            num_kv_heads=8,
            head_dim=64,
            max_position=131_072,
            rope_theta=500_000.0,
            rope_scaling=RopeScaling("llama3", 32.0, 1.0, 4.0, 8192),
            tie_embeddings=True,
        ),
        _llama(
            "llama-3.1-8b",
            vocab_size=128_256,
            hidden_size=4096,
            intermediate_size=14_336,
            num_layers=32,
            num_heads=32,
            num_kv_heads=8,
            max_position=131_072,
            rope_theta=500_000.0,
            rope_scaling=_LLAMA3_ROPE,
        ),
        _llama(
            "mistral-7b",
            vocab_size=32_768,
            hidden_size=4096,
            intermediate_size=14_336,
            num_layers=32,
            num_heads=32,
            num_kv_heads=8,
            max_position=32_768,
            rope_theta=1_000_000.0,
        ),
    )
}


def named_shape(name: str) -> ModelConfig:
    """The published shape called `name`, for random weights.

    Raises:
        ModelError: no such shape; the message lists all, nearest first.
    """
    if name in SHAPES:
        return SHAPES[name]
    near = difflib.get_close_matches(name, SHAPES, n=3, cutoff=0.4)
    names = near + [known for known in SHAPES if known not in near]
    raise ModelError(f"no model shape is called {name!r}; there are {', '.join(names)}")
