"""Every experiment can be run, differs in what it says, and claims what is measured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from engines.capabilities import DeviceFacts, resolve
from engines.models.source import model_shape
from engines.sizing import scheduler_config
from workbench.cli.lab import runnable
from workbench.cli.main import main
from workbench.comparison.compared_metrics import metrics_of
from workbench.comparison.gate import parse_condition
from workbench.errors import EXIT_BAD_USE, SpecError
from workbench.lab.catalogue import chosen, experiments
from workbench.lab.experiment import Device, Experiment
from workbench.lab.plan import plan_of
from workbench.launch.command_line import command_line
from workbench.runs.folder import RunFolder

DEVICES: tuple[Device, ...] = ("cpu", "cuda")
CASES = [
    pytest.param(each, device, id=f"{each.name}-{device}")
    for each in experiments()
    for device in DEVICES
    if each.runs_on(device)
]
GPU_ONLY = (
    "cuda-graphs", "overlap", "attention-backend", "fused-kernels", "fp8-weights", "fp8-kv",
)  # fmt: skip


def keys(data: Mapping[str, Any]) -> Iterator[str]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from (f"{key}.{name}" for name in value)
        else:
            yield key


def values(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: data[name] if "." not in name else data[name.split(".")[0]][name.split(".")[1]]
        for name in keys(data)
    }


@pytest.mark.parametrize(("experiment", "device"), CASES)
def test_only_what_is_declared_differs(experiment: Experiment, device: Device) -> None:
    plan, setup = plan_of(experiment, device, {}), experiment.setup(device)
    declared = {
        *keys(experiment.baseline.spec), *keys(experiment.optimised.spec),
        *keys(setup.baseline), *keys(setup.optimised), "name",
    }  # fmt: skip
    one, two = (values(spec.as_dict()) for spec in plan.specs)
    differing = {key for key in one if one[key] != two[key]}
    assert differing <= declared
    assert differing - {"name"}, "both sides are the same"
    assert not any(key.startswith(("traffic", "trace", "sampling", "seed")) for key in differing)


@pytest.mark.parametrize(("experiment", "device"), CASES)
def test_both_sides_are_offered_a_load_that_is_known_before(
    experiment: Experiment, device: Device
) -> None:
    for spec in plan_of(experiment, device, {}).specs:
        assert spec.traffic.concurrency or spec.traffic.rate != "auto"
        assert spec.traffic.duration is not None
        least_s = 5 if device == "cpu" else 1  # hundreds of steps on a GPU
        assert least_s <= spec.traffic.warmup_s < spec.traffic.duration_s / 2
        assert command_line(spec).needs_spec == ()


@pytest.mark.parametrize(("experiment", "device"), CASES)
def test_the_engine_takes_both_sides_and_every_request_fits(
    experiment: Experiment, device: Device
) -> None:
    model = "random:llama-3.1-8b" if device == "cuda" else "smollm2-135m-instruct"
    for name in (model, "smollm2-135m-instruct"):
        config, _ = model_shape(name)
        for spec in plan_of(experiment, device, {}).specs:
            limits = scheduler_config(spec.engine_options(), config, device)
            traffic = spec.traffic
            longest = longest_of(traffic.input_tokens) + longest_of(traffic.output_tokens)
            if traffic.documents:
                longest += longest_of(traffic.document_tokens)
            assert longest <= limits.max_model_len


def longest_of(tokens: str | None) -> int:
    assert tokens is not None, "lengths are the experiment's own"
    return int(tokens.rpartition("..")[2])


@pytest.mark.parametrize(("experiment", "device"), CASES)
def test_claims_are_of_metrics_that_a_run_has(
    experiment: Experiment, device: Device, recorded: RunFolder
) -> None:
    known = {metric.name for metric in metrics_of([recorded.read()["summary"]])}
    claims = experiment.setup(device).claims
    assert claims
    for claim in claims:
        condition = parse_condition(claim)
        assert condition.metric in known
        assert condition.kind == "relative"


def test_names_are_unique_words_and_everything_has_a_source() -> None:
    names = [each.name for each in experiments()]
    assert len(set(names)) == len(names) and "all" not in names
    for each in experiments():
        assert each.name.replace("-", "").isalnum()
        assert each.source and each.claim and each.baseline.label != each.optimised.label


def test_experiments_are_chosen_by_name_each_once() -> None:
    found = chosen(["batch-size", "telemetry", "batch-size"])
    assert [each.name for each in found] == ["batch-size", "telemetry"]
    assert chosen(["telemetry", "all"]) == experiments()


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(SpecError, match="did you mean 'prefix-caching'"):
        chosen(["prefix-cache"])


def test_flags_are_laid_over_both_sides() -> None:
    given = {
        "seed": 7,
        "model": {"name": "random:qwen3-0.6b", "dtype": "bfloat16"},
        "traffic": {"concurrency": 3, "duration": "9s"},
    }
    plan = plan_of(chosen(["prefix-caching"])[0], "cuda", given, 2)
    for spec in plan.specs:
        assert spec.seed == 7 and spec.model.name == "random:qwen3-0.6b"
        assert spec.model.device == "cuda" and spec.model.dtype == "bfloat16"
        assert spec.traffic.concurrency == 3 and spec.traffic.rate == "auto"
        # The experiment's own warm-up was of its own duration.
        assert spec.traffic.duration == 9 and spec.traffic.warmup is None
    assert plan.settings[0]["traffic"]["duration"] == 9
    assert plan.settings[0]["engine"] == {"prefix_caching": False}
    assert not {"model", "seed", "name"} & set(plan.settings[0])


def test_a_rate_that_each_side_would_measure_for_itself_is_refused() -> None:
    with pytest.raises(SpecError, match="--rate auto: both sides must be offered the same"):
        plan_of(experiments()[0], "cpu", {"traffic": {"rate": "auto"}})


def test_impossible_values_are_refused_before_anything_runs() -> None:
    with pytest.raises(SpecError, match=r"traffic\.duration"):
        plan_of(experiments()[0], "cpu", {"traffic": {"duration": "-3"}})


def test_what_is_about_a_gpu_is_refused_on_a_cpu() -> None:
    assert tuple(each.name for each in experiments() if not each.runs_on("cpu")) == GPU_ONLY
    for experiment in chosen(list(GPU_ONLY)):
        with pytest.raises(SpecError, match=f"^{experiment.name} needs a GPU.*--device cuda$"):
            plan_of(experiment, "cpu", {})


def test_switches_have_a_model_of_their_own_unless_one_is_given() -> None:
    graphs, fp8 = chosen(["cuda-graphs", "fp8-weights"])
    assert plan_of(graphs, "cuda", {}).specs[0].model.name == "random:qwen3-0.6b"
    assert plan_of(fp8, "cuda", {}).specs[1].model.name == "random:llama-3.1-8b"
    given = {"model": {"name": "random:qwen3-8b"}}
    assert plan_of(fp8, "cuda", given).specs[1].model.name == "random:qwen3-8b"


def test_a_switch_of_the_model_is_among_the_settings_and_the_model_is_not() -> None:
    plan = plan_of(chosen(["fp8-weights"])[0], "cuda", {})
    assert [each["model"] for each in plan.settings] == [
        {"quantization": "none"},
        {"quantization": "fp8"},
    ]
    assert "model" not in plan_of(chosen(["overlap"])[0], "cuda", {}).settings[0]


@pytest.mark.parametrize("experiment", chosen(list(GPU_ONLY)), ids=GPU_ONLY)
def test_a_hopper_gpu_can_run_both_sides_and_only_one_part_differs(experiment: Experiment) -> None:
    facts = DeviceFacts("cuda", "NVIDIA H200", (9, 0), frozenset({"triton"}))
    parts = []
    for spec in plan_of(experiment, "cuda", {}).specs:
        config, _ = model_shape(spec.model.name)
        parts.append(asdict(resolve(spec.engine_options(), config, facts)))
    baseline, optimised = parts
    assert sum(baseline[name] != optimised[name] for name in baseline) == 1


def test_all_leaves_out_on_a_cpu_what_needs_a_gpu_and_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = runnable(["all"], "cpu")
    assert not {each.name for each in found} & set(GPU_ONLY) and len(found) == 6
    said = capsys.readouterr().err.splitlines()
    assert said == [f"workbench lab: {name}: left out, it needs a GPU" for name in GPU_ONLY]
    assert len(runnable(["all"], "cuda")) == 12
    assert [each.name for each in runnable(["overlap"], "cpu")] == ["overlap"]


def test_a_named_one_is_refused_before_anything_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    assert main(["lab", "run", "telemetry", "overlap", "--device", "cpu"]) == EXIT_BAD_USE
    assert "overlap needs a GPU, and this is a CPU" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_list_has_them_on_a_cpu_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["lab", "list", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert said.count("needs a GPU") == len(GPU_ONLY)
    assert "--graphs --model random:qwen3-0.6b --device cuda" in said
    assert main(["lab", "list", "--device", "cpu", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["experiments"]
    assert tuple(each["name"] for each in listed if each["needs_gpu"]) == GPU_ONLY
