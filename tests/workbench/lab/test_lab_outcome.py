"""From runs to words: the table, the claims, what is recorded, and the check against it."""

from __future__ import annotations

import dataclasses
import io
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_up import Runs, experiment, plan
from rich.console import Console

from profiles.expected import read_expectations, write_expectation
from workbench.cli.main import main
from workbench.lab.execute import Execution, Interleaver
from workbench.lab.outcome import Outcome, outcome_of
from workbench.lab.report import as_json, report
from workbench.launch.interruption import Interruption
from workbench.runs.store import RunStore

KEY = "made-up-2c"
CLAIMS = ("ttft_p50 < -20%", "ttft_p99 > +50%", "output_throughput > -55.1%")


@pytest.fixture(scope="module")
def execution(tmp_path_factory: pytest.TempPathFactory, templates: Path) -> Execution:
    runs = Runs(tmp_path_factory.mktemp("runs"), templates)
    return Interleaver(plan(4, *CLAIMS), runs, lambda run: None, Interruption()).execute()


@pytest.fixture(scope="module")
def outcome(execution: Execution) -> Outcome:
    return outcome_of(execution, KEY, ())


def text_of(outcome: Outcome) -> str:
    out = io.StringIO()
    Console(file=out, width=100).print(report(outcome))
    return out.getvalue()


def test_claims_are_confirmed_refuted_or_not_shown(outcome: Outcome) -> None:
    verdicts = {claim.claim: claim.verdict for claim in outcome.claims}
    assert verdicts["ttft_p50 < -20%"] == "confirmed"
    assert verdicts["ttft_p99 > +50%"] == "refuted"
    assert outcome.refuted
    assert all("against heavy" in claim.sentence for claim in outcome.claims)


def test_the_report_has_figures_and_words(outcome: Outcome) -> None:
    shown = text_of(outcome)
    assert "heavy (baseline, 4 runs)" in shown and "light (4 runs)" in shown
    assert "TTFT p50, ms" in shown and "✓ better" in shown
    assert "✓ confirmed: ttft_p50 < -20%" in shown
    assert "✗ refuted: ttft_p99 > +50%" in shown
    assert "Expected on made-up-2c" in shown
    assert "not checked: nothing is recorded for this hardware, model and dtype" in shown


def test_what_is_measured_can_be_recorded_and_found_again(outcome: Outcome, tmp_path: Path) -> None:
    measured = outcome.measured
    assert measured is not None
    assert measured.identity == ("made-up", "made-up-135m", "float32")
    assert measured.command == "workbench lab run made-up --repeat 4"
    assert measured.settings["optimised"]["engine"] == {"policy": "priority"}
    ratio = measured.ratios["ttft_p50"]
    assert 0 < ratio.low < ratio.ratio < ratio.high < 0.8 and ratio.n == 4
    write_expectation(KEY, tmp_path, measured)
    (found,) = read_expectations(KEY, [tmp_path])
    assert found.ratios == measured.ratios and found.identity == measured.identity


def test_the_same_again_is_as_expected(execution: Execution, outcome: Outcome) -> None:
    assert outcome.measured is not None
    again = outcome_of(execution, KEY, (outcome.measured,))
    assert again.unchecked == "" and not again.drifted
    assert {drift.metric for drift in again.drifts} == set(outcome.measured.ratios)
    assert {drift.verdict for drift in again.drifts} <= {"as expected", "can't tell"}


def test_other_figures_than_recorded_are_a_drift(execution: Execution, outcome: Outcome) -> None:
    assert outcome.measured is not None
    ratio = outcome.measured.ratios["output_throughput"]
    other = dataclasses.replace(
        ratio, ratio=ratio.ratio * 9, low=ratio.low * 9, high=ratio.high * 9
    )
    was = dataclasses.replace(outcome.measured, ratios={"output_throughput": other})
    again = outcome_of(execution, KEY, (was,))
    assert again.drifted and "✗ drifted: output_throughput was" in text_of(again)


def test_what_was_recorded_of_other_settings_is_not_compared(
    execution: Execution, outcome: Outcome
) -> None:
    assert outcome.measured is not None
    settings = {
        side: {**data, "traffic": {**data["traffic"], "duration": 99.0}}
        for side, data in outcome.measured.settings.items()
    }
    again = outcome_of(execution, KEY, (dataclasses.replace(outcome.measured, settings=settings),))
    assert again.drifts == ()
    assert "baseline traffic.duration 20.0, recorded 99.0" in again.unchecked


def test_one_run_of_each_side_is_compared_but_not_recorded(tmp_path: Path, templates: Path) -> None:
    runner = Runs(tmp_path, templates)
    execution = Interleaver(plan(1, *CLAIMS), runner, lambda run: None, Interruption()).execute()
    outcome = outcome_of(execution, KEY, ())
    assert outcome.comparison is not None and len(outcome.claims) == 3
    assert outcome.measured is None


