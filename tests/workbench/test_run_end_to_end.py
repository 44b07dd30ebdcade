"""Whole runs of a tiny random model through the real processes, and every way they can end."""

import json
import signal
import stat
import subprocess
import sys

import polars as pl
import psutil
import pytest
from processes import TINY, start, wait_for

from workbench.cli.main import main
from workbench.runs.folder import RunFolder
from workbench.runs.segments import list_segments
from workbench.runs.store import RunStore


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def workbench(*words, timeout=120):
    return subprocess.run(
        [sys.executable, "-m", "workbench", *words], capture_output=True, text=True, timeout=timeout
    )


def content_of(path):
    return json.loads((path / "run.json").read_text())


def test_a_run_ends_by_itself_with_every_request_accounted_for(tmp_path):
    out = tmp_path / "run"
    done = workbench(
        "run", *TINY, "--workload", "chat", "--rate", "20", "--duration", "3", "--seed", "5",
        "--slo", "ttft=60s,tpot=60s", "--require-attainment", "0.5", "--out", str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    content = content_of(out)
    requests = pl.read_parquet(out / "requests.parquet")
    summary = content["summary"]
    assert content["state"] == "finished" and content["rate_per_s"] == 20
    assert requests["request_id"].to_list() == list(range(requests.height))
    assert requests.height == summary["requests"]["recorded"] > 30
    assert set(requests["status"]) == {"ok"}
    assert summary["requests"]["stage_sum_errors"] == 0
    assert summary["load"]["achieved_share"] >= 0.99
    assert summary["objectives"]["attainment"] == 1.0
    emissions = pl.read_parquet(out / "emissions.parquet")
    assert emissions["tokens"].sum() == requests["output_tokens"].sum()
    assert (requests["output_tokens"] == requests["max_tokens"]).all()
    steps = pl.read_parquet(out / "steps.parquet")
    assert steps["step"].to_list() == list(range(steps.height))
    computed = steps["prefill_tokens"].sum() + requests["cached_tokens"].sum()
    assert computed == requests["prompt_tokens"].sum() + requests["recomputed_tokens"].sum()
    assert set(steps["worker"]) == {0} and set(steps["blocked"]) <= {"", "seqs", "tokens", "blocks"}
    pools = pl.read_parquet(out / "pools.parquet")
    assert (pools["free"] + pools["live"] + pools["cached"] == pools["usable"]).all()
    assert pools["live"].max() > 0 and pools.height > 8
    for whole in ("live", "cached"):
        levels = [name for name in pools.columns if name.startswith(f"{whole}_")]
        assert len(levels) == 5 and (pools.select(levels).sum_horizontal() == pools[whole]).all()
    devices = pl.read_parquet(out / "devices.parquet")
    assert devices.filter(pl.col("device") == "host")["process_rss_bytes"].max() > 0
    assert "TTFT" in done.stdout and "run folder:" in done.stdout
    assert "Goodput" in done.stdout
    # Nothing that was needed while it ran is left, and nobody else can read what is.
    assert sorted(p.name for p in out.iterdir()) == [
        "devices.parquet", "emissions.parquet", "events.parquet", "lock", "pools.parquet",
        "requests.parquet", "run.json", "runner.log", "steps.parquet",
    ]  # fmt: skip
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in out.iterdir())


def test_the_same_seed_gives_the_same_requests_at_any_rate(tmp_path):
    tables = []
    for name, rate in (("a", "10"), ("b", "25")):
        out = tmp_path / name
        workbench("run", *TINY, "--rate", rate, "--duration", "1.5", "--out", str(out))
        tables.append(pl.read_parquet(out / "requests.parquet"))
    n = min(table.height for table in tables)
    columns = ["request_id", "prompt_tokens", "max_tokens"]
    assert n > 5 and tables[0].height != tables[1].height
    assert tables[0].head(n).select(columns).equals(tables[1].head(n).select(columns))


