"""Exported tables, read back by readers of other programs."""

from __future__ import annotations

import csv
import io
import json
import stat
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from exported import five_requests
from polars.testing import assert_frame_equal
from recorded import LiveRun, recorded_run

from workbench.analysis.metrics import PER_REQUEST, request_metrics
from workbench.cli.main import main
from workbench.exporting import source as source_module
from workbench.runs.folder import RunFolder
from workbench.runs.schema import SAVED_TABLES

RENAMED = {"output_speed": "output_speed_tokens_per_s"}


def export(*words: object) -> int:
    return main(["export", *(str(word) for word in words)])


def test_requests_as_csv_have_their_metrics(recorded: RunFolder, tmp_path: Path) -> None:
    out = tmp_path / "requests.csv"
    assert export(recorded.path, "--output", out) == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    saved = request_metrics(pl.read_parquet(recorded.parquet("requests")))
    assert [int(row["request_id"]) for row in rows] == saved["request_id"].to_list()
    for name in PER_REQUEST:
        told = [row[RENAMED.get(name, name)] for row in rows]
        assert [float(text) if text else None for text in told] == saved[name].to_list()
    window = recorded.read()["window"]
    for row, scheduled_ns in zip(rows, saved["scheduled_ns"], strict=True):
        inside = window["start_ns"] <= scheduled_ns <= window["end_ns"]
        assert row["measured"] == str(inside).lower()
    assert {row["measured"] for row in rows} == {"true", "false"}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_every_table_is_read_back_equal(recorded: RunFolder, tmp_path: Path, kind: str) -> None:
    assert export(recorded.path, "--table", "all", "--format", kind, "--output", tmp_path) == 0
    written = {path.stem: path for path in tmp_path.iterdir()}
    assert set(written) == {
        table.name for table in SAVED_TABLES if recorded.parquet(table.name).exists()
    }
    for name, path in written.items():
        saved = pl.read_parquet(recorded.parquet(name))
        if kind == "parquet":
            read = pl.read_parquet(path)
        elif kind == "csv":
            read = pl.read_csv(path, schema_overrides=saved.schema)
            read = read.with_columns(pl.col(pl.String).fill_null(""))
        else:
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            read = pl.DataFrame(lines, schema_overrides=saved.schema)
        assert_frame_equal(read.select(saved.columns), saved, check_exact=True)


