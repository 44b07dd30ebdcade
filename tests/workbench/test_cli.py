"""Commands as a user types them, in this process: help, errors, exit codes."""

import subprocess
import sys

import pytest

from workbench.cli.main import COMMANDS, main


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in COMMANDS)


@pytest.mark.parametrize("words", [[], ["attach", "{run}"], ["top"]])
def test_the_app_refuses_what_is_no_terminal(words, capsys, monkeypatch, tmp_path):
    from workbench.runs.folder import RunFolder

    RunFolder.create(tmp_path / "run", {}, "a-run")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    assert main([word.format(run=tmp_path / "run") for word in words]) == 2
    assert "needs a terminal" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert main([command, "--help"]) == 0
    assert "usage: workbench" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["run", "--help"],
        ["bench", "engine", "--help"],
        ["perplexity", "--help"],
        ["runs", "list"],
        ["workloads"],
        ["models"],
    ],
)
def test_what_only_shows_something_imports_no_torch(words):
    code = (
        "import sys\nfrom workbench.cli.main import main\n"
        f"main({words!r})\nassert 'torch' not in sys.modules, 'torch was imported'\n"
        "assert 'textual' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_app_and_its_screens_import_nothing_heavy():
    """What takes long to import isn't imported before the first paint, only when it is used."""
    code = (
        "import importlib, pkgutil, sys\n"
        "import workbench.tui.app, workbench.tui.screens as screens\n"
        "for module in pkgutil.iter_modules(screens.__path__):\n"
        "    importlib.import_module(f'{screens.__name__}.{module.name}')\n"
        "heavy = {'torch', 'polars', 'plotext', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, f'{sorted(heavy)} were imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rnu"], "unknown command 'rnu'; did you mean 'run'"),
        (["run", "--worklaod", "chat"], "did you mean --workload?"),
        (["run", "--workload", "chta"], "choose one of chat"),
        (["run", "--engine", "monolitic"], "choose one of monolithic"),
        (["run", "--rate", "0"], "traffic.rate"),
        (["run", "--rate", "fast"], "--rate fast"),
        (["run", "--duration", "-3"], "traffic.duration"),
        (["run", "--concurrency", "two"], "'two' is not a whole number"),
        (["run", "--slo", "tftt=500ms"], "did you mean 'ttft'"),
        (["run", "--require-attainment", "0.9"], "needs a limit"),
        (["run", "--require-attainment", "90", "--slo", "ttft=1s"], "less than or equal to 1"),
        (["run", "--spec", "nowhere.toml"], "spec nowhere.toml: No such file"),
        (["run", "--block-size", "0"], "engine.block_size"),
        (["runs", "show", "nothing"], "no run 'nothing'"),
        (["runs", "show"], "there is no run in"),
        (["runs", "rm", "nothing", "--yes"], "no run 'nothing'"),
    ],
)
def test_a_mistake_gets_one_message_and_exit_code_2(words, message, capsys):
    assert main(words) == 2
    streams = capsys.readouterr()
    assert message in streams.err
    assert "Traceback" not in streams.err
    assert streams.out == ""


def test_the_spec_can_be_printed_and_given_back(tmp_path, capsys):
    assert (
        main(["run", "--workload", "code", "--rate", "2", "--slo", "ttft=1s", "--print-spec"]) == 0
    )
    path = tmp_path / "spec.toml"
    path.write_text(capsys.readouterr().out)
    assert main(["run", "--spec", str(path), "--print-spec"]) == 0
    assert capsys.readouterr().out == path.read_text()
    assert main(["run", "--spec", str(path), "--concurrency", "4", "--print-spec"]) == 0
    shown = capsys.readouterr().out
    assert "concurrency = 4" in shown and 'rate = "auto"' in shown
    path.write_text(shown)
    assert main(["run", "--spec", str(path), "--rate", "3", "--print-spec"]) == 0
    shown = capsys.readouterr().out
    assert "concurrency" not in shown and "rate = 3.0" in shown


def test_workloads_name_their_sources(capsys):
    assert main(["workloads"]) == 0
    shown = capsys.readouterr().out
    for name in ("chat", "code", "rag", "summarize", "Azure", "source:"):
        assert name in shown


def test_an_empty_store_says_so(capsys):
    assert main(["runs", "list"]) == 0
    assert "no runs in" in capsys.readouterr().out
