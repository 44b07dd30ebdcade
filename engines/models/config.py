"""The shape of a decoder: read from a checkpoint's configuration, or named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engines.errors import ModelError

ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """Llama-3 frequency scaling ("llama3") or plain position interpolation ("linear")."""

    kind: str
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position: int = 8192


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A decoder-only transformer of the Llama family.

    RMSNorm, rotary positions, grouped-query attention and SwiGLU; per-head q/k norm, biases on
    q/k/v (and o), tied embeddings and a sliding window by configuration.
    """

    name: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_position: int
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    tie_embeddings: bool = False
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    sliding_window: int | None = None
    stop_token_ids: tuple[int, ...] = ()
    bos_token_id: int | None = None

    def __post_init__(self) -> None:
        if self.num_heads % self.num_kv_heads:
            raise ModelError(
                f"{self.name}: {self.num_heads} attention heads cannot share "
                f"{self.num_kv_heads} KV heads evenly; the configuration is broken"
            )
        if self.head_dim < 2 or self.head_dim % 2:
            raise ModelError(f"{self.name}: head_dim {self.head_dim}: rotary needs pairs")

    @property
    def matrix_elements_per_layer(self) -> int:
        """Weights in the matrices of one layer: those that every token is multiplied with."""
        q, kv = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        return self.hidden_size * (2 * q + 2 * kv + 3 * self.intermediate_size)

    @property
    def parameters_per_layer(self) -> int:
        """Weights in one layer: its matrices, biases and norms."""
        q, kv = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        biases = (q + 2 * kv) if self.qkv_bias else 0
        biases += self.hidden_size if self.output_bias else 0
        biases += (2 * self.intermediate_size + self.hidden_size) if self.mlp_bias else 0
        norms = 2 * self.hidden_size + (2 * self.head_dim if self.qk_norm else 0)
        return self.matrix_elements_per_layer + biases + norms

    @property
    def num_parameters(self) -> int:
        """Weights in the model, embeddings counted once when they are tied."""
        tables = self.vocab_size * self.hidden_size * (1 if self.tie_embeddings else 2)
        return self.num_layers * self.parameters_per_layer + tables + self.hidden_size

    def kv_bytes_per_token(self, element_bytes: int) -> int:
        """Bytes of keys and values that one token holds over all layers."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * element_bytes


def from_hugging_face(raw: Mapping[str, Any], name: str) -> ModelConfig:
    """A `config.json` of transformers (4.x or 5.x spelling) as a `ModelConfig`.

    Raises:
        ModelError: an architecture, activation or rotary scaling that is not supported, or a
            missing or impossible value; the message names the key.
    """
    architectures = raw.get("architectures") or []
    kind = next((ARCHITECTURES[a] for a in architectures if a in ARCHITECTURES), None)
    if kind is None:
        raise ModelError(
            f"{name}: architecture {architectures or 'unnamed'} is not supported; "
            f"supported are {', '.join(ARCHITECTURES)}"
        )
    activation = raw.get("hidden_act", "silu")
    if activation not in ("silu", "swish"):
        raise ModelError(f"{name}: hidden_act {activation!r} is not supported; only 'silu' is")

    def whole(key: str, default: int | None = None) -> int:
        value = raw.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ModelError(
                f"{name}: config.json has {key} = {value!r}; a whole number ≥ 1 is needed"
            )
        return value

    num_heads = whole("num_attention_heads")
    hidden_size = whole("hidden_size")
    head_dim = raw.get("head_dim") or hidden_size // num_heads
    stop = raw.get("eos_token_id")
    theta, scaling = _rope(raw, name)
    return ModelConfig(
        name=name,
        vocab_size=whole("vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=whole("intermediate_size"),
        num_layers=whole("num_hidden_layers"),
        num_heads=num_heads,
        num_kv_heads=whole("num_key_value_heads", num_heads),
        head_dim=int(head_dim),
        max_position=whole("max_position_embeddings", 2048),
        rms_norm_eps=float(raw.get("rms_norm_eps", 1e-6)),
        rope_theta=theta,
        rope_scaling=scaling,
        tie_embeddings=bool(raw.get("tie_word_embeddings", False)),
        qkv_bias=kind == "qwen2" or bool(raw.get("attention_bias", False)),
        output_bias=kind != "qwen2" and bool(raw.get("attention_bias", False)),
        mlp_bias=bool(raw.get("mlp_bias", False)),
        qk_norm=kind == "qwen3",
        sliding_window=_sliding_window(raw, kind, name),
        stop_token_ids=() if stop is None else tuple(stop) if isinstance(stop, list) else (stop,),
        bos_token_id=raw.get("bos_token_id"),
    )


def _sliding_window(raw: Mapping[str, Any], kind: str, name: str) -> int | None:
    """The window of all layers; of Qwen's, the first `max_window_layers` have none."""
    window: int | None = raw.get("sliding_window")
    if kind == "mistral":
        return window
    if not raw.get("use_sliding_window"):
        return None
    without, layers = raw.get("max_window_layers", 28), raw["num_hidden_layers"]
    if 0 < without < layers:
        raise ModelError(
            f"{name}: config.json has max_window_layers = {without} of {layers} layers; a sliding "
            "window on some layers only is not supported"
        )
    return window if without == 0 else None


def _rope(raw: Mapping[str, Any], name: str) -> tuple[float, RopeScaling | None]:
    """Base and scaling; transformers 5 moved both into `rope_parameters`."""
    parameters = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    theta = float(parameters.get("rope_theta", raw.get("rope_theta", 10_000.0)))
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind == "default":
        return theta, None
    if kind == "linear":
        return theta, RopeScaling("linear", float(parameters["factor"]))
    if kind == "llama3":
        return theta, RopeScaling(
            "llama3",
            float(parameters["factor"]),
            float(parameters["low_freq_factor"]),
            float(parameters["high_freq_factor"]),
            int(parameters["original_max_position_embeddings"]),
        )
    raise ModelError(
        f"{name}: rope_type {kind!r} is not supported; supported are default, linear and llama3"
    )
