"""Whole runs against a server over HTTP, through the real processes."""

import json
import os
import signal
import time

import polars as pl
import psutil
import pytest
from processes import start, wait_for

from engines.remote.server_metrics import SERVER_COLUMNS
from workbench.bench.timed_server import TimedOptions, TimedServer
from workbench.runs.control import send
from workbench.runs.folder import RunFolder
from workbench.runs.schema import EMISSIONS, REQUESTS, SERVER

KEY = "sk-never-to-be-seen"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    for name in ("WORKBENCH_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def start_against(url, out, *words, **environ):
    return start("run", "--target", url, "--out", str(out), *words, **environ)


def run(url, out, *words, **environ):
    runner = start_against(url, out, *words, **environ)
    report, said = runner.communicate(timeout=120)
    assert runner.returncode == 0, said
    return json.loads((out / "run.json").read_text()), report


def table(out, name):
    return pl.read_parquet(out / f"{name}.parquet")


def test_a_remote_run_has_the_columns_of_a_local_one(tmp_path):
    out = tmp_path / "run"
    with TimedServer(TimedOptions(first_ms=20, per_token_ms=2, tokens_per_chunk=4)) as server:
        content, report = run(
            server.url, out, "--rate", "40", "--duration", "2", "--warmup", "0",
            "--input-tokens", "30", "--output-tokens", "16", "--arrival", "constant",
        )  # fmt: skip
    assert content["state"] == "finished"
    requests, emissions = table(out, "requests"), table(out, "emissions")
    assert tuple(requests.columns) == REQUESTS.names
    assert tuple(emissions.columns) == EMISSIONS.names
    assert requests.height == 80 and set(requests["status"]) == {"ok"}
    assert requests["request_id"].to_list() == list(range(80))
    gaps_ns = requests["scheduled_ns"].diff().drop_nulls()
    assert gaps_ns.is_between(24_999_999, 25_000_001).all()
    # Pieces that a slow machine reads in one go count as one emission.
    assert set(requests["output_tokens"]) == {16}
    assert set(requests["first_tokens"]) <= {4, 8, 12, 16}
    assert requests["started_ns"].null_count() == requests["prefilled_ns"].null_count() == 80
    assert (requests["admitted_ns"] >= requests["scheduled_ns"]).all()
    assert (requests["first_token_ns"] - requests["scheduled_ns"] >= 20_000_000).all()
    assert emissions["step"].null_count() == emissions.height <= 80 * 4
    assert emissions["tokens"].sum() == 80 * 16
    summary = content["summary"]
    assert summary["requests"]["stage_sum_errors"] == 0
    assert summary["steps"]["count"] == 0 and summary["server"]["samples"] >= 1
    assert summary["latency"]["tpot_ms"]["n"] > 0
    assert table(out, "server").height >= summary["server"]["samples"]
    for said in (server.url, "chat", "Server", "Running"):
        assert said in report


def test_the_servers_table_is_what_is_read_from_its_metrics():
    assert SERVER.names == SERVER_COLUMNS


def test_two_processes_send_the_same_as_one(tmp_path):
    words = ["--rate", "60", "--duration", "2", "--warmup", "0", "--output-tokens", "4..9"]
    with TimedServer(TimedOptions(first_ms=5, per_token_ms=1)) as server:
        run(server.url, tmp_path / "one", *words)
        content, report = run(server.url, tmp_path / "two", *words, "--processes", "2")
    one, two = (table(tmp_path / name, "requests") for name in ("one", "two"))
    asked = ["request_id", "scheduled_ns", "max_tokens", "output_tokens", "status"]
    assert two.select(asked).equals(one.select(asked))
    assert content["summary"]["requests"]["recorded"] == one.height > 60
    assert "from 2 processes" in report
    assert not list((tmp_path / "two").glob("segments*"))


def test_two_processes_are_paused_together(tmp_path):
    out = tmp_path / "run"
    with TimedServer(TimedOptions(first_ms=5)) as server:
        runner = start_against(
            server.url, out, "--rate", "60", "--duration", "600", "--processes", "2",
            "--output-tokens", "2",
        )  # fmt: skip
        wait_for(lambda: list(out.glob("segments-1/*.seg")))
        for command in ("pause", "resume", "stop"):
            assert send(RunFolder(out), command)["ok"]
            time.sleep(0.4)
        runner.communicate(timeout=60)
    events = table(out, "events").filter(pl.col("kind") == "knob")
    paused_ns, resumed_ns = events["time_ns"]
    stamps = table(out, "requests").with_columns(shard=pl.col("request_id") % 2)
    inside = pl.col("scheduled_ns").is_between(paused_ns, resumed_ns - 1)
    assert resumed_ns - paused_ns > 300_000_000 and stamps.filter(inside).is_empty()
    for when in (pl.col("scheduled_ns") < paused_ns, pl.col("scheduled_ns") >= resumed_ns):
        assert set(stamps.filter(when)["shard"]) == {0, 1}


def test_conversations_go_on_from_the_servers_answers(tmp_path):
    out = tmp_path / "run"
    with TimedServer(TimedOptions(first_ms=1)) as server:
        run(
            server.url, out, "--workload", "agent", "--concurrency", "4", "--duration", "3",
            "--warmup", "0",
        )  # fmt: skip
        messages = [body["messages"] for body in server.seen()["bodies"]]
    turns = table(out, "requests").filter(pl.col("turn") > 0)
    assert turns.height > 0
    long = max(messages, key=len)
    roles = [message["role"] for message in long]
    assert roles[0] == "system" and "assistant" in roles
    assert all(message["content"] for message in long)


def test_a_key_is_sent_and_never_saved(tmp_path):
    out = tmp_path / "run"
    words = ["--rate", "20", "--duration", "1", "--warmup", "0", "--output-tokens", "2"]
    with TimedServer(TimedOptions(api_key=KEY)) as server:
        run(server.url, out, *words, WORKBENCH_API_KEY=KEY)
        assert server.seen()["headers"]["authorization"] == f"Bearer {KEY}"
        refused = start_against(
            server.url, tmp_path / "other", *words, WORKBENCH_API_KEY="sk-wrong"
        )
        assert "the key is not accepted" in refused.communicate(timeout=60)[1]
        assert refused.returncode == 2
    kept = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert KEY.encode() not in kept and b"authenticated" in kept


def test_a_server_that_dies_leaves_a_readable_run(tmp_path):
    out = tmp_path / "run"
    with TimedServer(TimedOptions(first_ms=30, per_token_ms=20)) as server:
        runner = start_against(
            server.url, out, "--rate", "30", "--duration", "4", "--warmup", "0",
            "--output-tokens", "10",
        )  # fmt: skip
        wait_for(lambda: list(out.glob("segments/*.seg")))
        os.kill(server.pid, signal.SIGKILL)
        _, said = runner.communicate(timeout=60)
    assert runner.returncode == 0, said
    content = json.loads((out / "run.json").read_text())
    counts = content["summary"]["requests"]["by_status"]
    assert content["state"] == "finished" and counts["failed"] > 0
    reasons = " ".join(each["reason"] for each in content["summary"]["requests"]["reasons"])
    assert "refused" in reasons
    assert "did not end ok" in content["summary"]["notes"][0]


def test_a_load_process_that_dies_fails_the_run_and_keeps_its_record(tmp_path):
    out = tmp_path / "run"
    with TimedServer(TimedOptions(first_ms=5)) as server:
        runner = start_against(
            server.url, out, "--rate", "50", "--duration", "3", "--processes", "2",
            "--output-tokens", "2",
        )  # fmt: skip
        wait_for(lambda: list(out.glob("segments-1/*.seg")))
        descendants = psutil.Process(runner.pid).children(recursive=True)
        [shard] = [p for p in descendants if "workbench.launch.shard" in p.cmdline()]
        shard.kill()
        _, said = runner.communicate(timeout=60)
    assert runner.returncode == 1 and "load process 1" in said
    content = json.loads((out / "run.json").read_text())
    assert content["state"] == "failed"
    assert content["summary"]["requests"]["by_status"]["ok"] > 0
    ids = table(out, "requests")["request_id"]
    assert ids.is_unique().all() and (ids % 2 == 1).any()
