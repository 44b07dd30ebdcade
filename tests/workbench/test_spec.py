import pytest

from workbench.errors import SpecError
from workbench.spec import RunSpec, parse_slo, parse_spec, read_spec
from workbench.units import seconds, size_bytes


def test_the_default_spec_is_the_main_job():
    spec = RunSpec()
    assert spec.traffic.workload == "chat"
    assert spec.traffic.rate == "auto"
    assert spec.traffic.duration_s == 120
    assert spec.traffic.warmup_s == 10
    assert spec.model.name == "smollm2-135m-instruct"


def test_a_spec_survives_its_own_toml(tmp_path):
    spec = parse_spec(
        {
            "name": "night",
            "seed": 7,
            "traffic": {"workload": "code", "rate": 2.5, "duration": "2m"},
            "slo": {"ttft": "500ms", "require_attainment": 0.9},
            "engine": {"chunked_prefill": False, "kv_memory": "1GiB"},
        },
        "test",
    )
    path = tmp_path / "spec.toml"
    path.write_text(spec.as_toml())
    assert parse_spec(read_spec(path), "test") == spec
    assert spec.traffic.duration == 120
    assert spec.slo.ttft == 500
    assert spec.engine.kv_memory == 1 << 30


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"trafic": {}}, "unknown key 'trafic'; did you mean 'traffic'?"),
        (
            {"engine": {"block_sise": 8}},
            "unknown key 'engine.block_sise'; did you mean 'block_size'",
        ),
        ({"engine": {"name": "speculativ"}}, "engine.name: unknown engine 'speculativ'"),
        ({"traffic": {"workload": "caht"}}, "choose one of chat"),
        ({"traffic": {"arrival": "poison"}}, "choose one of poisson"),
        ({"traffic": {"rate": 0}}, "traffic.rate"),
        ({"traffic": {"rate": -1.0}}, "traffic.rate"),
        ({"traffic": {"rate": float("nan")}}, "traffic.rate"),
        ({"traffic": {"duration": -5}}, "traffic.duration = -5"),
        ({"traffic": {"duration": "two minutes"}}, "not a number with a unit"),
        ({"traffic": {"duration": 5, "warmup": 5}}, "leaves nothing of duration"),
        ({"traffic": {"concurrency": 4, "rate": 1.0}}, "either a rate"),
        ({"traffic": {"burstiness": 2.0}}, "belongs to arrival gamma"),
        ({"slo": {"require_attainment": 0.9}}, "needs a limit"),
        ({"slo": {"ttft": 0}}, "slo.ttft"),
        ({"model": {"device": "gpu"}}, "unknown device 'gpu'"),
        ({"engine": {"attention": "flash"}}, "engine.attention: unknown attention 'flash'"),
        ({"model": {"quantization": "int4"}}, "unknown quantization 'int4'"),
        (
            {"model": {"device": "cpu"}, "engine": {"cuda_graphs": True}},
            "--graphs needs a CUDA device",
        ),
        (
            {"engine": {"attention": "reference", "cuda_graphs": True}},
            "--graphs: a step is captured with --attention triton alone",
        ),
        ({"seed": -1}, "seed = -1"),
        ({"name": "a/b"}, "name"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(data, message):
    with pytest.raises(SpecError) as error:
        parse_spec(data, "spec night.toml")
    assert message in str(error.value)
    assert str(error.value).startswith("spec night.toml: ")
    assert "\n" not in str(error.value)


def test_a_broken_spec_file_says_where(tmp_path):
    path = tmp_path / "spec.toml"
    with pytest.raises(SpecError, match="No such file"):
        read_spec(path)
    path.write_text("seed = 1\ntraffic = [\n")
    with pytest.raises(SpecError, match=r"line 3|end of document"):
        read_spec(path)
    path.write_bytes(b"name = '\xff'")
    with pytest.raises(SpecError, match="UTF-8 at byte 8"):
        read_spec(path)


def test_slo_limits_are_milliseconds():
    assert parse_slo("ttft=500ms,tpot=0.05s") == {"ttft": 500, "tpot": pytest.approx(50)}
    assert parse_slo("e2e=10s") == {"e2e": 10_000}
    assert parse_slo("itl=80") == {"itl": 80}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tftt=500ms", "did you mean 'ttft'"),
        ("ttft", "has no limit"),
        ("ttft=fast", "not a number"),
        ("ttft=5,ttft=6", "given twice"),
        ("ttft=-5ms", "above 0"),
        ("ttft=5parsec", "unknown unit 'parsec'"),
    ],
)
def test_slo_typos_are_named(text, message):
    with pytest.raises(SpecError, match=message):
        parse_slo(text)


def test_units():
    assert seconds("1.5m") == 90
    assert seconds("250ms") == 0.25
    assert seconds(3) == 3
    assert size_bytes("2GiB") == 2 << 30
    assert size_bytes("1e9") == 10**9
    with pytest.raises(SpecError):
        size_bytes("2 parsecs")
    with pytest.raises(SpecError):
        seconds(float("inf"))


def test_switches_of_the_engine_are_open_until_they_are_given():
    options = RunSpec().engine_options()
    assert (options.attention, options.kernels, options.kv_dtype) == ("auto", "auto", "auto")
    assert options.cuda_graphs is None and options.overlap is None
    data = {
        "engine": {"attention": "triton", "kernels": "fused", "cuda_graphs": True,
                   "overlap": False, "kv_dtype": "fp8"},
        "model": {"quantization": "fp8-tensorwise"},
    }  # fmt: skip
    options = parse_spec(data, "test").engine_options()
    assert (options.attention, options.kernels, options.kv_dtype) == ("triton", "fused", "fp8")
    assert options.cuda_graphs is True and options.overlap is False
    assert options.quantization == "fp8-tensorwise"
