"""Windows over a text, and what a model thinks of the tokens in them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from engines.attention.base import AttentionShape
from engines.attention.reference import ReferenceAttention
from engines.compute.perplexity import SequenceScorer, Window, sliding_windows
from engines.compute.worker import allocate_kv
from engines.errors import EngineConfigError
from engines.kv_cache import FP8
from engines.models.config import from_hugging_face
from engines.models.decoder import Decoder

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
VOCAB = 199


def test_windows_are_those_of_the_guide():
    assert sliding_windows(10, 6, 2) == [Window(0, 6, 1), Window(2, 8, 6), Window(4, 10, 8)]
    assert sliding_windows(9, 6, 5) == [Window(0, 6, 1), Window(5, 9, 6)]
    assert sliding_windows(6, 6, 3) == [Window(0, 6, 1)]
    assert sliding_windows(2, 6, 3) == [Window(0, 2, 1)]


@given(st.integers(2, 300), st.integers(2, 60), st.data())
def test_every_token_but_the_first_is_scored_once_after_enough_context(tokens, window, data):
    stride = data.draw(st.integers(1, window - 1))
    windows = sliding_windows(tokens, window, stride)
    scored = [at for each in windows for at in range(each.first_scored, each.end)]
    assert scored == list(range(1, tokens))
    assert all(each.end - each.start <= window and each.num_scored for each in windows)
    assert all(each.first_scored - each.start >= window - stride for each in windows[1:])


@pytest.mark.parametrize(
    ("tokens", "window", "stride"), [(1, 8, 4), (0, 8, 4), (9, 1, 1), (9, 8, 8), (9, 8, 0)]
)
def test_impossible_windows_are_refused(tokens, window, stride):
    with pytest.raises(EngineConfigError):
        sliding_windows(tokens, window, stride)


@pytest.fixture(scope="module")
def oracle():
    """A transformers model with large weights, so that no token is like another."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama", vocab_size=VOCAB, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
        tie_word_embeddings=False, architectures=["LlamaForCausalLM"],
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.15)
    return model


def scorer_of(model, chunk_tokens: int, kv_dtype: torch.dtype | None = None) -> SequenceScorer:
    config = from_hugging_face(model.config.to_dict(), "made up")
    decoder = Decoder(config, 256, CPU, torch.float32)
    decoder.load(model.state_dict().items())
    shape = AttentionShape(config.num_heads, config.num_kv_heads, config.head_dim, None)
    attention = ReferenceAttention(shape, 16, CPU, torch.float32)
    return SequenceScorer(decoder, attention, allocate_kv(decoder, 9, 16, kv_dtype), chunk_tokens)


@torch.no_grad()
def by_transformers(model, ids: np.ndarray, first_scored: int) -> np.ndarray:
    logits = model(torch.from_numpy(ids)[None]).logits[0].float()
    scores = -logits.log_softmax(-1)[torch.arange(len(ids) - 1), torch.from_numpy(ids[1:])]
    return scores.double().numpy()[first_scored - 1 :]


@pytest.fixture(scope="module")
def ids() -> np.ndarray:
    return np.random.default_rng(3).integers(0, VOCAB, 100)


@pytest.mark.parametrize("first_scored", [1, 2, 33, 50, 99])
@pytest.mark.parametrize("chunk_tokens", [128, 99, 32, 7])
def test_scores_are_those_of_transformers(oracle, ids, chunk_tokens, first_scored):
    scores = scorer_of(oracle, chunk_tokens).negative_log_likelihoods(ids, first_scored)
    assert scores.shape == (100 - first_scored,) and scores.dtype == np.float64
    np.testing.assert_allclose(scores, by_transformers(oracle, ids, first_scored), rtol=2e-5)


def test_few_rows_of_logits_at_a_time_give_the_same(oracle, ids, monkeypatch):
    whole = scorer_of(oracle, 64).negative_log_likelihoods(ids, 1)
    monkeypatch.setattr("engines.compute.perplexity.LOGITS_BYTES", 4 * VOCAB * 3)
    np.testing.assert_allclose(
        scorer_of(oracle, 64).negative_log_likelihoods(ids, 1), whole, rtol=1e-5
    )


def test_one_sequence_leaves_nothing_for_the_next(oracle, ids):
    scorer = scorer_of(oracle, 32)
    fresh = scorer.negative_log_likelihoods(ids[:40], 1)
    scorer.negative_log_likelihoods(ids[::-1].copy(), 1)
    assert np.array_equal(scorer.negative_log_likelihoods(ids[:40], 1), fresh)


def test_a_quantised_cache_shows_in_the_scores(oracle, ids):
    full = scorer_of(oracle, 32).negative_log_likelihoods(ids, 1)
    quantised = scorer_of(oracle, 32, FP8).negative_log_likelihoods(ids, 1)
    assert not np.array_equal(quantised, full)
    assert abs(quantised.mean() / full.mean() - 1) < 0.01
