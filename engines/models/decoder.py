"""The decoder: tokens in, hidden states out, keys and values in a paged cache.

All sequences of a step lie in one row of tokens; only attention knows where one ends. Weights
have transformers' names, with q/k/v and gate/up joined into one matrix each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import embedding, linear, rms_norm, silu

from engines.attention.base import AttentionBackend
from engines.errors import ModelError
from engines.models.config import ModelConfig
from engines.models.rotary import RotaryTable, rotate


def _parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(*shape), requires_grad=False)


class DecoderLayer(nn.Module):
    """Attention and SwiGLU, each behind an RMSNorm and round a residual."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c = config
        self.config = c
        self.q_size, self.kv_size = c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim
        qkv_size = self.q_size + 2 * self.kv_size
        self.input_norm = _parameter(c.hidden_size)
        self.qkv = _parameter(qkv_size, c.hidden_size)
        self.qkv_bias = _parameter(qkv_size) if c.qkv_bias else None
        self.q_norm = _parameter(c.head_dim) if c.qk_norm else None
        self.k_norm = _parameter(c.head_dim) if c.qk_norm else None
        self.output = _parameter(c.hidden_size, self.q_size)
        self.output_bias = _parameter(c.hidden_size) if c.output_bias else None
        self.mlp_norm = _parameter(c.hidden_size)
        self.gate_up = _parameter(2 * c.intermediate_size, c.hidden_size)
        self.gate_up_bias = _parameter(2 * c.intermediate_size) if c.mlp_bias else None
        self.down = _parameter(c.hidden_size, c.intermediate_size)
        self.down_bias = _parameter(c.hidden_size) if c.mlp_bias else None

    def forward(
        self,
        hidden: torch.Tensor,
        rotary: tuple[torch.Tensor, torch.Tensor],
        attention: AttentionBackend,
        kv: torch.Tensor,
        step: Any,
    ) -> torch.Tensor:
        c = self.config
        size, eps = (c.hidden_size,), c.rms_norm_eps
        qkv = linear(rms_norm(hidden, size, self.input_norm, eps), self.qkv, self.qkv_bias)
        heads = qkv.view(-1, c.num_heads + 2 * c.num_kv_heads, c.head_dim)
        if self.q_norm is not None and self.k_norm is not None:
            q = rms_norm(heads[:, : c.num_heads], (c.head_dim,), self.q_norm, eps)
            k = rms_norm(heads[:, c.num_heads : -c.num_kv_heads], (c.head_dim,), self.k_norm, eps)
            q, k = rotate(q, *rotary), rotate(k, *rotary)
        else:
            turned = rotate(heads[:, : -c.num_kv_heads], *rotary)
            q, k = turned[:, : c.num_heads], turned[:, c.num_heads :]
        attended = attention.forward(q, k, heads[:, -c.num_kv_heads :], kv, step)
        hidden = hidden + linear(attended, self.output, self.output_bias)
        gate_up = linear(
            rms_norm(hidden, size, self.mlp_norm, eps), self.gate_up, self.gate_up_bias
        )
        gate, up = gate_up.chunk(2, dim=-1)
        return hidden + linear(silu(gate) * up, self.down, self.down_bias)


