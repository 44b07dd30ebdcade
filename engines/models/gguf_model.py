"""A GGUF file as a model: its configuration, and its tensors under Hugging Face names.

llama.cpp stores the rows of q and k of the `llama` architecture interleaved, as its rotary
embedding turns neighbouring rows; Hugging Face turns row i with row i + head_dim/2:

    Hugging Face  x0 x1 x2 … | y0 y1 y2 …        GGUF  x0 y0 x1 y1 x2 y2 …

The order is undone here, so that every source yields the same tensors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from engines.errors import ModelError
from engines.models.config import ModelConfig, RopeScaling, from_hugging_face
from engines.models.gguf import GGUFFile, MetadataValue
from engines.models.quantisation import Floats

_CLASSES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}

_OUTER_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_NAME = re.compile(r"(?:blk\.(?P<layer>\d{1,5})\.)?(?P<part>[a-z_]+)\.(?P<role>weight|bias)")

# Llama 3 files carry the finished frequency factors instead of the numbers they come from.
_ROPE_FACTORS = "rope_freqs.weight"


def hugging_face_config(file: GGUFFile) -> dict[str, Any]:
    """The `config.json` that the file's metadata amounts to.

    Raises:
        ModelError: an architecture other than llama, qwen2 and qwen3, a mixture of experts, a
            part of a split file, or a missing or impossible value; the message names the key.
    """
    keys = _Keys(file)
    architecture = keys.architecture
    parts = file.metadata.get("split.count", 1)
    if isinstance(parts, int) and parts > 1:
        raise ModelError(f"{file.path}: is one of {parts} parts of a model; merge them first")
    if keys.whole("expert_count", 0):
        raise ModelError(f"{file.path}: mixtures of experts cannot be read from GGUF files")
    num_heads = keys.whole("attention.head_count")
    window = keys.whole("attention.sliding_window", 0) if architecture == "llama" else 0
    config: dict[str, Any] = {
        # Mistral's files call themselves llama; the window is the one difference.
        "architectures": ["MistralForCausalLM" if window else _CLASSES[architecture]],
        "model_type": "mistral" if window else architecture,
        "hidden_act": "silu",
        "vocab_size": _vocab_size(file),
        "hidden_size": keys.whole("embedding_length"),
        "intermediate_size": keys.whole("feed_forward_length"),
        "num_hidden_layers": keys.whole("block_count"),
        "num_attention_heads": num_heads,
        "num_key_value_heads": keys.whole("attention.head_count_kv", num_heads),
        "head_dim": _head_dim(keys),
        "max_position_embeddings": keys.whole("context_length"),
        "rms_norm_eps": keys.real("attention.layer_norm_rms_epsilon"),
        "rope_theta": keys.real("rope.freq_base", 10_000.0),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "attention_bias": "blk.0.attn_q.bias" in file.tensors,
        "mlp_bias": "blk.0.ffn_gate.bias" in file.tensors,
    }
    if window:
        config["sliding_window"] = window
    scaling = keys.get("rope.scaling.type", "none")
    if _ROPE_FACTORS in file.tensors:
        config["rope_scaling"] = _llama3_scaling(file, config["rope_theta"], config["head_dim"])
    elif not isinstance(scaling, str) or scaling != "none":
        config["rope_scaling"] = {"rope_type": scaling, "factor": keys.real("rope.scaling.factor")}
    return config | _special_token_ids(file)


def gguf_config(file: GGUFFile, name: str) -> ModelConfig:
    """The shape of the model in the file, under the name `name`.

    Raises:
        ModelError: as `hugging_face_config`, or a shape that is not supported.
    """
    return from_hugging_face(hugging_face_config(file), name)


def hugging_face_shapes(file: GGUFFile) -> dict[str, tuple[int, ...]]:
    """Hugging Face name and shape of every tensor that `hugging_face_tensors` yields, in its order.

    Raises:
        ModelError: a tensor that no supported architecture has.
    """
    return {
        _hugging_face_name(file, name): tensor.shape
        for name, tensor in file.tensors.items()
        if name != _ROPE_FACTORS
    }


def hugging_face_tensors(file: GGUFFile, config: ModelConfig) -> Iterator[tuple[str, Floats]]:
    """Name and values of one tensor after another, in the file's order.

    Raises:
        ModelError: a tensor that no supported architecture has, or whose format is not supported.
    """
    interleaved = file.metadata.get("general.architecture") == "llama"
    for name in file.tensors:
        if name == _ROPE_FACTORS:
            continue
        target = _hugging_face_name(file, name)
        values = file.load(name)
        if interleaved and ".self_attn.q_proj." in target:
            values = _undo_interleaving(file, name, values, config.num_heads, config.head_dim)
        elif interleaved and ".self_attn.k_proj." in target:
            values = _undo_interleaving(file, name, values, config.num_kv_heads, config.head_dim)
        yield target, values


class _Keys:
    """The metadata under the architecture's name (`llama.block_count`), checked for its kind."""

    def __init__(self, file: GGUFFile) -> None:
        architecture = file.metadata.get("general.architecture")
        if not isinstance(architecture, str) or architecture not in _CLASSES:
            raise ModelError(
                f"{file.path}: general.architecture {architecture!r} is not supported; "
                f"supported are {', '.join(_CLASSES)}"
            )
        self.file = file
        self.architecture = architecture

    def get(self, key: str, default: MetadataValue | None = None) -> MetadataValue | None:
        return self.file.metadata.get(f"{self.architecture}.{key}", default)

    def whole(self, key: str, default: int | None = None) -> int:
        value = self.get(key, default)
        if type(value) is not int or value < 0:
            raise self.wrong(key, f"is {value!r}; a whole number is needed")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        value = self.get(key, default)
        if isinstance(value, int | float) and abs(value) <= np.finfo(np.float32).max:
            # The file has 32 bits: 1e-5 comes as 9.99999974e-06. The shortest decimal is meant.
            return float(str(np.float32(value)))
        raise self.wrong(key, f"is {value!r}; a number is needed")

    def wrong(self, key: str, what: str) -> ModelError:
        return ModelError(f"{self.file.path}: {self.architecture}.{key} {what}")


