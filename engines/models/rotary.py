"""Rotary position embedding (RoFormer, arXiv:2104.09864), halves rotated as in GPT-NeoX."""

from __future__ import annotations

import math

import torch

from engines.models.config import ModelConfig


def inverse_frequencies(config: ModelConfig) -> torch.Tensor:
    """float32 `[head_dim / 2]`, scaled as the model's configuration says.

    Llama-3 scaling keeps high frequencies, divides low ones by `factor` and interpolates between
    the two by wavelength.
    """
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    frequencies = 1.0 / config.rope_theta**exponents
    scaling = config.rope_scaling
    if scaling is None:
        return frequencies
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    wavelengths = 2 * math.pi / frequencies
    turns = scaling.original_max_position / wavelengths
    span = scaling.high_freq_factor - scaling.low_freq_factor
    keep = ((turns - scaling.low_freq_factor) / span).clamp(0.0, 1.0)
    return frequencies * (keep + (1 - keep) / scaling.factor)


class RotaryTable:
    """cos and sin for every position, float32 `[positions, 1, head_dim / 2]` each."""

    def __init__(self, config: ModelConfig, positions: int, device: torch.device) -> None:
        angles = torch.outer(
            torch.arange(positions, dtype=torch.float32), inverse_frequencies(config)
        )
        self.cos = angles.cos().unsqueeze(1).to(device)
        self.sin = angles.sin().unsqueeze(1).to(device)

    def at(self, positions: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows of a step's tokens, in the model's dtype."""
        return self.cos[positions].to(dtype), self.sin[positions].to(dtype)


def rotate(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """`[tokens, heads, head_dim]` turned by its tokens' positions."""
    first, second = heads.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
