"""The decoder against transformers: the same logits at every position, however it is stepped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from paged import SCHEDULES, paged_logits
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from engines.errors import ModelError
from engines.models.config import from_hugging_face
from engines.models.decoder import Decoder

pytestmark = pytest.mark.usefixtures("one_thread")

FLOAT32_TOLERANCE = 1e-5
"""Largest difference of two logits, as a share of the largest logit; measured: 2.5e-6."""

BFLOAT16_TOLERANCE = 6e-2
"""The same, of bfloat16 weights and arithmetic against transformers in float32; measured: 4.6e-2,
where transformers' own bfloat16 is off by 4.9e-2 (the weights are large on purpose)."""

VOCAB = 199
CPU = torch.device("cpu")
SHAPE = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
CASES: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama"},
    "llama, tied": {"model_type": "llama", "tie_word_embeddings": True},
    "llama, three heads a group": {
        "model_type": "llama", "hidden_size": 72, "num_attention_heads": 9,
        "num_key_value_heads": 3, "rope_theta": 100_000.0, "tie_word_embeddings": True,
    },
    "llama, one KV head a head": {"model_type": "llama", "num_key_value_heads": 4},
    "llama, biases": {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "llama, llama3 rope": {
        "model_type": "llama", "rope_theta": 500_000.0, "rope_scaling": LLAMA3_ROPE,
    },
    "llama, linear rope": {
        "model_type": "llama", "rope_scaling": {"rope_type": "linear", "factor": 4.0},
    },
    "llama, large epsilon": {"model_type": "llama", "rms_norm_eps": 0.1},
    "qwen2": {"model_type": "qwen2", "rope_theta": 1_000_000.0},
    "qwen2, tied": {"model_type": "qwen2", "tie_word_embeddings": True},
    "qwen2, sliding window": {
        "model_type": "qwen2", "use_sliding_window": True, "sliding_window": 8,
        "max_window_layers": 0,
    },
    "qwen3": {"model_type": "qwen3", "head_dim": 24, "num_key_value_heads": 1},
    "qwen3, tied, biases": {
        "model_type": "qwen3", "head_dim": 32, "tie_word_embeddings": True, "attention_bias": True,
    },
    "mistral, sliding window": {"model_type": "mistral", "sliding_window": 8},
    "mistral, no window": {"model_type": "mistral", "sliding_window": None, "head_dim": 32},
}  # fmt: skip


def oracle(case: dict[str, Any], seed: int = 0) -> PreTrainedModel:
    """A transformers model with weights so large that a mistake anywhere shows in the logits."""
    settings = SHAPE | case
    if "rope_theta" in settings or "rope_scaling" in settings:
        theta = {"rope_theta": settings.pop("rope_theta", 10_000.0)}
        scaling = settings.pop("rope_scaling", {"rope_type": "default"})
        if int(transformers.__version__.split(".")[0]) >= 5:
            settings["rope_parameters"] = theta | scaling
        else:
            settings |= theta | (
                {} if scaling["rope_type"] == "default" else {"rope_scaling": scaling}
            )
    config = AutoConfig.for_model(**settings)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    config.architectures = [type(model).__name__]
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5, generator=generator)
            else:
                parameter.normal_(0.0, 0.25 if name.endswith("bias") else 0.15, generator=generator)
    return model


def decoder_of(model: PreTrainedModel, dtype: torch.dtype = torch.float32) -> Decoder:
    config = from_hugging_face(model.config.to_dict(), "oracle")
    decoder = Decoder(config, 512, CPU, dtype)
    decoder.load(model.state_dict().items())
    return decoder


def prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randint(0, VOCAB, (length,), generator=generator).tolist()
        for length in (61, 1, 34, 17)
    ]


@torch.inference_mode()
def expected_logits(model: PreTrainedModel, sequences: list[list[int]]) -> list[torch.Tensor]:
    return [model(torch.tensor([sequence])).logits[0].float() for sequence in sequences]


def difference(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
    """The largest one, as a share of the largest logit."""
    scale = max(logits.abs().max().item() for logits in theirs)
    return max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True)) / scale


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_logits_agree_with_transformers(case: dict[str, Any]) -> None:
    model = oracle(case)
    decoder, theirs = decoder_of(model), expected_logits(model, prompts())
    for schedule in SCHEDULES:
        off = difference(paged_logits(decoder, prompts(), schedule), theirs)
        assert off <= FLOAT32_TOLERANCE, f"{schedule}: off by {off:.1e} of the largest logit"


