"""`workbench trace` as a user types it, and the published traces' facts as it tells them."""

import json
from pathlib import Path

import pytest
from rich.cells import cell_len

from workbench.cli.main import main
from workbench.errors import SpecError
from workbench.units import parse_window, ratio

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "traces"

CHATS = [
    {"timestamp": 0, "input_length": 1024, "output_length": 5, "hash_ids": [0, 1]},
    {"timestamp": 0, "input_length": 1500, "output_length": 0, "hash_ids": [0, 1, 2]},
    {"timestamp": 3000, "input_length": 512, "output_length": 300, "hash_ids": [0]},
    {"timestamp": 90_000, "input_length": 700, "output_length": 40, "hash_ids": [0, 3]},
]


@pytest.fixture
def chats(tmp_path):
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in CHATS))
    return str(path)


def published(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not there: it is public data that is not part of the project")
    return str(path)


def info(capsys, *words):
    assert main(["trace", "info", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_figures_as_json(chats, capsys):
    facts = info(capsys, chats)
    assert facts["format"] == "mooncake" and facts["rows"] == 4 and facts["changes"] == []
    assert facts["arrivals"]["span_s"] == 90 and facts["arrivals"]["equal_share"] == 0.25
    assert facts["input_tokens"]["max"] == 1500
    assert facts["prefixes"]["blocks"] == 8
    assert facts["prefixes"]["hit_share"] == pytest.approx(4 / 8)
    assert facts["prefixes"]["token_hit_share"] == pytest.approx(2048 / 3736)


def test_changes_are_made_and_told(chats, capsys):
    facts = info(capsys, chats, "--scale-lengths", "1/64", "--speed", "9", "--window", "..1m")
    assert facts["rows"] == 3 and facts["prefixes"]["block_tokens"] == 8
    assert facts["arrivals"]["span_s"] == pytest.approx(1 / 3, abs=1e-8)
    assert facts["changes"] == ["2 requests without prompt or output tokens got one."]


@pytest.mark.parametrize("width", [60, 80, 132])
def test_it_fits_its_width_and_says_everything(chats, width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["trace", "info", chats, "--jitter", "1s"]) == 0
    shown = capsys.readouterr().out
    assert max(cell_len(line) for line in shown.splitlines()) <= width
    for said in ("mooncake", "Requests", "Span", "Gaps", "Stamps", "50.0 % of blocks", "Input"):
        assert said in " ".join(shown.split())
    if width >= 80:
        assert "Arrivals, req/s" in shown and "Output tokens, % of requests" in shown


def test_nothing_in_a_file_steers_the_terminal(tmp_path, capsys):
    path = tmp_path / "a\x1b[31m.jsonl"
    path.write_text(json.dumps(CHATS[0]) + "\n")
    assert main(["trace", "info", str(path)]) == 0
    assert "\x1b[31m" not in capsys.readouterr().out


def test_rounded_stamps_are_pointed_out(tmp_path, capsys):
    path = tmp_path / "rounded.jsonl"
    rows = [CHATS[0] | {"timestamp": 3000 * (i // 10)} for i in range(50)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["trace", "info", str(path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "90.0 % equal the one before" in shown and "--jitter 3s" in shown


def test_a_converted_trace_says_the_same(chats, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    assert main(["trace", "convert", chats, str(out)]) == 0
    assert "4 requests written" in capsys.readouterr().out
    before, after = info(capsys, chats), info(capsys, str(out))
    for name in ("rows", "arrivals", "input_tokens", "output_tokens", "prefixes"):
        assert after[name] == before[name]
    assert after["format"] == "native"
    assert main(["trace", "convert", chats, str(out), "--limit", "2"]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["trace", "convert", chats, str(out), "--limit", "2", "--force"]) == 0
    capsys.readouterr()
    assert info(capsys, str(out))["rows"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chats.jsonl", "out.jsonl"]


def test_a_failed_conversion_leaves_what_was_there(chats, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    out.write_text("mine")
    words = ["trace", "convert", chats, str(out), "--force"]
    assert main([*words, "--window", "5m..6m"]) == 2
    assert out.read_text() == "mine"
    assert main(["trace", "convert", chats, str(tmp_path / "no" / "out.jsonl")]) == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--window", "10m"], "not a window"),
        (["--window", "20m..10m"], "before it ends"),
        (["--window", "5m..6m"], "90"),
        (["--jitter", "3 parsecs"], "unknown unit 'parsecs'"),
        (["--speed", "0"], "speed is 0"),
        (["--scale-lengths", "1/0"], "not a number or a fraction"),
        (["--limit", "0"], "limit is 0"),
        (["--limti", "3"], "did you mean --limit?"),
    ],
)
def test_a_mistake_gets_one_message_and_exit_code_2(words, message, chats, capsys):
    assert main(["trace", "info", chats, *words]) == 2
    streams = capsys.readouterr()
    assert message in streams.err and "Traceback" not in streams.err and streams.out == ""


def test_a_set_of_texts_is_described_in_characters(tmp_path, capsys):
    path = tmp_path / "chats.json"
    said = [("human", "Hi?"), ("gpt", "Hello."), ("human", "And?"), ("gpt", "No.")]
    chat = {"conversations": [{"from": who, "value": what} for who, what in said]}
    path.write_text(json.dumps([chat, {"conversations": chat["conversations"][:1]}]))
    facts = info(capsys, str(path))
    assert (facts["format"], facts["conversations"], facts["turns"]) == ("sharegpt", 2, 3)
    assert (facts["turns_max"], facts["answered"]) == (2, 2)
    assert (facts["asked_characters"], facts["answered_characters"]) == (10, 9)
    assert main(["trace", "info", str(path)]) == 0
    assert "1.50 a conversation" in capsys.readouterr().out
    for words in (["info", str(path), "--speed", "2"], ["convert", str(path), str(path) + "l"]):
        assert main(["trace", *words]) == 2
        assert "has no stamps" in capsys.readouterr().err


def test_windows_and_ratios():
    assert parse_window("10m..20m") == (600.0, 1200.0)
    assert parse_window("1.5..2h") == (1.5, 7200.0)
    assert parse_window("..90") == (0.0, 90.0)
    for bad in ("10m", "10m..", "..", "2m..1m", "1m..1m", "-5..5", "a..b", "1..2..3"):
        with pytest.raises(SpecError):
            parse_window(bad)
    assert ratio("1/32") == 0.03125 and ratio("0.5") == 0.5 and ratio(2) == 2.0
    for bad in ("", "1/", "half", "1/2/3"):
        with pytest.raises(SpecError):
            ratio(bad)


def test_azure_conversation(capsys):
    facts = info(capsys, published("AzureLLMInferenceTrace_conv.csv"))
    assert facts["rows"] == 19_366 and facts["failed"] == 0
    assert facts["arrivals"]["span_s"] == pytest.approx(3502, abs=1)
    assert (round(facts["input_tokens"]["mean"]), facts["input_tokens"]["p50"]) == (1155, 1020)
    assert (round(facts["output_tokens"]["mean"]), facts["output_tokens"]["p50"]) == (211, 129)
    assert facts["prefixes"] is None


def test_azure_code(capsys):
    facts = info(capsys, published("AzureLLMInferenceTrace_code.csv"))
    assert facts["rows"] == 8_819
    arrivals = facts["arrivals"]
    assert arrivals["span_s"] == pytest.approx(3436, abs=1)
    assert arrivals["gap_cv"] == pytest.approx(13.15, abs=0.01)
    assert arrivals["largest_gap_s"] == pytest.approx(217, abs=1)
    assert (round(facts["input_tokens"]["mean"]), facts["input_tokens"]["p50"]) == (2048, 1469)
    assert facts["output_tokens"]["mean"] == pytest.approx(27.9, abs=0.05)
    assert facts["output_tokens"]["p50"] == 13


def test_mooncake_conversation(capsys):
    facts = info(capsys, published("mooncake_conversation_trace.jsonl"))
    assert facts["rows"] == 12_031
    assert facts["arrivals"]["span_s"] == pytest.approx(3537, abs=1)
    assert facts["arrivals"]["stamp_unit_ns"] == 1_000_000
    assert facts["arrivals"]["median_gap_s"] == pytest.approx(3.0, abs=0.01)
    assert round(facts["input_tokens"]["mean"]) == 12_035
    prefixes = facts["prefixes"]
    assert prefixes["block_tokens"] == 512 and prefixes["ids_name_prefixes"]
    assert prefixes["hit_share"] == pytest.approx(0.366, abs=0.0005)
