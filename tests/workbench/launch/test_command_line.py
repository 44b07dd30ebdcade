"""A spec as the command that does the same: what is said, what is not, and the way back."""

from __future__ import annotations

import argparse
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.cli.run import add_arguments, spec_from
from workbench.errors import SpecError
from workbench.launch.command_line import command_line
from workbench.sections import SLO_METRICS
from workbench.spec import RunSpec, parse_spec

SECONDS = st.floats(0.001, 1e5, allow_nan=False)
WHOLE = st.integers(1, 1_000_000)
LENGTHS = st.one_of(WHOLE.map(str), st.tuples(WHOLE, WHOLE).map(lambda p: f"{min(p)}..{max(p)}"))
SHARE = st.floats(0.001, 1.0)


def some(**fields):
    return st.fixed_dictionaries({}, optional=fields)


OPEN = some(
    rate=st.one_of(st.just("auto"), st.floats(0.001, 1e6)),
    share=SHARE,
    arrival=st.sampled_from(["poisson", "constant"]),
    modulation=st.sampled_from(["square:period=30s,high=3,duty=0.2", "ramp:from=0.2,to=2"]),
)
GAMMA = st.fixed_dictionaries({"arrival": st.just("gamma"), "burstiness": SHARE})
CLOSED = st.fixed_dictionaries(
    {"concurrency": WHOLE},
    optional={"think": SECONDS, "think_kind": st.sampled_from(["exponential", "constant"])},
)
OTHER_TRAFFIC = some(
    workload=st.sampled_from(["chat", "code", "rag", "agent"]),
    duration=SECONDS,
    drain=SECONDS,
    input_tokens=LENGTHS,
    output_tokens=LENGTHS,
    shared_prefix_tokens=st.integers(0, 5000),
    documents=WHOLE,
    document_zipf=st.floats(0, 3),
    gap_scale=st.floats(0, 100),
    cancel_share=st.floats(0, 1),
    cancel_after=SECONDS,
)
TRAFFIC = st.tuples(st.one_of(OPEN, GAMMA, CLOSED), OTHER_TRAFFIC).map(lambda p: p[0] | p[1])
ENGINE = some(
    block_size=WHOLE,
    num_blocks=st.integers(2, 1 << 40),
    kv_memory=st.one_of(st.integers(1, 1 << 50), st.integers(1, 64).map(lambda n: n << 30)),
    max_num_seqs=WHOLE,
    max_num_batched_tokens=WHOLE,
    max_model_len=st.integers(2, 1 << 20),
    chunked_prefill=st.booleans(),
    prefix_caching=st.booleans(),
    policy=st.sampled_from(["fcfs", "priority"]),
    batching=st.sampled_from(["continuous", "static"]),
    attention=st.sampled_from(["reference", "triton", "flashinfer"]),
    kernels=st.sampled_from(["reference", "fused"]),
    cuda_graphs=st.booleans(),
    overlap=st.booleans(),
    kv_dtype=st.sampled_from(["auto", "fp8"]),
)
SLO = st.dictionaries(
    st.sampled_from(SLO_METRICS), st.sampled_from([0.5, 7.0, 50, 70, 333, 500, 1500, 2e3, 12345.6])
)
DATA = st.fixed_dictionaries(
    {
        "traffic": st.tuples(st.one_of(OPEN, GAMMA, CLOSED), OTHER_TRAFFIC).map(
            lambda p: p[0] | p[1]
        ),
        "engine": ENGINE,
        "slo": SLO,
        "model": some(
            name=st.text(min_size=1),
            device=st.sampled_from(["cpu", "cuda"]),
            dtype=st.sampled_from(["float32", "bfloat16"]),
            quantization=st.sampled_from(["none", "fp8", "fp8-tensorwise"]),
            threads=WHOLE,
        ),
        "sampling": some(
            temperature=st.floats(0, 2), top_k=WHOLE, top_p=SHARE, ignore_eos=st.booleans()
        ),
        "trace": st.one_of(
            st.just({}),
            st.fixed_dictionaries(
                {"file": st.sampled_from(["/traces/a b.csv", "/traces/x.jsonl"])},
                optional={
                    "speed": SHARE,
                    "window": st.just("10m..20m"),
                    "limit": WHOLE,
                    "skip_bad": st.booleans(),
                },
            ),
        ),
    },
    optional={
        "name": st.from_regex(r"[\w .:+-]{0,20}", fullmatch=True),
        "seed": st.integers(0, (1 << 63) - 1),
        "profile": st.sampled_from(["none", "minimal"]),
    },
)


