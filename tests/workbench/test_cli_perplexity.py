"""`workbench perplexity` as a user types it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from engines.models.source import DEFAULT_MODEL, resolve_model
from workbench.bench.perplexity import Scores, difference
from workbench.cli.main import main

TEXT = (
    "A list is a mutable sequence, and a tuple is an immutable one. Both may hold any objects, "
    "and both may be indexed with whole numbers: the first has the index 0. Résumé, 猫, naïve. "
) * 3


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def source():
    return resolve_model(DEFAULT_MODEL)


def by_the_guide(source, window: int, stride: int) -> tuple[float, int]:
    """Sum of negative log-likelihoods and their number, as Hugging Face's guide computes them."""
    ids = source.tokenizer().encode(TEXT, add_special_tokens=False).ids
    model = AutoModelForCausalLM.from_pretrained(source.path, dtype=torch.float32).eval()
    total, count, scored_to = 0.0, 0, 0
    with torch.no_grad():
        for start in range(0, len(ids), stride):
            end = min(start + window, len(ids))
            inputs = torch.tensor([ids[start:end]])
            targets = inputs.clone()
            targets[:, : -(end - scored_to)] = -100
            scored = int((targets[0, 1:] != -100).sum())
            total += model(inputs, labels=targets).loss.item() * scored
            count, scored_to = count + scored, end
            if end == len(ids):
                return total, count
    raise AssertionError


def test_it_is_the_perplexity_of_the_guide(text, source, capsys):
    words = ["--text", str(text), "--window", "48", "--stride", "20", "--device", "cpu", "--json"]
    assert main(["perplexity", *words]) == 0
    told = json.loads(capsys.readouterr().out)
    total, count = by_the_guide(source, 48, 20)
    assert told["tokens"] == count and (told["window"], told["stride"]) == (48, 20)
    assert told["nll_per_token"] == pytest.approx(total / count, rel=1e-5)
    assert told["perplexity"] == pytest.approx(math.exp(total / count), rel=1e-4)
    # The first token, "A", is not scored.
    assert told["bytes"] == len(TEXT.encode()) - 1
    assert told["bits_per_byte"] == pytest.approx(total / math.log(2) / told["bytes"], rel=1e-5)


def test_two_settings_over_the_same_windows(text, capsys):
    words = ["--text", str(text), "--window", "64", "--limit", "120", "--device", "cpu"]
    assert main(["perplexity", *words, "--kv-cache-dtype", "fp8", "--against", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["tokens"] == 119
    assert told["settings"]["kv_dtype"] == "fp8"
    assert told["against"]["settings"]["kv_dtype"] == "float32"
    change = told["difference"]
    assert change["perplexity_percent"] == pytest.approx(
        100 * (told["perplexity"] / told["against"]["perplexity"] - 1)
    )
    assert 0 < abs(change["perplexity_percent"]) < 5 and change["standard_error_percent"] > 0


def test_the_table_shows_both_sides(text, capsys):
    words = ["--text", str(text), "--limit", "40", "--device", "cpu"]
    assert main(["perplexity", *words, "--against", "dtype=bfloat16"]) == 0
    shown = capsys.readouterr().out
    assert "39 tokens scored in 1 window of 2,048" in shown
    assert shown.splitlines()[1].split() == ["this", "the", "other"]
    assert "bfloat16" in shown and "standard error –" in shown


def test_the_error_of_a_difference_is_between_windows():
    tokens = np.array([10, 20])
    side = Scores(np.array([11.0, 24.0]), tokens, 1.0, {})
    other = Scores(np.array([10.0, 20.0]), tokens, 1.0, {})
    told = difference(side, other)
    mean = 5 / 30
    error = math.sqrt(2 * ((1 - mean * 10) ** 2 + (4 - mean * 20) ** 2)) / 30
    assert told["nll_per_token"] == pytest.approx(mean)
    assert told["perplexity_percent"] == pytest.approx(100 * (math.exp(mean) - 1))
    assert told["standard_error_percent"] == pytest.approx(100 * math.exp(mean) * error)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--window", "9000"], "knows 8192 positions"),
        (["--window", "1"], "a window of 1"),
        (["--window", "8", "--stride", "8"], "a stride of 8"),
        (["--stride", "0"], "a stride of 0"),
        (["--limit", "1"], "--limit 1"),
        (["--model", "random:tiny"], "no tokenizer"),
        (["--model", "no-such-model"], "no model is called"),
        (["--against"], "both sides have the same settings"),
        (["--against", "speed=high"], "is no FLAG=VALUE"),
        (["--against", "model=random:tiny"], "same model"),
        (["--against", "attention=fast"], "fast"),
        (["--kv-cache-dtype", "fp9"], "fp9"),
    ],
)
def test_bad_use_is_one_message(words, message, text, capsys):
    assert main(["perplexity", "--text", str(text), "--device", "cpu", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "is empty"),
        (b"caf\xe9", "not UTF-8 at byte 3"),
        (b"a", "1 token;"),
    ],
)
def test_a_text_that_is_none_is_told(content, message, tmp_path, capsys):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    assert main(["perplexity", "--text", str(path), "--device", "cpu"]) == 2
    assert message in capsys.readouterr().err