def test_without_a_complete_pair_nothing_is_compared(tmp_path: Path, templates: Path) -> None:
    runner = Runs(tmp_path, templates, failing=(0,))
    execution = Interleaver(plan(1), runner, lambda run: None, Interruption()).execute()
    outcome = outcome_of(execution, KEY, ())
    assert outcome.comparison is None and outcome.claims == ()
    assert "Nothing can be compared: too few runs finished." in text_of(outcome)
    assert "1 of 2 runs failed" in text_of(outcome)


def test_an_interrupted_experiment_needs_two_pairs(execution: Execution) -> None:
    one = dataclasses.replace(execution, runs=execution.runs[:2], ending="interrupted")
    two = dataclasses.replace(execution, runs=execution.runs[:4], ending="interrupted")
    assert outcome_of(one, KEY, ()).comparison is None
    assert outcome_of(two, KEY, ()).comparison is not None


def test_a_claim_on_a_figure_that_no_run_has_is_not_shown(execution: Execution) -> None:
    asked = dataclasses.replace(execution, plan=plan(4, "goodput > +10%"))
    (claim,) = outcome_of(asked, KEY, ()).claims
    assert claim.verdict == "not shown" and "no run has a figure of goodput" in claim.sentence


def test_the_outcome_is_plain_data(outcome: Outcome) -> None:
    data = json.loads(json.dumps(as_json(outcome), allow_nan=False))
    assert data["experiment"] == "made-up" and data["state"] == "finished"
    assert [side["label"] for side in data["sides"]] == ["heavy", "light"]
    assert [len(side["runs"]) for side in data["sides"]] == [4, 4]
    ttft = next(metric for metric in data["metrics"] if metric["metric"] == "ttft_p50")
    assert ttft["verdict"] == "better" and ttft["ratio"] < 1


# -- the command --------------------------------------------------------------------------------


@pytest.fixture
def lab(tmp_path: Path, templates: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The command with runs that are made up; the folder of the user's expectations."""
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("workbench.lab.catalogue.experiments", lambda: (experiment(CLAIMS[0]),))
    monkeypatch.setattr("workbench.lab.shelf.shipped_folder", lambda: tmp_path / "shipped")
    monkeypatch.setattr(
        "workbench.lab.execute.in_process",
        lambda *given: Runs(tmp_path / "home" / "runs", templates),
    )
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield tmp_path / "home" / "expectations"
    for number, handler in before.items():
        signal.signal(number, handler)


def test_run_record_check_and_list(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["lab", "run", "made-up", "--repeat", "4"]
    assert main([*words, "--update-expectations"]) == 0
    shown = capsys.readouterr()
    assert "✓ confirmed" in shown.out
    groups = {str(run.content["group"]["id"]) for run in RunStore().runs()[0]}
    assert set(shown.out.rpartition("workbench compare ")[2].split()) == groups
    assert "made-up: heavy against light, 4 × 2 runs, about" in shown.err
    assert "made-up 2/8, light 1: " in shown.err and "made-up 3/8, light 2: " in shown.err
    (file,) = lab.glob("*.json")
    assert f"recorded in {file}" in shown.err

    assert main([*words, "--check", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["experiments"]
    assert [drift["verdict"] for drift in found["drifts"]] == ["as expected"]

    content = json.loads(file.read_text())
    for ratio in content["expectations"][0]["ratios"].values():
        ratio |= {name: ratio[name] / 9 for name in ("ratio", "low", "high")}
    file.write_text(json.dumps(content))
    assert main(words) == 0
    assert "✗ drifted: ttft_p50 was ×" in capsys.readouterr().out
    assert main([*words, "--check"]) == 4

    assert main(["lab", "list"]) == 0
    listed = capsys.readouterr().out
    assert "recorded, made-up-135m float32: ttft_p50 ×" in listed
    assert main(["lab", "list", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["experiments"]
    assert entry["name"] == "made-up" and entry["sides"]["heavy"].startswith("workbench run ")
    assert entry["recorded"][0]["ratios"]["ttft_p50"]["ratio"] < 0.1


def test_a_refuted_claim_is_exit_4(
    lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "workbench.lab.catalogue.experiments", lambda: (experiment("ttft_p99 > +50%"),)
    )
    assert main(["lab", "run", "all", "--repeat", "4"]) == 4
    assert "✗ refuted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["made"], "no experiment 'made'; did you mean 'made-up'"),
        (["made-up", "--rate", "auto"], "both sides must be offered the same"),
        (["made-up", "--repeat", "0"], "--repeat 0: from 1 to 100"),
        (["made-up", "--repeat", "2", "--check"], "takes 3 runs of each side"),
        (["made-up", "--concurrency", "many"], "'many' is not a whole number"),
        (["made-up", "--duration", "-3"], "traffic.duration"),
    ],
)
def test_bad_use_is_one_message(
    lab: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["lab", "run", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_broken_file_of_expectations_is_said_before_anything_runs(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lab", "list", "--json"]) == 0
    key = json.loads(capsys.readouterr().out)["hardware_key"]
    lab.mkdir(parents=True)
    (lab / f"{key}.json").write_text("{")
    assert main(["lab", "run", "made-up"]) == 2
    assert "is broken" in capsys.readouterr().err
