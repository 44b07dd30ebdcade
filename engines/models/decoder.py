"""The decoder: tokens in, hidden states out, keys and values in a paged cache.

All sequences of a step lie in one row of tokens; only attention knows where one ends. Weights
have transformers' names, with q/k/v and gate/up joined into one matrix each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import embedding

from engines.attention.base import AttentionBackend
from engines.errors import ModelError
from engines.kernels.base import Fp8Weight, Heads, LayerKernels, Linear, parameter
from engines.kernels.reference import ReferenceKernels
from engines.kv_cache import KVCache, LayerKV
from engines.models.config import ModelConfig
from engines.models.quantised import QUANTISED, quantised_layers
from engines.models.rotary import RotaryTable

SPREAD = 0.02
"""Standard deviation of random matrices."""


class DecoderLayer(nn.Module):
    """Attention and SwiGLU, each behind an RMSNorm and round a residual."""

    def __init__(self, config: ModelConfig, matrices: torch.device) -> None:
        super().__init__()
        c = config
        self.eps = c.rms_norm_eps
        self.q_size, self.kv_size = c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim
        self.input_norm = parameter(c.hidden_size)
        self.qkv = Linear(self.q_size + 2 * self.kv_size, c.hidden_size, c.qkv_bias, matrices)
        self.q_norm = parameter(c.head_dim) if c.qk_norm else None
        self.k_norm = parameter(c.head_dim) if c.qk_norm else None
        self.output = Linear(c.hidden_size, self.q_size, c.output_bias, matrices)
        self.mlp_norm = parameter(c.hidden_size)
        self.gate_up = Linear(2 * c.intermediate_size, c.hidden_size, c.mlp_bias, matrices)
        self.down = Linear(c.hidden_size, c.intermediate_size, c.mlp_bias, matrices)
        self.heads = (c.num_heads, c.num_kv_heads, c.head_dim)

    def matrices(self) -> dict[str, Linear]:
        """Its four matrices by name, in the order in which a step reads them."""
        return {
            "qkv": self.qkv, "output": self.output, "gate_up": self.gate_up, "down": self.down
        }  # fmt: skip

    def forward(
        self,
        hidden: torch.Tensor,
        delta: Any,
        kernels: LayerKernels,
        rotation: Any,
        slots: torch.Tensor,
        attention: AttentionBackend,
        kv: LayerKV,
        step: Any,
        rows: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The residual stream and what is still to be added to it, `[tokens, hidden]` each; behind
        the attention only of `rows`, where these are given."""
        qkv, hidden = kernels.norm_linear(hidden, delta, self.input_norm, self.eps, self.qkv)
        heads = Heads(*self.heads, self.q_norm, self.k_norm, self.eps)
        query = kernels.rotate_and_store(qkv, heads, rotation, slots, kv)
        attended = attention.attend(query, kv, step)
        if rows is not None:
            attended, hidden = attended[rows], hidden[rows]
        delta = kernels.linear(attended, self.output)
        delta, hidden = kernels.mlp(hidden, delta, self.mlp_norm, self.eps, self.gate_up, self.down)
        return hidden, delta


