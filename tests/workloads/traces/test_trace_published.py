"""The published traces, against the figures that their publishers and others give."""

from pathlib import Path

import numpy as np
import pytest

from workloads.traces.detect import detect_format
from workloads.traces.formats import read_trace
from workloads.traces.native import write_native

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def published(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not beside this checkout")
    return path


def test_azure_conversations():
    trace = read_trace(published("traces/AzureLLMInferenceTrace_conv.csv"))
    assert (trace.format, len(trace)) == ("azure", 19_366)
    assert trace.origin == "2023-11-16 18:15:46.6805900"
    assert trace.arrival_ns[-1] == 3_501_721_937_000
    assert trace.input_tokens.mean() == pytest.approx(1155, abs=0.5)
    assert np.median(trace.input_tokens) == 1020
    assert trace.output_tokens.mean() == pytest.approx(211, abs=0.5)
    assert np.median(trace.output_tokens) == 129


def test_azure_code():
    trace = read_trace(published("traces/AzureLLMInferenceTrace_code.csv"))
    assert len(trace) == 8_819
    assert trace.arrival_ns[-1] / 1e9 == pytest.approx(3436, abs=0.5)
    assert trace.input_tokens.mean() == pytest.approx(2048, abs=0.5)
    assert np.median(trace.input_tokens) == 1469
    assert trace.output_tokens.mean() == pytest.approx(27.9, abs=0.05)
    assert np.median(trace.output_tokens) == 13
    gaps = np.diff(trace.arrival_ns)
    assert gaps.std() / gaps.mean() == pytest.approx(13.15, abs=0.005)
    assert gaps.max() / 1e9 == pytest.approx(217, abs=0.5)


def test_mooncake_conversations(tmp_path):
    trace = read_trace(published("traces/mooncake_conversation_trace.jsonl"))
    assert (trace.format, len(trace)) == ("mooncake", 12_031)
    assert trace.arrival_ns[-1] / 1e9 == pytest.approx(3537, abs=1)
    assert trace.input_tokens.mean() == pytest.approx(12_035, abs=0.5)
    blocks = np.diff(trace.prefixes.offsets)
    assert (blocks == -(-trace.input_tokens // 512)).all()
    # Every id after its first appearance is a hit of a cache that forgets nothing.
    ids = trace.prefixes.hash_ids
    assert 1 - len(np.unique(ids)) / len(ids) == pytest.approx(0.366, abs=0.0005)
    write_native(trace, tmp_path / "native")
    again = read_trace(tmp_path / "native")
    assert (again.arrival_ns == trace.arrival_ns).all()
    assert (again.prefixes.hash_ids == ids).all()


def test_files_of_texts_are_known_as_such():
    assert detect_format(published("prompts/spec_bench_question.jsonl")) == "text"
    assert detect_format(published("prompts/taubench_airline_gpt4o_sessions.jsonl")) == "text"
