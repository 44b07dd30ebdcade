"""Every experiment can be run, differs in what it says, and claims what is measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from engines.models.source import model_shape
from engines.sizing import scheduler_config
from workbench.comparison.compared_metrics import metrics_of
from workbench.comparison.gate import parse_condition
from workbench.errors import SpecError
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
]


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
        assert 5 <= spec.traffic.warmup_s < spec.traffic.duration_s / 2
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