def parsed(words):
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser)
    return spec_from(parser.parse_args(words))


@settings(max_examples=150, deadline=None)
@given(DATA)
def test_the_command_means_the_same_spec(data):
    try:
        spec = parse_spec(data, "test")
    except SpecError:
        return
    command = command_line(spec)
    assert command.needs_spec == ()
    assert parsed(shlex.split(command.text)[2:]) == spec


def test_only_what_differs_from_the_defaults_is_said():
    assert command_line(RunSpec()).text == "workbench run --workload chat"
    spec = parse_spec(
        {
            "traffic": {"workload": "code", "rate": 2, "duration": "2m"},
            "engine": {"prefix_caching": False, "kv_memory": "2GiB"},
            "slo": {"ttft": 500, "tpot": "50ms", "e2e": 20_000, "require_attainment": 0.9},
        },
        "test",
    )
    assert command_line(spec).text == (
        "workbench run --workload code --rate 2 --duration 120 --kv-memory 2GiB "
        "--no-prefix-caching --require-attainment 0.9 --slo ttft=500ms,tpot=50ms,e2e=20s"
    )


def test_switches_of_the_engine_are_said_in_either_way():
    engine = {
        "attention": "triton", "cuda_graphs": False, "overlap": True, "kv_dtype": "fp8",
    }  # fmt: skip
    spec = parse_spec({"engine": engine, "model": {"quantization": "fp8"}}, "test")
    assert command_line(spec).text == (
        "workbench run --workload chat --attention triton --no-graphs --overlap "
        "--kv-cache-dtype fp8 --quantization fp8"
    )


def test_a_trace_takes_the_place_of_the_workload():
    spec = parse_spec({"trace": {"file": "/traces/a b.csv", "speed": 2}}, "test")
    assert command_line(spec, ("bench",)).text == "bench --trace '/traces/a b.csv' --speed 2"


def test_a_server_is_said_with_its_options():
    target = {"url": "http://127.0.0.1:8000/v1", "model": "big one", "http2": True}
    spec = parse_spec({"target": target, "traffic": {"rate": 4}}, "test")
    assert command_line(spec).text == (
        "workbench run --workload chat --rate 4 --target http://127.0.0.1:8000/v1 "
        "--target-model 'big one' --http2"
    )


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        ({"record": {"flush": 1, "fsync": "never"}}, ("record.flush", "record.fsync")),
        ({"model": {"weights_seed": 3}}, ("model.weights_seed",)),
        (
            {
                "target": {"url": "http://host/v1", "extra_body": {"n": 1}, "stall_timeout": 5},
                "traffic": {"rate": 1, "calibration": 2},
            },
            ("target.extra_body", "target.stall_timeout", "traffic.calibration"),
        ),
    ],
)
def test_what_no_flag_says_is_named(data, keys):
    assert sorted(command_line(parse_spec(data, "test")).needs_spec) == sorted(keys)


def test_a_limit_that_no_text_says_exactly_needs_a_spec_file():
    said = [command_line(parse_spec({"slo": {"itl": n * 0.1}}, "test")) for n in range(1, 2000)]
    for number, command in enumerate(said, 1):
        if command.needs_spec:
            assert command.needs_spec == ("slo.itl",)
        else:
            assert parsed(list(command.argv[2:])).slo.itl == number * 0.1