def test_small_slices_say_the_same(
    recorded: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (recorded.path, "--table", "emissions", "--window", "--output")
    assert export(*words, tmp_path / "whole.csv") == 0
    monkeypatch.setattr(source_module, "SLICE_ROWS", 7)
    assert export(*words, tmp_path / "sliced.csv") == 0
    assert (tmp_path / "whole.csv").read_bytes() == (tmp_path / "sliced.csv").read_bytes()


def test_the_window_alone(tmp_path: Path) -> None:
    run = five_requests(tmp_path / "run")
    assert export(run.path, "--window", "--output", tmp_path / "r.parquet") == 0
    requests = pl.read_parquet(tmp_path / "r.parquet")
    assert requests["request_id"].to_list() == [1, 2, 3, 4] and requests["measured"].all()
    assert export(run.path, "--table", "emissions", "--window", "--output", tmp_path / "e.csv") == 0
    times_ns = pl.read_csv(tmp_path / "e.csv")["time_ns"]
    assert len(times_ns) == 7 and times_ns.is_between(1_000_000_000, 3_000_000_000).all()


def test_standard_output_has_one_table_and_nothing_else(
    recorded: RunFolder, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert export(recorded.path, "--table", "steps", "--format", "jsonl") == 0
    lines = capfdbinary.readouterr().out.splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(len(lines)))
    assert len(lines) == pl.read_parquet(recorded.parquet("steps")).height


def test_files_are_for_their_owner_and_nothing_else_is_left(
    recorded: RunFolder, tmp_path: Path
) -> None:
    out = tmp_path / "steps.csv"
    assert export(recorded.path, "--table", "steps", "--output", out) == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [out]


def test_what_exists_is_kept_but_for_force(
    recorded: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.csv"
    out.write_text("mine")
    assert export(recorded.path, "--output", out) == 2
    assert "--force" in capsys.readouterr().err and out.read_text() == "mine"
    assert export(recorded.path, "--output", out, "--force") == 0
    assert out.read_text().startswith("request_id,")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--table", "server"), "recorded no table 'server'; it has requests, steps"),
        (("--table", "all"), "name a folder"),
        (("--table", "steps", "--table", "events"), "name a folder"),
        (("--format", "aiperf"), "name a folder"),
        (("--format", "guidellm", "--table", "steps"), "leave --table out"),
        (("--output", "/no/such/folder/r.csv"), "is not a folder"),
        (("--table", "all", "--output", "/dev/null"), "is a file"),
    ],
)
def test_what_makes_no_sense_is_refused(
    recorded: RunFolder, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(recorded.path, *words) == 2
    shown = capsys.readouterr()
    assert said in shown.err and "Traceback" not in shown.err and shown.out == ""


def test_parquet_is_not_written_to_a_terminal(
    recorded: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert export(recorded.path, "--format", "parquet") == 2
    assert "not for a terminal" in capsys.readouterr().err


def test_text_cannot_steer_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = five_requests(tmp_path / "run")
    requests = pl.read_parquet(run.parquet("requests"))
    requests.with_columns(reason=pl.lit("\x1b[31mred")).write_parquet(run.parquet("requests"))
    shown = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(shown, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", shown)
    assert export(run.path) == 0
    assert b"\x1b" not in shown.buffer.getvalue()  # type: ignore[attr-defined]
    assert "�[31mred" in shown.buffer.getvalue().decode()  # type: ignore[attr-defined]


def test_missing_and_broken_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(tmp_path / "none") == 2
    assert "is not a run" in capsys.readouterr().err
    broken = recorded_run(tmp_path / "broken", ending="broken")
    assert export(broken.path, "--table", "steps", "--output", tmp_path / "s.csv") == 2
    assert "steps.parquet can't be read" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.csv")) and not list(tmp_path.glob(".*.part"))


def test_a_dead_run_is_exported_as_recovery_would(
    recorded: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dead = recorded_run(tmp_path / "dead", ending="dead")
    assert export(dead.path, "--table", "all", "--format", "parquet", "--output", tmp_path) == 0
    assert "is dead" in capsys.readouterr().err
    for name in ("requests", "steps", "emissions"):
        saved = pl.read_parquet(recorded.parquet(name))
        read = pl.read_parquet(tmp_path / f"{name}.parquet").select(saved.columns)
        assert_frame_equal(read, saved)


def test_a_living_run_gives_what_has_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live = LiveRun(tmp_path / "live")
    live.advance(live.left // 2)
    try:
        assert export(live.folder.path, "--output", tmp_path / "r.csv") == 0
    finally:
        live.die()
    rows = pl.read_csv(tmp_path / "r.csv")
    assert 0 < rows.height < 40 and "unfinished" not in rows["status"].to_list()
    assert f"{rows.height} requests have ended so far" in capsys.readouterr().err


def test_a_run_that_failed_at_once_has_no_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = recorded_run(tmp_path / "failed", ending="failed")
    for kind in ("csv", "aiperf", "guidellm"):
        out = tmp_path / kind
        out.mkdir()
        assert export(failed.path, "--format", kind, "--output", out) == 0
        assert "no memory for a KV pool" in capsys.readouterr().err
    assert pl.read_csv(tmp_path / "csv" / "requests.csv").height == 0


@pytest.mark.parametrize("kind", ["csv", "parquet", "aiperf", "guidellm"])
def test_a_full_disk_leaves_nothing_behind(recorded: RunFolder, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    limited = (
        "import resource, signal, sys\n"
        "from workbench.cli.main import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = ["export", str(recorded.path), "--format", kind, "--output", str(out)]
    ended = subprocess.run(
        [sys.executable, "-c", limited, *words], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2 and "cannot be written" in ended.stderr
    assert "Traceback" not in ended.stderr and "free space" in ended.stderr
    assert list(out.iterdir()) == []


def test_help_costs_neither_polars_nor_torch() -> None:
    script = (
        "import sys\n"
        "from workbench.cli.main import main\n"
        "assert main(['export', '--help']) == 0\n"
        "assert not {'polars', 'torch', 'textual', 'scipy'} & sys.modules.keys()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "--table" in ended.stdout and "examples:" in ended.stdout
