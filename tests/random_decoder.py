"""A small shape, and a decoder with the same random weights on every device."""

from __future__ import annotations

import torch

from engines.models.config import ModelConfig, RopeScaling
from engines.models.decoder import Decoder

LLAMA = ModelConfig(
    name="random llama", vocab_size=512, hidden_size=192, intermediate_size=384, num_layers=3,
    num_heads=6, num_kv_heads=2, head_dim=32, max_position=512, tie_embeddings=True,
    rope_scaling=RopeScaling("llama3", 8.0, 1.0, 4.0, 32),
)  # fmt: skip


def random_decoder(
    config: ModelConfig, max_positions: int, device: torch.device, dtype: torch.dtype
) -> Decoder:
    """Its weights are rounded to bfloat16, so that every dtype holds them."""
    model = Decoder(config, max_positions, device, dtype)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = torch.empty(parameter.shape)
            if name.endswith("norm"):
                values.uniform_(0.5, 1.5, generator=generator)
            else:
                values.normal_(0.0, 0.08, generator=generator)
            parameter.copy_(values.bfloat16())
    return model
