"""`workbench compare` as a user types it: sides, formats, gates, baselines, and what goes wrong."""

import json
import shutil
import subprocess
import sys

import polars as pl
import pytest
from recorded import recorded_run

from workbench.cli.main import main
from workbench.runs.annotations import Annotations, write_annotations
from workbench.runs.folder import RunFolder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A store: `calm` and `busy`, 60 requests each, the latter at twice the rate; a dead run, one
    without requests, one of a newer version."""
    home = tmp_path_factory.mktemp("home")
    made = (
        ("calm", 1.0, "finished"), ("busy", 2.0, "finished"), ("dead", 1.0, "dead"),
        ("failed", 1.0, "failed"), ("newer", 1.0, "newer"),
    )  # fmt: skip
    for number, (name, rate, ending) in enumerate(made):
        path = home / "runs" / f"2026010{number + 1}-120000-{name}-0000"
        recorded_run(
            path, run_id=path.name, name=name, rate_per_s=rate, requests=60,
            slo={"ttft": 2000.0}, ending=ending,
        )  # fmt: skip
    return home


@pytest.fixture(autouse=True)
def home(runs, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(runs))
    monkeypatch.setenv("COLUMNS", "120")
    return runs


def test_two_runs_as_a_table(capsys):
    assert main(["compare", "calm", "busy"]) == 0
    shown = capsys.readouterr().out
    assert "THE TRAFFIC DIFFERS" in shown and "traffic.rate" in shown
    assert shown.index("THE TRAFFIC DIFFERS") < shown.index("TTFT p50")
    for word in ("TTFT p99", "Goodput", "Verdict", "queue time", "95 %"):
        assert word in shown
    assert all(len(line) <= 120 for line in shown.splitlines())


@pytest.mark.parametrize("suffix", ["md", "csv", "json", "html", "tex", "parquet", "txt"])
def test_the_output_says_its_format(suffix, tmp_path, capsys):
    output = tmp_path / "sub" / f"comparison.{suffix}"
    assert main(["compare", "calm", "busy", "--output", str(output)]) == 0
    printed = capsys.readouterr()
    assert printed.out == "" and str(output) in printed.err
    assert [each.name for each in output.parent.iterdir()] == [output.name]
    data = output.read_bytes()
    starts = {
        "md": b"### ", "csv": b"metric,", "json": b"{", "html": b"<!DOCTYPE html>",
        "tex": b"%", "parquet": b"PAR1", "txt": b"",
    }  # fmt: skip
    assert data.lower().startswith(starts[suffix].lower())
    if suffix == "parquet":
        frame = pl.read_parquet(output)
        assert frame.filter(name="ttft_p50").height == 2


def test_json_has_everything_and_stdout_nothing_else(capsys):
    words = ["compare", "calm", "busy", "--format", "json", "--fail-if", "ttft_p50 > 1h"]
    assert main(words) == 0
    content = json.loads(capsys.readouterr().out)
    assert [side["label"] for side in content["sides"]] == ["calm", "busy"]
    row = next(row for row in content["rows"] if row["name"] == "ttft_p50")
    assert row["cells"][1]["change"]["ratio"] > 1
    assert content["conditions"][0]["holds"] == "no" and content["explanations"]


def test_conditions_end_in_4_only_where_the_evidence_holds(capsys):
    sure = ["compare", "calm", "busy", "--fail-if", "e2e_mean > 1ms"]
    assert main(sure) == 4
    assert "e2e_mean > 1ms: holds for busy" in capsys.readouterr().err
    assert main(["compare", "calm", "busy", "--fail-if", "ttft_p99 > +5%"]) == 0
    assert "can't be told" in capsys.readouterr().err
    assert main(["compare", "calm", "busy", "--fail-if", "failed > 0"]) == 0


def test_a_kept_baseline(tmp_path, capsys):
    path = tmp_path / "baseline.json"
    assert main(["compare", "calm", "--save-baseline", str(path)]) == 0
    words = ["compare", "busy", "--baseline", str(path), "--format", "json"]
    assert main([*words, "--fail-if", "e2e_mean > 1ms"]) == 4
    content = json.loads(capsys.readouterr().out)
    assert [side["label"] for side in content["sides"]] == ["calm", "busy"]
    assert path.stat().st_size < 200_000


def test_what_can_be_compared_is_compared(capsys):
    newer = "20260105-120000-newer-0000"
    assert main(["compare", "calm", "nothing", "failed", newer, "dead"]) == 0
    printed = capsys.readouterr()
    assert "no run 'nothing'" in printed.err and "failed" in printed.err
    assert "newer workbench" in printed.err
    assert "has no summary: figures of the" in " ".join(printed.out.split())


def test_tags_and_patterns_name_runs(home, capsys):
    for name in ("calm", "busy"):
        (path,) = (home / "runs").glob(f"*-{name}-0000")
        write_annotations(RunFolder(path), Annotations(tags=frozenset({"pair"})))
    assert main(["compare", "tag:pair", "--format", "csv"]) == 0
    assert main(["compare", "cal*", "bus*", "--format", "csv"]) == 0
    assert "busy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["calm"], "name 2 runs or more"),
        (["calm", "nothing"], "no run 'nothing'"),
        (["calm", "busy", "--fail-if", "ttft_p99 5%"], "write METRIC"),
        (["calm", "busy", "--fail-if", "ttft_p9 > +5%"], "did you mean 'ttft_p99'"),
        (["calm", "busy", "--metric", "ttft_9*"], "no run has a metric"),
        (["calm", "busy", "--output", "x.doc"], "its ending says no format"),
        (["calm", "busy", "--run-noise", "much"], "--run-noise much"),
        (["calm", "busy", "--run-noise", "200%"], "--run-noise 200%"),
        (["calm", "--baseline", "/nowhere/b.json"], "--save-baseline FILE"),
        (["calm", "busy", "--format", "pdf"], "invalid choice"),
    ],
)
def test_bad_use_is_told_and_ends_in_2(words, said, capsys):
    assert main(["compare", *words]) == 2
    assert said in capsys.readouterr().err


def test_an_output_that_can_not_be_written_is_told(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    output = tmp_path / "file" / "x.md"
    assert main(["compare", "calm", "busy", "--output", str(output)]) == 2
    assert "can't be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    "summary",
    [
        {"load": {"fell_behind": True}},
        {"window": {"start_ns": "x", "end_ns": None}},
        {"window": [], "latency": 7},
        {"latency": {"ttft_ms": {"p50": 3}}, "requests": {"measured": "many"}},
    ],
)
def test_strange_records_are_told_or_compared(summary, home, tmp_path, capsys):
    (calm,) = (home / "runs").glob("*-calm-0000")
    strange = tmp_path / "strange"
    shutil.copytree(calm, strange)
    content = json.loads((strange / "run.json").read_text()) | {"summary": summary}
    (strange / "run.json").write_text(json.dumps(content))
    code = main(["compare", "calm", str(strange)])
    said = capsys.readouterr().err
    assert code == 0 or (code == 2 and "no runner writes" in said), said


def test_comparing_imports_neither_torch_nor_textual(home):
    code = (
        "import sys\nfrom workbench.cli.main import main\n"
        "assert main(['compare', 'calm', 'busy', '--format', 'json']) == 0\n"
        "heavy = {'torch', 'textual', 'pydantic'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_imports_little():
    code = (
        "import sys\nfrom workbench.cli.main import main\nmain(['compare', '--help'])\n"
        "heavy = {'torch', 'textual', 'polars', 'numpy', 'scipy', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--fail-if" in done.stdout