class Decoder(nn.Module):
    """A Llama-family decoder over paged keys and values.

    Args:
        config: its shape.
        max_positions: longest sequence that it will see; the rotary table's length.
        device, dtype: where and in what the weights live.
    """

    def __init__(
        self, config: ModelConfig, max_positions: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.config = config
        default = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with device:
                self.embed = _parameter(config.vocab_size, config.hidden_size)
                self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_layers))
                self.norm = _parameter(config.hidden_size)
                self.head = (
                    self.embed
                    if config.tie_embeddings
                    else _parameter(config.vocab_size, config.hidden_size)
                )
        finally:
            torch.set_default_dtype(default)
        self.rotary = RotaryTable(config, max_positions, device)

    def forward(
        self,
        token_ids: torch.Tensor,
        positions: torch.Tensor,
        attention: AttentionBackend,
        kv: torch.Tensor,
        step: Any,
    ) -> torch.Tensor:
        """One step of compute.

        Args:
            token_ids, positions: int64 `[tokens]`.
            kv: `[layers, 2, blocks, block_size, kv_heads, head_dim]`; written and read.
            step: what `attention.begin_step` made of the step's layout.

        Returns:
            Hidden states before the final norm, `[tokens, hidden]`.
        """
        hidden = embedding(token_ids, self.embed)
        rotary = self.rotary.at(positions, hidden.dtype)
        for layer, cache in zip(self.layers, kv.unbind(0), strict=True):
            hidden = layer(hidden, rotary, attention, cache, step)
        return hidden

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """`[rows, hidden]` → `[rows, vocab]`."""
        size = (self.config.hidden_size,)
        return linear(rms_norm(hidden, size, self.norm, self.config.rms_norm_eps), self.head)

    @torch.no_grad()
    def randomise(self, seed: int) -> None:
        """Random weights: matrices N(0, 0.02²), norms 1, biases 0; for speed work."""
        generator = torch.Generator(self.embed.device).manual_seed(seed)
        for name, parameter in self.named_parameters():
            if name.endswith("norm"):
                parameter.fill_(1.0)
            elif name.endswith("bias"):
                parameter.zero_()
            else:
                parameter.normal_(0.0, 0.02, generator=generator)

    @torch.no_grad()
    def load(self, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Fills the weights from tensors under transformers' names.

        Raises:
            ModelError: a tensor is missing, unknown, given twice or of another shape.
        """
        places = self._places()
        for name, tensor in tensors:
            if name == "lm_head.weight" and self.config.tie_embeddings:
                continue
            if name.endswith("rotary_emb.inv_freq"):
                continue
            place = places.pop(name, None)
            if place is None:
                raise ModelError(
                    f"{self.config.name}: tensor {name!r} is unknown to this architecture or "
                    "given twice; is the configuration the one of these weights?"
                )
            if place.shape != tensor.shape:
                raise ModelError(
                    f"{self.config.name}: tensor {name!r} has shape {list(tensor.shape)}, the "
                    f"configuration asks for {list(place.shape)}"
                )
            place.copy_(tensor)
        if places:
            some = ", ".join(sorted(places)[:3])
            raise ModelError(
                f"{self.config.name}: {len(places)} tensors are missing from the weights ({some}"
                f"{', …' if len(places) > 3 else ''})"
            )

    def _places(self) -> dict[str, torch.Tensor]:
        """Where each tensor of a checkpoint goes: views into the joined weights."""
        c = self.config
        places: dict[str, torch.Tensor] = {
            "model.embed_tokens.weight": self.embed,
            "model.norm.weight": self.norm,
        }
        if not c.tie_embeddings:
            places["lm_head.weight"] = self.head
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, DecoderLayer)
            prefix = f"model.layers.{index}."
            sizes = [layer.q_size, layer.kv_size, layer.kv_size]
            joined = {
                "weight": (layer.qkv, layer.gate_up),
                "bias": (layer.qkv_bias, layer.gate_up_bias),
            }
            for kind, (qkv, gate_up) in joined.items():
                if qkv is not None:
                    for part, view in zip("qkv", torch.split(qkv, sizes), strict=True):
                        places[f"{prefix}self_attn.{part}_proj.{kind}"] = view
                if gate_up is not None:
                    gate, up = gate_up.chunk(2)
                    places[f"{prefix}mlp.gate_proj.{kind}"] = gate
                    places[f"{prefix}mlp.up_proj.{kind}"] = up
            single = {
                "input_layernorm.weight": layer.input_norm,
                "post_attention_layernorm.weight": layer.mlp_norm,
                "self_attn.q_norm.weight": layer.q_norm,
                "self_attn.k_norm.weight": layer.k_norm,
                "self_attn.o_proj.weight": layer.output,
                "self_attn.o_proj.bias": layer.output_bias,
                "mlp.down_proj.weight": layer.down,
                "mlp.down_proj.bias": layer.down_bias,
            }
            places |= {prefix + name: t for name, t in single.items() if t is not None}
        return places
