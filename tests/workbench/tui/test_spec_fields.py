"""A spec as the texts of a form, and back."""

from __future__ import annotations

import pytest

from workbench.flags import all_flags
from workbench.spec import RunSpec, parse_spec
from workbench.tui.widgets.spec_fields import (
    Problem,
    beside_the_form,
    form_sections,
    read_form,
    texts_of,
)

FIELDS = {field.name: field for fields in form_sections().values() for field in fields}


def read(texts, beside=None):
    return read_form(texts, FIELDS, beside or {})


def test_every_flag_has_a_field():
    assert set(all_flags()) == {field.flag for field in FIELDS.values()} - {None}


def test_an_empty_form_is_the_default_spec():
    assert read({}) == RunSpec()
    texts = texts_of(RunSpec(), iter(FIELDS.values()))
    assert read(texts) == RunSpec()
    assert texts["workload"] == "chat" and texts["rate"] == "" and texts["prefix-caching"] == "on"


@pytest.mark.parametrize(
    "data",
    [
        {
            "traffic": {"workload": "code", "rate": 2.5, "duration": "2m", "warmup": 3},
            "slo": {"ttft": 500, "tpot": 33.3, "e2e": 20_000, "require_attainment": 0.9},
            "engine": {"prefix_caching": False, "kv_memory": "1.5GiB", "max_num_seqs": 8},
        },
        {
            "trace": {
                "file": "/traces/a b.csv",
                "speed": 2,
                "window": "10m..20m",
                "skip_bad": True,
            },
            "traffic": {"arrival": "gamma", "burstiness": 0.5, "rate": 3},
        },
        {
            "target": {
                "url": "http://127.0.0.1:8000/v1",
                "model": "big",
                "http2": True,
                "extra_body": {"n": 1},
                "stall_timeout": 5,
            },
            "traffic": {"concurrency": 8, "think": 1.5, "calibration": 2},
            "record": {"flush": 1},
            "model": {"weights_seed": 3},
        },
        {"name": "a b", "seed": 7, "profile": "none", "sampling": {"top_p": 0.9}},
        {
            "engine": {"cuda_graphs": False, "overlap": True, "attention": "triton"},
            "model": {"quantization": "fp8"},
        },
    ],
)
def test_a_spec_comes_back_from_its_texts(data):
    spec = parse_spec(data, "test")
    texts = texts_of(spec, iter(FIELDS.values()))
    assert read(texts, beside_the_form(spec, iter(FIELDS.values()))) == spec


def test_only_what_no_field_shows_is_kept_beside():
    spec = parse_spec({"seed": 3, "record": {"flush": 1}, "traffic": {"rate": 2}}, "test")
    assert beside_the_form(spec, iter(FIELDS.values())) == {"record": {"flush": 1.0}}


def test_a_switch_that_may_be_left_open_is_a_choice_of_three():
    for name in ("graphs", "overlap"):
        field = FIELDS[name]
        assert field.kind == "choice"
        assert field.choices == (("", "where possible"), ("on", "on"), ("off", "off"))
    assert texts_of(RunSpec(), iter(FIELDS.values()))["graphs"] == ""
    assert read({"graphs": ""}) == RunSpec()
    assert read({"graphs": "off"}).engine.cuda_graphs is False
    assert read({"overlap": "on"}).engine.overlap is True


def test_units_are_understood():
    spec = read({"duration": "2m", "ttft": "0.5s", "tpot": "50", "kv-memory": "2GiB"})
    assert spec.traffic.duration == 120 and spec.engine.kv_memory == 2 << 30
    assert spec.slo.limits == {"ttft": 500, "tpot": 50}


@pytest.mark.parametrize(
    ("texts", "field", "message"),
    [
        ({"rate": "fast"}, "rate", "a number of requests per second, or auto"),
        ({"concurrency": "two"}, "concurrency", "'two' is not a whole number"),
        ({"concurrency": "2", "rate": "3"}, "rate", "give either a rate"),
        ({"max-num-seqs": "0"}, "max-num-seqs", "greater than or equal to 1"),
        ({"warmup": "30", "duration": "20"}, "warmup", "leaves nothing of duration"),
        ({"ttft": "soon"}, "ttft", "'soon' is not a number with a unit"),
        ({"require-attainment": "0.9"}, "require-attainment", "needs a limit"),
        ({"target": "ftp:"}, "target", "is no http:// or https:// URL"),
        ({"target": "http://host/v1"}, "rate", "capacity isn't measured"),
        ({"api": "chat"}, "api", "no url is given"),
        ({"speed": "2"}, "trace", "but no file"),
        ({"name": "a/b"}, "name", "pattern"),
        ({"graphs": "on", "device": "cpu"}, "graphs", "needs a CUDA device"),
        ({"quantization": "fp8", "dtype": "float32"}, "quantization", "come out in bfloat16"),
        ({"modulation": "wild"}, "modulation", "unknown modulation 'wild'"),
    ],
)
def test_a_mistake_is_said_at_its_field(texts, field, message):
    problem = read(texts)
    assert isinstance(problem, Problem)
    assert problem.field == field
    assert message in problem.message


def test_a_field_that_is_left_empty_says_what_holds():
    said = {name: field.placeholder for name, field in FIELDS.items() if field.kind == "text"}
    assert "" not in said.values() and "–" not in said.values()
    assert said["ttft"] == said["trace"] == said["concurrency"] == "none"
    assert said["kv-memory"] == "default" and said["block-size"] == "16"
    assert said["input-tokens"] == "the workload's"
