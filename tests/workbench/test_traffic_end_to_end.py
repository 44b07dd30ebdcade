"""Whole runs of every kind of traffic on a tiny random model, through the real processes."""

import json
import subprocess
import sys

import polars as pl
import pytest
from processes import TINY

from workbench.cli.main import main

AZURE = """\
TIMESTAMP,ContextTokens,GeneratedTokens\r
2023-11-16 18:17:03.9799600,100,3\r
2023-11-16 18:17:04.0319601,50,2\r
2023-11-16 18:17:04.0319602,700,5\r
2023-11-16 18:17:05.4799609,20,1"""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))


@pytest.fixture
def azure(tmp_path):
    path = tmp_path / "azure.csv"
    path.write_text(AZURE)
    return path


def run(tmp_path, *words):
    out = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-m", "workbench", "run", *TINY, *words, "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    content = json.loads((out / "run.json").read_text())
    assert content["state"] == "finished"
    assert content["summary"]["requests"]["stage_sum_errors"] == 0
    return content, pl.read_parquet(out / "requests.parquet"), done.stdout


def test_a_trace_is_replayed_with_its_own_stamps_to_the_nanosecond(tmp_path, azure):
    content, requests, report = run(tmp_path, "--trace", str(azure), "--warmup", "0")
    assert requests["scheduled_ns"].to_list() == [0, 52_000_100, 52_000_200, 1_500_000_900]
    assert requests["prompt_tokens"].to_list() == [100, 50, 507, 20]
    assert requests["output_tokens"].to_list() == [3, 2, 5, 1]
    assert requests["fitted"].to_list() == [False, False, True, False]
    assert set(requests["status"]) == {"ok"}
    assert content["traffic"]["what"] == "azure.csv (azure, 4 requests)"
    assert content["traffic"]["arrival"] == "its own stamps"
    assert "azure.csv" in report and "its own stamps" in report


def test_a_trace_can_be_changed_on_the_way(tmp_path, azure):
    content, requests, _ = run(
        tmp_path, "--trace", str(azure), "--speed", "2", "--limit", "3", "--scale-lengths", "0.1",
        "--max-context", "40", "--warmup", "0",
    )  # fmt: skip
    assert requests["scheduled_ns"].to_list() == [0, 26_000_050, 26_000_100]
    assert requests["prompt_tokens"].to_list() == [10, 5, 39]
    assert requests["output_tokens"].to_list() == [1, 1, 1]
    notes = " ".join(content["summary"]["notes"])
    assert "1 request shortened to fit" in notes


def test_a_rate_takes_the_place_of_the_stamps(tmp_path, azure):
    content, requests, _ = run(
        tmp_path, "--trace", str(azure), "--rate", "50", "--arrival", "constant", "--warmup", "0"
    )
    assert requests["scheduled_ns"].to_list() == [0, 20_000_000, 40_000_000, 60_000_000]
    assert content["traffic"]["arrival"] == "constant"
    assert content["duration_s"] < 0.1


def test_conversations_go_on_from_the_answers(tmp_path):
    content, requests, _ = run(
        tmp_path, "--workload", "multiturn", "--concurrency", "12", "--duration", "2",
        "--warmup", "0", "--gap-scale", "0.01",
    )  # fmt: skip
    assert content["rate_per_s"] is None
    turns = requests.sort("session_id", "turn")
    assert turns["session_id"].null_count() == turns["turn"].null_count() == 0
    pairs = turns.with_columns(
        pl.col("turn", "session_id", "finished_ns", "prompt_tokens", "output_tokens")
        .shift(1)
        .name.prefix("before_")
    ).filter(pl.col("session_id") == pl.col("before_session_id"))
    for row in pairs.iter_rows(named=True):
        assert row["turn"] == row["before_turn"] + 1
        assert row["scheduled_ns"] >= row["before_finished_ns"]
        history = row["before_prompt_tokens"] + row["before_output_tokens"]
        assert row["prompt_tokens"] > history
    known = pairs["before_prompt_tokens"].sum()
    assert pairs["cached_tokens"].sum() > known / 2, "histories are mostly in the cache"


def test_lengths_can_be_set(tmp_path):
    _, requests, _ = run(
        tmp_path, "--rate", "20", "--duration", "1", "--warmup", "0",
        "--input-tokens", "40", "--output-tokens", "2..3",
    )  # fmt: skip
    assert set(requests["prompt_tokens"]) == {40}
    assert set(requests["output_tokens"]) == {2, 3}


