"""Whole sweeps of a tiny random model through the real processes."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from processes import TINY, start, wait_for

from workbench.cli.main import build_parser, main
from workbench.cli.sweep import sweep_from
from workbench.runs.store import RunStore
from workbench.sweeps.planner import Grid, Search
from workbench.sweeps.state import SweepFolder


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def command(*words):
    return [sys.executable, "-m", "workbench", "sweep", *words]


def sweep(*words):
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=180)


def points_of(home):
    """The points of the only sweep there is, as they are on disk now."""
    found = list((home / "sweeps").glob("*/sweep.json"))
    return json.loads(found[0].read_text())["points"] if found else []


def second_is_running(home):
    points = points_of(home)
    if len(points) < 2:
        return False
    run = json.loads((Path(points[1]["path"]) / "run.json").read_text())
    return run["state"] == "running"


def test_a_sweep_of_two_rates_is_two_saved_runs_and_one_json(home):
    done = sweep(
        *TINY, "--rate", "30,15", "--duration", "2", "--warmup", "0", "--slo", "ttft=60s,tpot=60s",
        "--seed", "3", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["state"] == "finished" and outcome["max_goodput"] is None
    assert [point["value"] for point in outcome["points"]] == [15, 30]
    assert all(point["attainment"] == 1 for point in outcome["points"])
    runs, broken = RunStore(home / "runs").runs()
    assert not broken and [run.state for run in runs] == ["finished"] * 2
    tail = outcome["sweep_id"][-4:]
    assert [run.content["name"] for run in runs] == [f"sweep-{tail}:r15", f"sweep-{tail}:r30"]
    assert [run.content["rate_per_s"] for run in runs] == [15, 30]
    for point, run in zip(outcome["points"], runs, strict=True):
        (shown,) = point["runs"]
        assert shown["path"] == str(run.folder.path) and shown["run_id"] == run.run_id
        assert shown["measured"] == run.content["summary"]["requests"]["measured"]
    # Not a terminal: a line for each point, and no control codes.
    assert done.stderr.count("\nrate ") == 2 and "\x1b" not in done.stderr


@pytest.mark.slow
def test_ctrl_c_saves_the_sweep_and_resume_runs_only_what_is_left(home):
    words = [*TINY, "--concurrency", "1,2", "--duration", "2.5"]
    process = start("sweep", *words)
    wait_for(lambda: second_is_running(home))
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 1, stderr
    (folder,) = (home / "sweeps").iterdir()
    assert f"go on with: workbench sweep --resume {folder.name}" in stderr
    assert "interrupted" in stdout
    assert [p.state for p in SweepFolder(folder).read().points] == ["finished", "interrupted"]
    first = points_of(home)[0]["run_id"]

    done = sweep("--resume", "last")
    assert done.returncode == 0, done.stderr
    assert "concurrency 2 (" in done.stderr and "is interrupted; it is run again" in done.stderr
    assert "concurrency 1 (" not in done.stderr
    points = points_of(home)
    assert [p["state"] for p in points] == ["finished", "finished"]
    assert points[0]["run_id"] == first and points[1]["value"] == 2
    assert "verdict" in done.stdout and "sweep folder:" in done.stdout


@pytest.mark.slow
def test_a_killed_sweep_resumes_in_its_own_folder_and_runs_vanished_points_again(home, tmp_path):
    out = tmp_path / "mine"
    words = [*TINY, "--rate", "10,20", "--duration", "2.5", "--out", str(out)]
    process = start("sweep", *words)
    sweep_json = out / "sweep.json"

    def second_began():
        if not sweep_json.exists():
            return False
        points = json.loads(sweep_json.read_text())["points"]
        return len(points) == 2 and (Path(points[1]["path"]) / "run.json").exists()

    wait_for(second_began)
    children = psutil.Process(process.pid).children()
    process.kill()
    for child in children:
        child.kill()
    process.communicate()
    psutil.wait_procs(children, timeout=30)  # a killed run holds its lock until it is gone
    before = json.loads(sweep_json.read_text())["points"]
    assert [p["state"] for p in before] == ["finished", "running"]
    shutil.rmtree(before[0]["path"])

    done = sweep("--resume", str(out), "--json")
    assert done.returncode == 0, done.stderr
    assert "rate 10" in done.stderr and "has no run folder any more" in done.stderr
    assert "rate 20" in done.stderr and "did not end" in done.stderr
    outcome = json.loads(done.stdout)
    assert [run["state"] for p in outcome["points"] for run in p["runs"]] == ["finished"] * 2
    assert {Path(r["path"]).parent for p in outcome["points"] for r in p["runs"]} == {out / "runs"}
    assert not (home / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rate", "1..8", "--concurrency", "2"], "either a --rate or a --concurrency"),
        (["--rate", "8..1"], "must go up"),
        (["--find", "max-goodput", "--rate", "1..8"], "needs limits, such as --slo"),
        (["--find", "max-goodput", "--rate", "1,2", "--slo", "ttft=1s"], "give a range"),
        (["--find", "max-goodput", "--concurrency", "1..8", "--slo", "ttft=1s"], "searches a rate"),
        (["--attainment", "0.9", "--rate", "1..8"], "--attainment needs limits"),
        (["--attainment", "90", "--rate", "1..8", "--slo", "ttft=1s"], "at most 1"),
        (["--tolerance", "5%", "--rate", "1,2"], "ends a bisection"),
        (["--repeat", "0", "--rate", "1,2"], "from 1 to 100"),
        (["--workload", "chatt", "--rate", "1,2"], "chat"),
        (["--resume", "last"], "there are none yet"),
        (["--resume", "last", "--rate", "1..8", "--repeat", "2"], "leave --rate, --repeat out"),
    ],
)
def test_bad_use_is_told_before_anything_is_run(words, message, home, capsys):
    assert main(["sweep", *words]) == 2
    assert message in capsys.readouterr().err
    assert not (home / "runs").exists() and not (home / "sweeps").exists()


@pytest.mark.parametrize(
    ("words", "plan"),
    [
        ([], Search("rate", None, None, 0.25)),
        (["--rate", "2..32"], Search("rate", 2, 32, 0.25)),
        (["--concurrency", "1..8/3", "--repeat", "2"], Grid((1, 4, 8), whole=False, repeats=2)),
        (["--rate", "1,2", "--slo", "ttft=1s"], Grid((1, 2), target=0.9)),
        (
            ["--find", "max-goodput", "--slo", "ttft=1s", "--attainment", "0.95"],
            Search("rate", None, None, 0.05, 0.95, find=True),
        ),
        (
            ["--rate", "1..8", "--slo", "ttft=1s", "--require-attainment", "0.8"],
            Search("rate", 1, 8, 0.25, 0.8),
        ),
        # A server that isn't ours has no capacity that could be measured.
        (["--target", "http://127.0.0.1:9/v1"], Search("rate", 1, None, 0.25)),
    ],
)
def test_the_flags_make_the_plan(words, plan):
    assert sweep_from(build_parser("sweep").parse_args(["sweep", *words])).plan == plan


def test_a_point_that_cannot_begin_ends_the_sweep_at_once(home):
    done = sweep("--model", "random:tiny", "--device", "cpu", "--num-blocks", "999999999",
                 "--rate", "1,2,4")  # fmt: skip
    assert done.returncode == 2 and "would fit" in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert not list((home / "runs").iterdir())
    (folder,) = (home / "sweeps").iterdir()
    assert SweepFolder(folder).read().state == "failed"
