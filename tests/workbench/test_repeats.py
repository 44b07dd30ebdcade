"""Repeated runs: their seeds, ids, folders and rate, how a group can end, and its report."""

import json
import os
import signal
import subprocess
import sys

import pytest
from processes import TINY
from rich.console import Console

from workbench.cli.main import main
from workbench.errors import SpecError, StoreError
from workbench.launch import interruption as interruption_module
from workbench.launch.group_report import GroupReport, spread
from workbench.launch.interruption import Interruption
from workbench.launch.repeats import member_spec, new_group_id, run_group
from workbench.runs.folder import RunFolder
from workbench.runs.groups import GroupMember
from workbench.runs.store import RunStore
from workbench.spec import RunSpec


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def _own_signals():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


class FakeRunner:
    """Takes no time: a run ends as the test's plan says of its number, finished by default."""

    plan: dict

    def __init__(self, folder):
        self.folder = folder
        self.interrupted = False

    def interrupt(self):
        self.interrupted = True

    def watch(self, period_s, look):
        content = self.folder.read()
        number = content["group"]["number"]
        how = self.plan.get(number, "finished")
        if how == "ctrl-c":
            os.kill(os.getpid(), signal.SIGINT)
            assert self.interrupted
            self.folder.update(state="interrupted", reason="SIGINT")
            return 1
        if how == "bad use":
            self.folder.update(state="failed", reason="no such device", exit_code=2)
            return 2
        if how == "failed":
            self.folder.update(state="failed", reason="out of memory", summary=None)
            return 1
        auto = content["spec"]["traffic"]["rate"] == "auto"
        calibration = {"requests_per_s": 10.0 + number, "share": 0.7} if auto else None
        self.folder.update(
            state="finished",
            calibration=calibration,
            rate_per_s=5.0,
            summary=summary(number, attainment=0.5 if how == "missed" else 0.99),
        )
        return 0


def summary(number, attainment=0.99):
    latency = {"p50": 10.0 * number, "p99": 100.0 * number}
    return {
        "latency": {"ttft_ms": latency, "tpot_ms": latency},
        "throughput": {"output_tokens_per_s": 1000.0},
        "objectives": {"attainment": attainment, "goodput_per_s": 2.0},
    }


@pytest.fixture
def plan(monkeypatch):
    monkeypatch.setattr(FakeRunner, "plan", {}, raising=False)
    monkeypatch.setattr(interruption_module, "Runner", FakeRunner)
    return FakeRunner.plan


def group(spec, repeats, out=None):
    return run_group(
        spec,
        new_group_id(spec),
        repeats,
        watch=lambda runner, own, member: runner.watch(1.0, lambda: None),
        interruption=Interruption(),
        store=RunStore(),
        out=out,
    )


def test_runs_of_a_group_have_the_next_seeds_and_ids_of_the_group(plan, home):
    runs = group(RunSpec(name="night", seed=7), 3)
    contents = [run.content for run in runs]
    (group_id,) = {content["group"]["id"] for content in contents}
    assert "-night-" in group_id
    assert [content["group"] for content in contents] == [
        {"id": group_id, "number": number, "of": 3} for number in (1, 2, 3)
    ]
    assert [content["run_id"] for content in contents] == [f"{group_id}-{n}" for n in (1, 2, 3)]
    assert [content["spec"]["seed"] for content in contents] == [7, 8, 9]
    assert {content["name"] for content in contents} == {"night"}
    assert [run.folder.path.name for run in runs] == [f"{group_id}-{n}" for n in (1, 2, 3)]
    assert len(RunStore().find_all(group_id)) == 3


def test_the_rate_is_calibrated_in_the_first_run_that_gets_so_far(plan):
    rates = [run.content["spec"]["traffic"]["rate"] for run in group(RunSpec(), 3)]
    assert rates == ["auto", 0.7 * 11.0, 0.7 * 11.0]
    plan[1] = "failed"
    rates = [run.content["spec"]["traffic"]["rate"] for run in group(RunSpec(), 3)]
    assert rates == ["auto", "auto", 0.7 * 12.0]


def test_a_rate_that_was_given_stays(plan):
    spec = RunSpec.model_validate({"traffic": {"rate": 3.0}})
    assert [run.content["spec"]["traffic"]["rate"] for run in group(spec, 2)] == [3.0, 3.0]


def test_a_folder_of_ones_own_holds_the_runs_by_number(plan, tmp_path):
    group(RunSpec(), 2, tmp_path / "mine")
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["1", "2"]
    assert len(RunStore().find_all(str(tmp_path / "mine"))) == 2
    with pytest.raises(StoreError, match="not an empty folder"):
        group(RunSpec(), 2, tmp_path / "mine")


def test_a_group_goes_on_after_a_failure_but_not_after_three_in_a_row(plan):
    plan.update({2: "failed"})
    assert [run.content["state"] for run in group(RunSpec(), 3)] == [
        "finished", "failed", "finished"
    ]  # fmt: skip
    plan.update({3: "failed", 4: "failed"})
    assert len(group(RunSpec(), 9)) == 4


def test_there_must_be_a_seed_for_every_run(plan, home):
    with pytest.raises(SpecError, match="seed"):
        group(RunSpec(seed=(1 << 63) - 2), 3)
    assert not (home / "runs").exists()
    assert member_spec(RunSpec(seed=3), 2, 1.5).traffic.rate == 1.5


