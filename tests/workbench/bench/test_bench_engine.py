"""`workbench bench engine` on a tiny model, through the real engine."""

from __future__ import annotations

import json

import pytest

from workbench.cli.main import main

TINY = ["bench", "engine", "--model", "random:tiny", "--device", "cpu", "--threads", "1"]
SHORT = ["--requests", "3", "--input-tokens", "20", "--output-tokens", "6", "--repeat", "2"]


def told(capsys, *words: str) -> dict:
    assert main([*TINY, *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_figures_are_those_of_the_schedule(capsys):
    result = told(capsys, "--work", "decode", *SHORT)
    (row,) = result["works"]
    assert (row["requests"], row["prompt_tokens"], row["output_tokens"]) == (3, 60, 18)
    assert row["steps"] == 6  # one prefill of all prompts, then five decodes
    assert len(row["every_seconds"]) == 2 and row["seconds"] in row["every_seconds"]
    assert row["output_tokens_per_s"] == pytest.approx(18 / row["seconds"])
    # random:tiny in float32: 2 layers of 36,864 elements in matrices, 512 × 64 in the table.
    layer_bytes, head_bytes = 4 * (2 * (36_864 + 2 * 64) + 64), 4 * 512 * 64
    kv_tokens = 60 + sum(3 * (19 + n) + 3 for n in range(1, 6))
    tokens = 60 + 15
    assert row["bytes"] == (
        6 * (layer_bytes + head_bytes) + tokens * 64 * 4 + kv_tokens * 2 * 2 * 2 * 16 * 4
    )
    pairs = 3 * sum(range(1, 21)) + 3 * sum(range(21, 26))
    assert row["flop"] == (tokens * 2 * 2 * 36_864 + 18 * 2 * 512 * 64 + pairs * 2 * 2 * 2 * 4 * 16)
    assert row["decode_steps"]["batch"] == 3 and row["decode_steps"]["steps"] == 5
    assert row["floor_seconds"] > 0 and row["step_ms"]["gpu"] is None


def test_the_record_says_what_and_where(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["workbench", "bench", "engine", "--work", "prefill"])
    result = told(capsys, "--work", "prefill", *SHORT)
    assert result["engine"]["model"] == "random:tiny"
    assert result["hardware"]["hardware_key"] and result["versions"]["torch"]
    assert result["command"] == "workbench bench engine --work prefill" and result["date"]
    assert result["ceilings"]["bytes_per_s"] > 0 and "measured" in result["ceilings"]["source"]


def test_prompts_of_a_second_round_are_not_in_the_prefix_cache(capsys):
    lengths = ["--requests", "2", "--input-tokens", "64", "--output-tokens", "1", "--repeat", "1"]
    cached = told(capsys, "--work", "prefill", *lengths)["works"][0]
    plain = told(capsys, "--work", "prefill", *lengths, "--no-prefix-caching")["works"][0]
    assert cached["flop"] == plain["flop"]


def test_nano_and_the_table(capsys):
    assert main([*TINY, "--work", "nano", "--requests", "2", "--repeat", "1"]) == 0
    shown = capsys.readouterr().out
    assert "nano: 2 requests, " in shown and "random:tiny on cpu: float32\n" in shown
    assert "quantised" not in shown
    assert "output tokens/s" in shown and "times that" in shown and "GPU idle –" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--work", "naon"], "there is nano, decode"),
        (["--work", "prefill"], "takes 4,096"),
        (["--work", "nano", "--max-model-len", "500"], "raise what limits it"),
        (["--work", "all", "--requests", "3"], "need one --work"),
        (["--work", "decode", "--repeat", "0"], "--repeat 0"),
        (["--work", "decode", "--ceilings", "spec"], "--ceilings measured"),
        (["--work", "decode", "--ceilings", "guess"], "there is measured, spec"),
        (["--work", "decode", "--attention", "fast"], "fast"),
        (["--work", "decode", "--block-size", "x"], "--block-size"),
    ],
)
def test_bad_use_is_one_message(words, message, capsys):
    assert main([*TINY, *words]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert error.startswith("workbench bench: ") and "bench engine" not in error


def test_the_table_says_of_what_the_engine_was_made(capsys):
    assert main([*TINY, "--work", "decode", "--kv-cache-dtype", "fp8", *SHORT]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("random:tiny on cpu: float32, fp8 KV\n")
    one = ["--requests", "1", "--input-tokens", "4", "--output-tokens", "2", "--repeat", "1"]
    assert main([*TINY, "--work", "decode", *one]) == 0
    assert "decode: 1 request, 4 tokens in" in capsys.readouterr().out


def test_progress_is_gone_before_a_message_comes(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert main([*TINY, "--work", "prefill"]) == 2
    error = capsys.readouterr().err
    assert "measuring what the device can do" in error
    assert error.rpartition("\x1b[K")[2].startswith("workbench bench: --work prefill has")