def _head_dim(keys: _Keys) -> int:
    """Elements of a head; all three kinds of head must have as many, and be turned whole."""
    hidden_size, num_heads = keys.whole("embedding_length"), keys.whole("attention.head_count")
    head_dim = keys.whole("attention.key_length", hidden_size // max(1, num_heads))
    if not head_dim:
        raise keys.wrong(
            "embedding_length",
            f"{hidden_size} leaves nothing for each of {num_heads} heads; get the file again",
        )
    for key in ("attention.value_length", "rope.dimension_count"):
        found = keys.whole(key, head_dim)
        if found != head_dim:
            raise keys.wrong(key, f"is {found}, but keys have {head_dim}; this is not supported")
    return head_dim


def _hugging_face_name(file: GGUFFile, name: str) -> str:
    match = _NAME.fullmatch(name)
    if match:
        layer, part, role = match["layer"], match["part"], match["role"]
        if layer is None and part in _OUTER_NAMES:
            return f"{_OUTER_NAMES[part]}.{role}"
        if layer is not None and part in _LAYER_NAMES:
            return f"model.layers.{int(layer)}.{_LAYER_NAMES[part]}.{role}"
    raise ModelError(
        f"{file.path}: tensor {name!r} belongs to no supported model; the file's architecture "
        f"differs from what it is called"
    )


def _undo_interleaving(
    file: GGUFFile, name: str, values: Floats, num_heads: int, head_dim: int
) -> Floats:
    """Rows `x0 y0 x1 y1 …` of every head as `x0 x1 … y0 y1 …`; `values` is `[rows, …]`."""
    if values.shape[0] != num_heads * head_dim:
        raise ModelError(
            f"{file.path}: tensor {name!r} has {values.shape[0]} rows, not {num_heads} heads of "
            f"{head_dim}; the file contradicts itself, get it again"
        )
    pairs = values.reshape(num_heads, head_dim // 2, 2, *values.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(values.shape)


def _vocab_size(file: GGUFFile) -> int:
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None:
        raise ModelError(f"{file.path}: there is no tensor 'token_embd.weight'; get the file again")
    return embedding.shape[0]


def _special_token_ids(file: GGUFFile) -> dict[str, Any]:
    """Where a text begins and where an answer stops; chat turns may end with their own token."""
    found: dict[str, int] = {}
    for key in ("bos_token_id", "eos_token_id", "eot_token_id", "padding_token_id"):
        token_id = file.metadata.get(f"tokenizer.ggml.{key}")
        if type(token_id) is int:
            found[key] = token_id
    stop = list(
        dict.fromkeys(found[key] for key in ("eos_token_id", "eot_token_id") if key in found)
    )
    ids: dict[str, Any] = {}
    if "bos_token_id" in found:
        ids["bos_token_id"] = found["bos_token_id"]
    if stop:
        ids["eos_token_id"] = stop[0] if len(stop) == 1 else stop
    if "padding_token_id" in found:
        ids["pad_token_id"] = found["padding_token_id"]
    return ids


def _llama3_scaling(file: GGUFFile, theta: float, head_dim: int) -> dict[str, Any]:
    """The Llama 3 rotary scaling whose frequency factors the file carries.

    Only the factor can be read off them; the other three numbers are those of all published
    Llama 3 models, and the factors that follow must be the file's, or the file is refused.
    """
    stored = file.load(_ROPE_FACTORS).reshape(-1)
    published = RopeScaling("llama3", float(np.round(stored.max(), 3)), 1.0, 4.0, 8192)
    with np.errstate(all="ignore"):
        wavelengths = 2 * np.pi * theta ** (np.arange(0, head_dim, 2) / head_dim)
        expected = _frequency_factors(published, wavelengths)
    if stored.shape != expected.shape or not np.allclose(stored, expected, rtol=1e-3):
        raise ModelError(
            f"{file.path}: the rotary factors in {_ROPE_FACTORS!r} are not those of a Llama 3 "
            f"model; use a Hugging Face folder of this model"
        )
    return {
        "rope_type": "llama3",
        "factor": published.factor,
        "low_freq_factor": published.low_freq_factor,
        "high_freq_factor": published.high_freq_factor,
        "original_max_position_embeddings": published.original_max_position,
    }


def _frequency_factors(scaling: RopeScaling, wavelengths: Any) -> Any:
    """By how much each frequency is divided: 1 for short waves up to `factor` for long ones."""
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    share = (scaling.original_max_position / wavelengths - low) / (high - low)
    share = np.clip(share, 0.0, 1.0)
    return 1.0 / ((1.0 - share) / scaling.factor + share)