def test_documents_are_shared_by_their_popularity(tmp_path):
    _, requests, _ = run(
        tmp_path, "--rate", "30", "--duration", "2", "--warmup", "0", "--input-tokens", "20",
        "--output-tokens", "2", "--documents", "3", "--document-tokens", "160",
    )  # fmt: skip
    assert set(requests["prompt_tokens"]) == {180}
    assert set(requests["turn"]) == {0}
    found = requests.filter(pl.col("cached_tokens") >= 160).height
    assert found > 0.8 * requests.height, "all but each document's first readers find it"
    assert requests.filter(pl.col("cached_tokens") == 0).height >= 3


def test_gaps_of_conversations_can_be_scaled_away(tmp_path):
    _, requests, _ = run(
        tmp_path, "--workload", "multiturn", "--concurrency", "6", "--duration", "1",
        "--warmup", "0", "--gap-scale", "0",
    )  # fmt: skip
    turns = requests.sort("session_id", "turn").with_columns(
        before=pl.col("finished_ns").shift(1).over("session_id")
    )
    later = turns.filter(pl.col("turn") > 0)
    assert later.height > 0
    assert (later["scheduled_ns"] == later["before"]).all()


def test_users_who_leave_are_cancelled_and_counted(tmp_path):
    content, requests, report = run(
        tmp_path, "--rate", "20", "--duration", "1", "--warmup", "0",
        "--cancel-share", "1", "--cancel-after", "1ms",
    )  # fmt: skip
    cancelled = requests.filter(pl.col("status") == "cancelled")
    assert cancelled.height > requests.height / 2
    assert set(cancelled["reason"]) == {"its user left after 0.001 s"}
    assert content["summary"]["requests"]["by_status"]["cancelled"] == cancelled.height
    assert "cancelled" in report


def test_a_rate_that_changes(tmp_path):
    rates = tmp_path / "rates.txt"
    rates.write_text("# a quiet start\n0 0\n1 40\n1.5 0\n")
    content, requests, _ = run(
        tmp_path, "--rate-file", str(rates), "--arrival", "constant", "--duration", "2",
        "--warmup", "0",
    )  # fmt: skip
    assert requests.height == 20
    assert requests["scheduled_ns"].is_between(1_000_000_000, 1_500_000_000).all()
    assert content["rate_per_s"] == pytest.approx(10)
    assert content["traffic"]["arrival"] == "constant, rates of rates.txt"


def test_a_users_thought_takes_time(tmp_path):
    _, requests, _ = run(
        tmp_path, "--concurrency", "1", "--think", "100ms", "--think-kind", "constant",
        "--duration", "3", "--warmup", "0",
    )  # fmt: skip
    after = requests["scheduled_ns"].shift(-1) - requests["finished_ns"]
    assert requests.height > 1
    assert set(after.drop_nulls()) == {100_000_000}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trace", "nowhere.csv"], "nowhere.csv"),
        (["--window", "1m..2m"], "no file: give --trace FILE"),
        (["--trace", "x", "--window", "2m..1m"], "window"),
        (["--think", "2s"], "give a concurrency with it"),
        (["--arrival", "weibul"], "choose one of weibull"),
        (["--shape", "0.5"], "shape belongs to arrival weibull"),
        (["--modulation", "sinus:period=3"], "unknown modulation 'sinus': choose one of sine"),
        (["--modulation", "sine:period=3", "--concurrency", "2"], "open loop"),
        (["--rate-file", "nowhere.txt"], "nowhere.txt"),
        (["--processes", "2"], "--target URL"),
        (["--target", "http://127.0.0.1:9/v1"], "give a rate (or a concurrency)"),
        (["--target", "ftp://127.0.0.1:9/v1", "--rate", "1"], "http"),
        (["--target", "http://127.0.0.1:9/v1", "--rate", "1"], "127.0.0.1:9"),
        (["--target", "http://me:secret@127.0.0.1:9/v1", "--rate", "1"], "user name or password"),
        (["--documents", "0"], "traffic.documents"),
        (["--input-tokens", "ten"], "give a number of tokens"),
        (["--input-tokens", "9", "--workload", "agent"], "lengths of their own"),
        (["--workload", "longct"], "choose one of longctx"),
    ],
)
def test_bad_use_is_told_in_one_message(words, message, capfd):
    assert main(["run", *TINY, *words]) == 2
    said = capfd.readouterr().err
    assert message in said
    assert "Traceback" not in said and said.count("workbench run:") == 1


def test_a_broken_line_is_told_and_can_be_skipped(tmp_path, azure, capfd):
    broken = azure.read_text().replace("04.0319602,700", "04.0319602,seven")
    azure.write_text(broken)
    assert main(["run", *TINY, "--trace", str(azure)]) == 2
    said = capfd.readouterr().err
    assert f"{azure}: line 4, column 29" in said.replace("\n", " ") or "line 4" in said
    content, requests, _ = run(tmp_path, "--trace", str(azure), "--skip-bad", "--warmup", "0")
    assert requests.height == 3
    assert "1 broken row" in " ".join(content["summary"]["notes"])