@pytest.mark.parametrize("case", ["llama, three heads a group", "qwen3", "mistral, sliding window"])
def test_bfloat16_stays_near_float32(case: str) -> None:
    model = oracle(CASES[case])
    decoder, theirs = decoder_of(model, torch.bfloat16), expected_logits(model, prompts())
    for schedule in SCHEDULES:
        off = difference(paged_logits(decoder, prompts(), schedule), theirs)
        assert off <= BFLOAT16_TOLERANCE, f"{schedule}: off by {off:.1e} of the largest logit"


@pytest.mark.parametrize(
    "change",
    [
        {"rope_theta": 20_000.0},
        {"rope_scaling": LLAMA3_ROPE},
        {"rms_norm_eps": 1e-2},
        {"num_key_value_heads": 1},
        {"tie_word_embeddings": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_comparison_sees_each_setting(change: dict[str, Any]) -> None:
    """The oracle is sharp: what a wrong setting would change is far above the tolerance."""
    right, wrong = (
        expected_logits(oracle(case), prompts())
        for case in (CASES["llama"], CASES["llama"] | change)
    )
    assert difference(wrong, right) > 20 * FLOAT32_TOLERANCE


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_parameters_are_counted_as_transformers_does(case: dict[str, Any]) -> None:
    model = oracle(case)
    assert from_hugging_face(model.config.to_dict(), "oracle").num_parameters == sum(
        parameter.numel() for parameter in model.parameters()
    )


def test_a_saved_configuration_reads_like_the_live_one(tmp_path: Path) -> None:
    for name, case in CASES.items():
        config = oracle(case).config
        config.save_pretrained(tmp_path)
        saved = AutoConfig.from_pretrained(tmp_path).to_dict()
        live = from_hugging_face(config.to_dict(), "oracle")
        assert from_hugging_face(saved, "oracle") == live, name


def test_a_window_on_some_layers_only_is_refused() -> None:
    windows = CASES["qwen2, sliding window"]
    for first_layer in (1, 2):
        raw = oracle(windows | {"max_window_layers": first_layer}).config.to_dict()
        with pytest.raises(ModelError, match="max_window_layers"):
            from_hugging_face(raw, "oracle")
    on_none = oracle(windows | {"max_window_layers": 3}).config.to_dict()
    assert from_hugging_face(on_none, "oracle").sliding_window is None


def state(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return dict(model.state_dict())


def test_tensors_that_do_not_fit_are_refused_by_name() -> None:
    model = oracle(CASES["llama"])
    name = "model.layers.1.self_attn.k_proj.weight"

    def load(tensors: list[tuple[str, torch.Tensor]]) -> None:
        Decoder(from_hugging_face(model.config.to_dict(), "oracle"), 64, CPU, torch.float32).load(
            tensors
        )

    tensors = state(model)
    load(list(tensors.items()))
    with pytest.raises(ModelError, match=r"1 tensors are missing .*layers\.1\.self_attn\.k_proj"):
        load([item for item in tensors.items() if item[0] != name])
    with pytest.raises(ModelError, match="given twice"):
        load([*tensors.items(), (name, tensors[name])])
    with pytest.raises(ModelError, match=r"'model\.extra\.weight' is unknown"):
        load([*tensors.items(), ("model.extra.weight", torch.zeros(1))])
    with pytest.raises(
        ModelError, match=r"shape \[32, 63\], the configuration asks for \[32, 64\]"
    ):
        load(list((tensors | {name: tensors[name][:, 1:]}).items()))


# -- the real model -----------------------------------------------------------------------------

TEXT = (
    "A scheduler decides which tokens of which requests go into the next step. Running requests "
    "come first, then prompts that have begun, then those that wait; and when the memory for keys "
    "and values is spent, the last one in order gives its blocks back and starts again later. "
    "In 1969, 3 astronauts travelled 384,400 km; def f(x): return x ** 2  # naïve façade — 東京"
)


@pytest.mark.slow
def test_the_embedded_model_agrees_with_transformers() -> None:
    from engines.models.source import resolve_model

    try:
        source = resolve_model("smollm2")
        tokenizer = source.tokenizer()
    except ModelError as error:
        pytest.skip(f"the embedded model is not to be had here: {error}")
    assert tokenizer is not None
    ids = tokenizer.encode(TEXT, add_special_tokens=False).ids
    sequences = [ids[:64], ids[64:]]
    decoder = Decoder(source.config, 256, CPU, torch.float32)
    decoder.load(source.tensors())
    model = AutoModelForCausalLM.from_pretrained(source.path, dtype=torch.float32).eval()
    theirs = expected_logits(model, sequences)
    for schedule in ("whole", "chunks of 7", "mixed"):
        ours = paged_logits(decoder, sequences, schedule, block_size=16)
        off = difference(ours, theirs)
        assert off <= FLOAT32_TOLERANCE, f"{schedule}: off by {off:.1e} of the largest logit"