class Decoder(nn.Module):
    """A Llama-family decoder over paged keys and values.

    Args:
        config: its shape.
        max_positions: longest sequence that it will see; the rotary table's length.
        device, dtype: where and in what the weights live.
        matrices: where the layers' matrices are until `quantise` brings them to `device`; on
            "meta" they have no values before it either. None: on `device`.

    Attributes:
        kernels: what computes the parts of a layer; plain torch unless set.
    """

    def __init__(
        self,
        config: ModelConfig,
        max_positions: int,
        device: torch.device,
        dtype: torch.dtype,
        matrices: torch.device | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.kernels: LayerKernels = ReferenceKernels()
        default = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with device:
                self.embed = parameter(config.vocab_size, config.hidden_size)
                self.layers = nn.ModuleList(
                    DecoderLayer(config, matrices or device) for _ in range(config.num_layers)
                )
                self.norm = parameter(config.hidden_size)
                self.head = Linear(config.vocab_size, config.hidden_size, False, device)
                if config.tie_embeddings:
                    self.head.weight = self.embed
        finally:
            torch.set_default_dtype(default)
        self.rotary = RotaryTable(config, max_positions, device)

    def forward(
        self,
        token_ids: torch.Tensor,
        positions: torch.Tensor,
        slots: torch.Tensor,
        attention: AttentionBackend,
        kv: KVCache,
        step: Any,
        rows: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of compute; keys and values are written to `kv` and read from it.

        Args:
            token_ids, positions: `[tokens]`, any integer dtype.
            slots: int64 `[tokens]`, block × block size + offset of each token.
            step: what `attention.begin_step` made of the step's layout.
            rows: int `[rows]`, the tokens whose result is wanted. What lies behind the last
                layer's attention is then computed for them alone.

        Returns:
            The residual stream before the last layer's MLP is added, and what that adds;
            `[tokens, hidden]` each, or `[rows, hidden]`. `logits` takes rows of both.
        """
        hidden, delta = embedding(token_ids, self.embed), None
        rotation = self.kernels.rotation(self.rotary, positions, hidden.dtype)
        last = len(self.layers) - 1
        for index, (layer, cache) in enumerate(zip(self.layers, kv.layers(), strict=True)):
            wanted = rows if index == last else None
            hidden, delta = layer(
                hidden, delta, self.kernels, rotation, slots, attention, cache, step, wanted
            )
        assert delta is not None, "a decoder without layers"
        return hidden, self.kernels.whole(delta, hidden.dtype)

    def logits(self, hidden: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
        """Rows of what `forward` returned, `[rows, hidden]` each → `[rows, vocab]`."""
        eps = self.config.rms_norm_eps
        logits: torch.Tensor
        logits, _ = self.kernels.norm_linear(hidden, delta, self.norm, eps, self.head)
        return logits

    @torch.no_grad()
    def randomise(self, seed: int) -> None:
        """Random weights: matrices N(0, 0.02²), norms 1, biases 0; for speed work."""
        generator = torch.Generator(self.embed.device).manual_seed(seed)
        for name, weights in self.named_parameters():
            if weights.is_meta:
                continue
            if name.endswith("norm"):
                weights.fill_(1.0)
            elif name.endswith("bias"):
                weights.zero_()
            else:
                weights.normal_(0.0, SPREAD, generator=generator)

    @torch.no_grad()
    def quantise(self, quantised: Callable[[torch.Tensor], Fp8Weight], seed: int = 0) -> None:
        """Brings the layers' matrices to the device, one after the other: those that
        `engines.models.quantised` names are quantised there, the others stay full.

        Args:
            quantised: makes one of the other.
            seed: of matrices that have no values yet; they are drawn as `randomise` does.
        """
        device = self.embed.device
        generator = torch.Generator(device).manual_seed(seed)
        chosen = quantised_layers(len(self.layers))
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, DecoderLayer)
            for name, linear in layer.matrices().items():
                full = linear.full()
                if full.is_meta:
                    drawn = torch.empty(full.shape, dtype=full.dtype, device=device)
                    drawn.normal_(0.0, SPREAD, generator=generator)
                else:
                    drawn = full.to(device)
                if index in chosen and name in QUANTISED:
                    linear.take_quantised(quantised(drawn))
                else:
                    linear.weight = nn.Parameter(drawn, requires_grad=False)

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
            places["lm_head.weight"] = self.head.full()
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, DecoderLayer)
            prefix = f"model.layers.{index}."
            sizes = [layer.q_size, layer.kv_size, layer.kv_size]
            joined = {
                "weight": (layer.qkv.weight, layer.gate_up.weight),
                "bias": (layer.qkv.bias, layer.gate_up.bias),
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
                "self_attn.o_proj.weight": layer.output.weight,
                "self_attn.o_proj.bias": layer.output.bias,
                "mlp.down_proj.weight": layer.down.weight,
                "mlp.down_proj.bias": layer.down.bias,
            }
            places |= {prefix + name: t for name, t in single.items() if t is not None}
        return places