def test_rate_auto_offers_a_share_of_the_measured_capacity_and_json_is_alone(home):
    done = workbench("run", *TINY, "--duration", "1.5", "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    run = RunStore(home / "runs").find("last")
    calibration = run.content["calibration"]
    assert shown["run_id"] == run.run_id and shown["summary"] == run.content["summary"]
    assert shown["rate_per_s"] == pytest.approx(0.7 * calibration["requests_per_s"])
    assert calibration["decodes"] == 15, "beside one prompt"
    # In a steady state a step computes the prompts of as many requests as it ends.
    replaced = calibration["decodes"] / calibration["output_tokens"] * calibration["input_tokens"]
    assert calibration["prefill_tokens"] == pytest.approx(replaced, abs=1)


def test_requests_are_fitted_to_a_small_kv_pool_and_preempted_when_it_runs_out(tmp_path):
    out = tmp_path / "run"
    done = workbench(
        "run", *TINY, "--rate", "30", "--duration", "2", "--num-blocks", "25", "--out", str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    requests = pl.read_parquet(out / "requests.parquet")
    summary = content_of(out)["summary"]
    assert set(requests["status"]) == {"ok"} and summary["requests"]["stage_sum_errors"] == 0
    assert (requests["prompt_tokens"] + requests["output_tokens"]).max() <= 24 * 16
    assert summary["requests"]["fitted"] > 0
    events = pl.read_parquet(out / "events.parquet").filter(pl.col("kind") == "preempt")
    assert events.height == requests["preemptions"].sum() > 0
    assert "no KV block for request" in events["detail"][0]


def test_a_closed_loop_keeps_its_concurrency(tmp_path):
    out = tmp_path / "run"
    done = workbench("run", *TINY, "--concurrency", "3", "--duration", "1.5", "--out", str(out))
    assert done.returncode == 0, done.stderr
    steps = pl.read_parquet(out / "steps.parquet")
    assert (steps["running"] + steps["waiting"]).max() == 3


def test_missed_attainment_is_exit_code_3(tmp_path):
    done = workbench(
        "run", *TINY, "--rate", "10", "--duration", "1", "--slo", "ttft=0.001ms",
        "--require-attainment", "0.9", "--out", str(tmp_path / "run"),
    )  # fmt: skip
    assert done.returncode == 3
    assert "attainment 0.0% is below 90.0%" in done.stderr


def test_ctrl_c_saves_the_run_as_interrupted(tmp_path):
    out = tmp_path / "run"
    process = start("run", *TINY, "--rate", "20", "--duration", "600", "--out", str(out))
    folder = RunFolder(out)
    wait_for(lambda: len(list_segments(folder.segments)) >= 2)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    content = content_of(out)
    assert process.returncode == 1
    assert content["state"] == "interrupted" and content["reason"] == "SIGINT"
    assert "interrupted: SIGINT" in stderr and "TTFT" in stdout
    requests = pl.read_parquet(out / "requests.parquet")
    assert requests["request_id"].to_list() == list(range(requests.height))


def test_a_killed_run_keeps_all_but_its_last_flush_and_recovers(home, tmp_path):
    out = home / "runs" / "killed"
    process = start("run", *TINY, "--rate", "20", "--duration", "600", "--out", str(out))
    folder = RunFolder(out)
    wait_for(lambda: len(list_segments(folder.segments)) >= 3)
    (runner,) = psutil.Process(process.pid).children()
    process.kill()  # first, so that it can't recover the run itself
    runner.kill()
    process.communicate()
    wait_for(lambda: not folder.is_alive)
    listed = workbench("runs", "list")
    assert "dead" in listed.stdout
    segments = len(list_segments(folder.segments))
    done = workbench("runs", "recover")
    assert done.returncode == 0 and "recovered as 'killed'" in done.stdout
    content = content_of(out)
    requests = pl.read_parquet(out / "requests.parquet")
    steps = pl.read_parquet(out / "steps.parquet")
    assert content["state"] == "killed" and segments >= 3
    assert requests["request_id"].to_list() == list(range(requests.height))
    assert set(requests["status"]) <= {"ok", "unfinished"}
    assert steps["step"].to_list() == list(range(steps.height))
    assert workbench("runs", "recover", str(out)).returncode == 2
    assert "TTFT" in workbench("runs", "show", str(out)).stdout


def test_a_runner_that_is_killed_under_its_watcher_is_recovered_at_once(tmp_path):
    out = tmp_path / "run"
    process = start("run", *TINY, "--rate", "20", "--duration", "600", "--out", str(out))
    folder = RunFolder(out)
    wait_for(lambda: len(list_segments(folder.segments)) >= 2)
    (runner,) = psutil.Process(process.pid).children()
    runner.kill()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1 and "its process ended by SIGKILL" in stderr
    assert content_of(out)["state"] == "killed"
    assert pl.read_parquet(out / "steps.parquet").height > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "random:qwen3-0.6"], "qwen3-0.6b"),
        (["--model", "smolm2"], "smollm2"),
        (["--model", "random:tiny", "--num-blocks", "999999999"], "would fit"),
        (["--model", "random:tiny", "--kv-memory", "900TiB"], "GiB would fit"),
        (["--model", "random:tiny", "--max-model-len", "100000"], "knows 4096 positions"),
        (["--model", "random:tiny", "--max-num-seqs", "64", "--max-num-batched-tokens", "32"],
         "less than max_num_seqs"),
        (["--model", "random:tiny", "--rate", "0.001", "--duration", "1"], "gives no arrival"),
    ],
)  # fmt: skip
def test_a_run_that_cannot_begin_says_why_and_leaves_nothing(words, message, tmp_path):
    out = tmp_path / "run"
    done = workbench("run", "--rate", "5", *words, "--device", "cpu", "--out", str(out))
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.count("\n") <= 3  # the message, after at most two lines of progress
    assert done.stdout == "" and not out.exists()


def test_cuda_without_a_device_is_an_error_not_a_fallback(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    done = workbench("run", "--model", "random:tiny", "--device", "cuda", "--rate", "1")
    assert done.returncode == 2 and "finds no CUDA device" in done.stderr


def test_a_folder_with_something_in_it_is_not_written_into(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    done = workbench("run", *TINY, "--out", str(tmp_path))
    assert done.returncode == 2 and "not an empty folder" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_runs_can_be_listed_shown_and_removed(home, capsys):
    for name in ("first", "second"):
        done = workbench("run", *TINY, "--rate", "8", "--duration", "1", "--name", name)
        assert done.returncode == 0, done.stderr
    assert main(["runs", "list"]) == 0
    listed = capsys.readouterr().out
    assert "first" in listed and "second" in listed and "finished" in listed
    assert main(["runs", "show", "first"]) == 0
    assert "first" in capsys.readouterr().out
    assert main(["runs", "show", "last", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "second"
    assert main(["runs", "rm", "first"]) == 2  # not a terminal, and no --yes
    assert main(["runs", "rm", "first", "--yes"]) == 0
    assert main(["runs", "show", "first"]) == 2
    assert main(["runs", "show", "last~0"]) == 0