def test_what_was_asked_to_stop_before_it_began_runs_nothing(plan, home):
    asked = Interruption()
    asked.ask(at_once=False)
    assert not run_group(
        RunSpec(), "g", 2, watch=lambda *_: 0, interruption=asked, store=RunStore()
    )
    assert not (home / "runs").exists()


def test_the_command_shows_each_run_and_their_spread(plan, capsys):
    assert main(["run", "--repeat", "3", "--seed", "4"]) == 0
    said = capsys.readouterr()
    assert "run 1 of 3, seed 4: " in said.err and "run 3 of 3, seed 6: " in said.err
    assert "3 of 3 runs finished" in said.out and said.out.count("run folder: ") == 3
    assert max(len(line) for line in said.out.splitlines() if "run folder" not in line) <= 80
    rows = {line.split("  ")[0].strip(): line.split()[-6:] for line in said.out.splitlines()}
    assert rows["2"] == ["20.0", "200", "20.0", "200", "1,000", "2.00"]
    assert rows["mean"][:2] == ["20.0", "200"] and rows["sd"][:2] == ["10.0", "100"]
    # t(0.975, 2) = 4.3027; 10 / sqrt(3) = 5.7735
    assert rows["95 % from"][0] == "-4.84" and rows["95 % to"][0] == "44.8"
    assert rows["n"] == ["3"] * 6


def test_json_is_one_object_of_the_group_and_its_runs(plan, capsys):
    assert main(["run", "--repeat", "2", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["group"]["of"] == 2
    assert [run["run_id"] for run in shown["runs"]] == [
        f"{shown['group']['id']}-{number}" for number in (1, 2)
    ]
    assert set(shown["runs"][0]) == {
        "path", "run_id", "name", "state", "reason", "rate_per_s", "window", "engine", "summary"
    }  # fmt: skip


def test_ctrl_c_ends_the_group_with_the_run_that_is_running(plan, capsys, home):
    plan[2] = "ctrl-c"
    assert main(["run", "--repeat", "4"]) == 1
    said = capsys.readouterr()
    assert "run 2 was interrupted: SIGINT" in said.err and "ended after 2 of 4 runs" in said.err
    assert "1 of 4 runs finished" in said.out and "2 interrupted" in said.out
    assert len(list((home / "runs").iterdir())) == 2


@pytest.mark.parametrize(
    ("how", "code", "message", "finished"),
    [
        ("failed", 1, "run 2 failed: out of memory", 2),
        ("missed", 3, "run 2: attainment 50.0% is below 90.0%", 3),
        ("bad use", 2, "no such device", 1),
    ],
)
def test_the_gravest_end_of_a_run_is_the_exit_code(plan, capsys, how, code, message, finished):
    plan[2] = how
    words = ["run", "--repeat", "3", "--slo", "ttft=1s", "--require-attainment", "0.9"]
    assert main(words) == code
    said = capsys.readouterr()
    assert message in said.err and "ended after" not in said.err
    assert f"{finished} of 3 runs finished" in said.out


def test_a_group_that_cannot_begin_leaves_nothing(plan, capsys, home):
    plan[1] = "bad use"
    assert main(["run", "--repeat", "3", "--json"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("no such device") == 1
    assert not list((home / "runs").iterdir())


@pytest.mark.parametrize("repeats", ["0", "101", "-1"])
def test_repeats_are_from_1_to_100(repeats, capsys, home):
    assert main(["run", "--repeat", repeats]) == 2
    assert f"--repeat {repeats}: from 1 to 100" in capsys.readouterr().err
    assert not (home / "runs").exists()


def test_a_spread_of_one_run_has_no_deviation_and_of_none_is_none():
    one = spread([3.0, None])
    assert (one.n, one.mean, one.deviation, one.interval) == (1, 3.0, None, None)
    assert spread([None, None]) is None


def test_a_report_without_a_finished_run_says_so():
    contents = [{"state": "failed", "summary": None}]
    console = Console(width=80)
    with console.capture() as captured:
        console.print(GroupReport("g", 1, contents))
    said = captured.get()
    assert "0 of 1 runs finished" in said and "1 failed" in said and "mean" not in said


def test_the_list_tells_the_members_of_groups(home, capsys):
    for number in (1, 2):
        member = GroupMember("g", number, 2)
        RunFolder.create(RunStore().path_for(member.run_id), {"name": "x"}, member.run_id, member)
    assert main(["runs", "list"]) == 0
    listed = capsys.readouterr().out
    assert "g-1 (x), 1 of 2" in listed and "g-2 (x), 2 of 2" in listed


def test_two_real_runs_get_the_load_that_the_first_found(home):
    done = subprocess.run(
        [sys.executable, "-m", "workbench", "run", *TINY, "--duration", "1", "--repeat", "2"],
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    first, second = RunStore().find_all("last")
    assert second.run_id == f"{first.group.id}-2" and second.group.of == 2
    assert first.content["spec"]["traffic"]["rate"] == "auto" and first.content["calibration"]
    assert second.content["calibration"] is None
    assert second.content["rate_per_s"] == pytest.approx(first.content["rate_per_s"])
    assert [run.content["spec"]["seed"] for run in (first, second)] == [0, 1]
    assert "2 of 2 runs finished" in done.stdout
