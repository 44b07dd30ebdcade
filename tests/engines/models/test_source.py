"""From a model's name to its configuration, tensors and tokenizer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf_writer import (
    FFN,
    HEAD_DIM,
    HEADS,
    HIDDEN,
    KV_HEADS,
    gguf_bytes,
    model_metadata,
    model_tensors,
    tokenizer_fields,
    write_model,
)
from safetensors.torch import save_file

from engines.errors import ModelError
from engines.models.config import RopeScaling
from engines.models.shapes import SHAPES
from engines.models.source import ModelSource, resolve_model, resolve_tokenizer

VOCAB = len(tokenizer_fields()["tokenizer.ggml.tokens"])
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 32,
    "hidden_size": HIDDEN,
    "intermediate_size": FFN,
    "num_hidden_layers": 1,
    "num_attention_heads": HEADS,
}


def folder_of(path: Path, config: Any = CONFIG) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    return path


def failure(name: str | Path) -> str:
    with pytest.raises(ModelError) as caught:
        list(resolve_model(str(name)).tensors())
    return str(caught.value)


# --- names


def test_random_shapes() -> None:
    source = resolve_model("random:qwen3-0.6b")
    assert source == ModelSource("random:qwen3-0.6b", "random", SHAPES["qwen3-0.6b"], None)
    assert source.tokenizer() is None
    with pytest.raises(ModelError, match="random weights are drawn"):
        source.tensors()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("smolm2", "there are smollm2"),
        ("qwen3-0.6b", "there are random:qwen3-0.6b"),
        ("Qwen/Qwen3-0.6B", "there are random:qwen3-0.6b"),
        ("", "there are smollm2-135m-instruct"),
        ("no/such/file.gguf", "no such folder or file"),
        ("nul\0byte", "no such folder or file"),
        ("x" * 5000, "no such folder or file"),
    ],
)
def test_unknown_names_list_what_there_is_nearest_first(name: str, nearest: str) -> None:
    message = failure(name)
    assert nearest in message
    assert "random:llama-3.1-8b" in message and ".gguf file" in message


def test_unknown_shape_lists_shapes() -> None:
    assert "there are qwen3-8b" in failure("random:qwen3-8")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")
    assert "neither a folder nor a .gguf file" in failure(tmp_path / "model.safetensors")


def test_importing_is_light() -> None:
    heavy = ("torch", "safetensors", "tokenizers", "transformers")
    code = f"import sys, engines.models.source; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- GGUF files


def test_gguf_model(tmp_path: Path) -> None:
    path = write_model(tmp_path / "tiny.gguf")
    source = resolve_model(str(path))
    config = source.config
    assert (source.kind, source.path, config.name) == ("gguf", path, "tiny")
    assert (config.vocab_size, config.hidden_size, config.head_dim) == (VOCAB, HIDDEN, HEAD_DIM)
    assert (config.num_heads, config.num_kv_heads, config.num_layers) == (HEADS, KV_HEADS, 1)
    assert config.rms_norm_eps == 1e-5 and config.tie_embeddings
    assert (config.bos_token_id, config.stop_token_ids) == (1, (0,))
    tokenizer = source.tokenizer()
    assert tokenizer is not None and tokenizer.encode("hello").tokens == ["hello"]


def test_llama_rows_are_put_back_in_hugging_face_order(tmp_path: Path) -> None:
    stored = model_tensors()
    tensors = dict(resolve_model(str(write_model(tmp_path / "tiny.gguf"))).tensors())
    assert all(tensor.dtype == torch.float32 for tensor in tensors.values())
    for name, heads in (("q", HEADS), ("k", KV_HEADS)):
        found = tensors[f"model.layers.0.self_attn.{name}_proj.weight"].numpy()
        for row in range(heads * HEAD_DIM):
            head, at = divmod(row, HEAD_DIM)
            # In a head of four the file has x0 y0 x1 y1, Hugging Face x0 x1 y0 y1.
            np.testing.assert_array_equal(
                found[row], stored[f"blk.0.attn_{name}.weight"][head * HEAD_DIM + (0, 2, 1, 3)[at]]
            )
    np.testing.assert_array_equal(
        tensors["model.layers.0.self_attn.v_proj.weight"], stored["blk.0.attn_v.weight"]
    )
    np.testing.assert_array_equal(tensors["model.embed_tokens.weight"], stored["token_embd.weight"])
    assert len(tensors) == len(stored) and "lm_head.weight" not in tensors


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3"])
def test_other_architectures_keep_their_rows(tmp_path: Path, architecture: str) -> None:
    source = resolve_model(str(write_model(tmp_path / "tiny.gguf", architecture)))
    assert source.config.qkv_bias == (architecture == "qwen2")
    assert source.config.qk_norm == (architecture == "qwen3")
    np.testing.assert_array_equal(
        dict(source.tensors())["model.layers.0.self_attn.q_proj.weight"],
        model_tensors()["blk.0.attn_q.weight"],
    )


def llama3_factors(factor: float, theta: float, head_dim: int) -> np.ndarray:
    """As published with Llama 3.1: long waves are stretched, short ones kept."""
    factors = []
    for pair in range(head_dim // 2):
        wavelength = 2 * np.pi * theta ** (2 * pair / head_dim)
        if wavelength < 8192 / 4:
            factors.append(1.0)
        elif wavelength > 8192 / 1:
            factors.append(factor)
        else:
            smooth = (8192 / wavelength - 1) / (4 - 1)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(factors, dtype=np.float32)


def write_with_factors(path: Path, factors: np.ndarray) -> Path:
    metadata = model_metadata() | {
        "llama.rope.freq_base": 500_000.0,
        "llama.attention.key_length": 64,
        "llama.attention.value_length": 64,
    }
    path.write_bytes(gguf_bytes(metadata, model_tensors() | {"rope_freqs.weight": factors}))
    return path


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_llama_3_scaling_is_read_off_its_factors(tmp_path: Path, factor: float) -> None:
    path = write_with_factors(tmp_path / "m.gguf", llama3_factors(factor, 500_000.0, 64))
    assert resolve_model(str(path)).config.rope_scaling == RopeScaling("llama3", factor)


def test_other_rotary_factors_are_refused(tmp_path: Path) -> None:
    factors = llama3_factors(8.0, 500_000.0, 64)
    factors[20] *= 1.1
    assert "not those of a Llama 3 model" in failure(
        write_with_factors(tmp_path / "m.gguf", factors)
    )


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"general__architecture": "gemma3"}, "'gemma3' is not supported; supported are llama"),
        ({"general__architecture": None}, "None is not supported"),
        ({"llama__block_count": None}, "llama.block_count is None"),
        ({"llama__block_count": "many"}, "llama.block_count is 'many'"),
        ({"llama__attention__head_count": 0}, "num_attention_heads = 0"),
        ({"llama__attention__head_count": 64}, "leaves nothing for each of 64"),
        ({"llama__attention__layer_norm_rms_epsilon": float("nan")}, "epsilon is nan"),
        ({"llama__expert_count": 8}, "mixtures of experts"),
        ({"llama__rope__dimension_count": 2}, "rope.dimension_count is 2"),
        ({"llama__rope__scaling__type": "yarn", "llama__rope__scaling__factor": 4.0}, "'yarn'"),
        ({"split__count": 3}, "one of 3 parts"),
    ],
)
def test_unsupported_gguf_models_say_why(
    tmp_path: Path, changes: dict[str, Any], what: str
) -> None:
    assert what in failure(write_model(tmp_path / "m.gguf", **changes))


def test_tensors_of_another_model_are_not_left_out_silently(tmp_path: Path) -> None:
    extra = {"blk.0.attn_sinks.weight": np.zeros(4, np.float32)}
    (tmp_path / "m.gguf").write_bytes(gguf_bytes(model_metadata(), model_tensors() | extra))
    assert "'blk.0.attn_sinks.weight' belongs to no supported model" in failure(tmp_path / "m.gguf")


# --- Hugging Face folders


def test_folder_with_one_file(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "model")
    weights = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(2, dtype=torch.bfloat16)}
    save_file(weights, folder / "model.safetensors")
    source = resolve_model(str(folder))
    assert (source.kind, source.name, source.config.name) == ("folder", str(folder), "model")
    assert source.tokenizer() is None
    found = dict(source.tensors())
    assert found["a"].dtype == torch.bfloat16
    assert torch.equal(found["b"], weights["b"])


def test_folder_with_an_index_and_links(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "model")
    elsewhere = tmp_path / "blobs"
    elsewhere.mkdir()
    for shard, names in (("1", ("a", "b")), ("2", ("c",))):
        save_file({name: torch.ones(1) for name in names}, elsewhere / shard)
        (folder / f"{shard}.safetensors").symlink_to(elsewhere / shard)
    index = {"a": "1.safetensors", "b": "1.safetensors", "c": "2.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert [name for name, _ in resolve_model(str(folder)).tensors()] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("index", "what"),
    [
        ("{", "cannot be read"),
        ("[]", "is not a JSON object"),
        ("{}", "has no 'weight_map'"),
        ("[" * 100_000, "cannot be read"),
        ({"a": "2.safetensors"}, "absent: 2.safetensors"),
        ({"a": "../1.safetensors"}, "outside the folder"),
        ({"a": "/1.safetensors"}, "outside the folder"),
        ({"a": "sub/1.safetensors"}, "outside the folder"),
        ({"a": 3}, "no safetensors file"),
        ({"a": "pytorch_model.bin"}, "no safetensors file"),
        ({"a": "1.safetensors", "b": "1.safetensors"}, "lacks 'b'"),
    ],
)
def test_broken_index(tmp_path: Path, index: Any, what: str) -> None:
    folder = folder_of(tmp_path / "model")
    save_file({"a": torch.ones(1)}, folder / "1.safetensors")
    text = index if isinstance(index, str) else json.dumps({"weight_map": index})
    (folder / "model.safetensors.index.json").write_text(text)
    assert what in failure(folder)


def test_absent_and_pickled_weights(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "model")
    assert "neither model.safetensors nor" in failure(folder)
    (folder / "pytorch_model.bin").write_bytes(b"x")
    assert "pickled weights can run code" in failure(folder)


def test_truncated_weights_at_every_kind_of_place(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "model")
    path = folder / "model.safetensors"
    save_file({"a": torch.ones(64)}, path)
    whole = path.read_bytes()
    for broken in (b"", whole[:4], whole[:20], whole[:-1], b"\xff" * 8 + whole[8:], b"{" * 99):
        path.write_bytes(broken)
        message = failure(folder)
        assert "model.safetensors: cannot be read" in message and "get the file again" in message


@pytest.mark.parametrize(
    "config",
    [
        [],
        {},
        CONFIG | {"architectures": 5},
        CONFIG | {"head_dim": "x"},
        CONFIG | {"rope_scaling": {"rope_type": "linear"}},
        CONFIG | {"rope_scaling": [1]},
        CONFIG | {"rms_norm_eps": []},
    ],
)
def test_broken_config_is_a_model_error(tmp_path: Path, config: Any) -> None:
    assert failure(folder_of(tmp_path / "model", config))


def test_absent_config(tmp_path: Path) -> None:
    assert "config.json: there is no such file" in failure(tmp_path)


def test_broken_tokenizer_is_not_taken_for_none(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "model")
    save_file({"a": torch.ones(1)}, folder / "model.safetensors")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="is no readable tokenizer"):
        resolve_model(str(folder)).tokenizer()


def test_a_tokenizer_alone_is_enough_to_count_tokens(tmp_path):
    embedded = resolve_model("smollm2")
    assert embedded.path is not None
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes((embedded.path / "tokenizer.json").read_bytes())
    wanted = embedded.tokenizer().encode("one two three").ids
    for name in ("smollm2", str(folder), str(folder / "tokenizer.json")):
        assert resolve_tokenizer(name).encode("one two three").ids == wanted
    assert resolve_tokenizer("random:tiny") is None
    with pytest.raises(ModelError, match="no model is called"):
        resolve_tokenizer(str(tmp_path / "nowhere"))
