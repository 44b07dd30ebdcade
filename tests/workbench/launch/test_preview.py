"""What a spec would send, told before anything is started."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from workbench.launch import preview as module
from workbench.launch.preview import SAMPLE_REQUESTS, preview
from workbench.spec import parse_spec
from workloads.errors import WorkloadError


def previewed(**data):
    return preview(parse_spec(data, "test"))


def test_a_workload_shows_its_published_lengths():
    lengths = previewed(traffic={"workload": "chat"}).lengths
    assert len(lengths.input_tokens) == len(lengths.output_tokens) == SAMPLE_REQUESTS
    assert lengths.what == "chat"
    assert lengths.input_figures.p50 == pytest.approx(1020, rel=0.1)
    assert lengths.input_figures.mean == pytest.approx(1155, rel=0.1)
    assert lengths.output_figures.p50 == pytest.approx(129, rel=0.1)


def test_asked_lengths_and_prefixes_take_the_place_of_the_workloads():
    traffic = {"input_tokens": "100..200", "output_tokens": 7, "shared_prefix_tokens": 1000}
    lengths = previewed(traffic=traffic).lengths
    assert lengths.input_tokens.min() >= 1100 and lengths.input_tokens.max() <= 1200
    assert set(lengths.output_tokens.tolist()) == {7}


def test_documents_are_part_of_the_prompts():
    traffic = {"input_tokens": 10, "documents": 4, "document_tokens": "500"}
    assert previewed(traffic=traffic).lengths.input_tokens.min() == 510


def test_arrivals_come_at_the_rate():
    arrivals = previewed(traffic={"rate": 50, "duration": 60}).arrivals
    assert not arrivals.shape_only
    assert arrivals.begins == "requests"
    assert arrivals.per_s.mean() == pytest.approx(50, rel=0.1)
    assert arrivals.middle_s[0] == 0.5 and arrivals.middle_s[-1] == 59.5


def test_where_the_rate_is_measured_only_the_shape_is_told():
    traffic = {"arrival": "constant", "duration": 120, "modulation": "ramp:from=0,to=2"}
    arrivals = previewed(traffic=traffic).arrivals
    assert arrivals.shape_only
    assert "ramp" in arrivals.said
    assert arrivals.per_s[:20].mean() < 0.5 < 1.4 < arrivals.per_s[-20:].mean()


def test_of_conversations_it_is_their_beginnings_that_arrive():
    arrivals = previewed(traffic={"workload": "agent", "rate": 124, "duration": 60}).arrivals
    assert arrivals.begins == "conversations"
    assert arrivals.per_s.mean() == pytest.approx(10, rel=0.15)


def test_very_many_arrivals_are_counted_from_fewer():
    arrivals = previewed(traffic={"rate": 1e6, "duration": "1h"}).arrivals
    assert arrivals.per_s.mean() == pytest.approx(1e6, rel=0.05)


def test_a_closed_loop_has_no_arrivals_to_tell():
    shown = previewed(traffic={"concurrency": 8})
    assert shown.arrivals is None
    assert shown.notes == ("Closed loop of 8: requests come as answers end.",)


def test_a_rate_file_has_the_rates(tmp_path):
    path = tmp_path / "rates.csv"
    path.write_text("0,20\n60,0\n")
    arrivals = previewed(traffic={"rate_file": str(path), "duration": 120}).arrivals
    assert not arrivals.shape_only
    assert arrivals.per_s[:30].mean() == pytest.approx(20, rel=0.3)


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "t.jsonl"
    rows = [
        {"timestamp": 500 * i, "input_length": 100 + i, "output_length": 5, "hash_ids": [i]}
        for i in range(100)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_trace_is_replayed_at_its_own_stamps(trace):
    shown = previewed(trace={"file": trace})
    assert shown.lengths.what == "t.jsonl"
    assert shown.lengths.input_figures.p50 == pytest.approx(149.5)
    assert shown.arrivals.said == "its own stamps"
    assert shown.arrivals.duration_s == 49.5
    assert shown.arrivals.per_s.sum() * 49.5 / 60 == pytest.approx(100)
    assert shown.notes == ()


def test_speed_limit_and_duration_of_a_trace_count(trace):
    shown = previewed(trace={"file": trace, "speed": 2, "limit": 41}, traffic={"duration": 5})
    assert len(shown.lengths.input_tokens) == 41
    assert shown.arrivals.said == "its own stamps, 2 x"
    assert shown.arrivals.duration_s == 4.75


def test_a_trace_at_a_rate_is_drawn_anew(trace):
    arrivals = previewed(trace={"file": trace}, traffic={"rate": 30}).arrivals
    assert arrivals.said == "poisson"
    assert arrivals.per_s.mean() == pytest.approx(30, rel=0.1)


def test_of_a_long_trace_only_the_beginning_is_read(trace, monkeypatch):
    monkeypatch.setattr(module, "TRACE_ROWS", 10)
    shown = previewed(trace={"file": trace})
    assert len(shown.lengths.input_tokens) == 10
    assert shown.notes == ("Only its first 10 requests were read for this preview.",)
    assert previewed(trace={"file": trace, "limit": 10}).notes == ()


def test_the_lengths_of_texts_wait_for_a_tokenizer(tmp_path):
    path = tmp_path / "asked.jsonl"
    path.write_text('{"prompt": "why?"}\n')
    shown = previewed(trace={"file": str(path)}, traffic={"rate": 2})
    assert shown.lengths is None
    assert "tokenizer" in shown.notes[0]
    assert shown.arrivals.shape_only


def test_a_file_that_is_not_there_is_said():
    with pytest.raises(WorkloadError, match="nowhere"):
        previewed(trace={"file": "/nowhere.csv"})


def test_the_same_spec_has_the_same_preview():
    first, again = (previewed(traffic={"workload": "code"}, seed=4) for _ in range(2))
    assert np.array_equal(first.lengths.input_tokens, again.lengths.input_tokens)
    assert np.array_equal(first.arrivals.per_s, again.arrivals.per_s)


def test_nothing_heavy_is_imported():
    code = (
        "import sys\n"
        "from workbench.launch.fit import estimate_fit\n"
        "from workbench.launch.preview import preview\n"
        "from workbench.launch.command_line import command_line\n"
        "from workbench.launch.recent import recent_specs\n"
        "from workbench.spec import RunSpec\n"
        "spec = RunSpec()\n"
        "estimate_fit(spec, preview(spec).lengths), command_line(spec)\n"
        "heavy = {'torch', 'polars', 'plotext', 'textual'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
