"""What happens to the app, the runner and the terminal when one of them is taken away."""

from __future__ import annotations

import os
import shutil
import signal
import time

import pytest
from pilots import drive
from processes import wait_for
from terminals import program, workbench

from workbench.launch.launcher import Runner, create_run
from workbench.runs.folder import RunFolder
from workbench.runs.store import RunStore, load_run
from workbench.spec import RunSpec
from workbench.tui.screens.dialogs import ConfirmDialog
from workbench.tui.settings import Settings

SPEC = {
    "name": "short",
    "model": {"name": "random:tiny", "device": "cpu"},
    "engine": {"max_model_len": 512},
    "traffic": {"rate": 20.0, "duration": 600.0, "input_tokens": "16..64", "output_tokens": "4"},
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def stored(home, recorded):
    """The store's only run, a finished one."""
    path = home / "runs" / recorded.path.name
    shutil.copytree(recorded.path, path)
    return path


# -- the terminal -------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_app_and_restores_the_terminal(stored, number):
    with workbench("attach", "last") as terminal:
        terminal.wait_for("TTFT")
        assert not terminal.is_restored()
        terminal.process.send_signal(number)
        assert terminal.ended() == 128 + number
        assert terminal.is_restored()
        assert "Traceback" not in terminal.painted


@pytest.mark.parametrize("keys", ["q", "\x03", "\x11"])
def test_quitting_restores_the_terminal(stored, keys):
    with workbench() as terminal:
        terminal.wait_for("1 run in")
        terminal.type(keys)
        assert terminal.ended() == 0
        assert terminal.is_restored()


@pytest.mark.parametrize("part", ["load", "show", "question"])
def test_a_fault_in_a_screen_ends_with_a_traceback_on_a_restored_terminal(stored, part):
    lines = [
        "from workbench.tui.screens.runs import RunsScreen",
        "def fail(*words): raise ZeroDivisionError('made up')",
        f"RunsScreen.{part} = fail",
        "raise SystemExit(run_app('runs'))",
    ]
    with program(lines) as terminal:
        assert terminal.ended() == 1
        assert terminal.is_restored()
        after = terminal.painted.split("\x1b[?1049l")[-1]
        assert "ZeroDivisionError" in after and "made up" in after and "NOTE" not in after


@pytest.mark.parametrize("hears", [True, False], ids=["SIGHUP", "no signal"])
def test_a_closed_window_ends_the_app(stored, hears):
    lines = [
        "import signal",
        "import workbench.tui.leaving as leaving",
        "" if hears else "leaving.SIGNALS = (); signal.signal(signal.SIGHUP, signal.SIG_IGN)",
        "raise SystemExit(run_app('runs'))",
    ]
    with program(lines) as terminal:
        terminal.wait_for("1 run in")
        terminal.close()
        assert terminal.process.wait(60) == 129


def test_a_terminal_that_nobody_reads_does_not_hold_the_app(stored):
    lines = [
        "from workbench.tui.app import WorkbenchApp",
        "from workbench.tui.steady_driver import SteadyOutput",
        "write = SteadyOutput.write",
        "SteadyOutput.write = lambda self, text: write(self, text + ' ' * (1 << 16))",
        "raise SystemExit(run_app('runs'))",
    ]
    with program(lines) as terminal:
        terminal.wait_for("1 run in")
        terminal.stop_reading()
        for _ in range(50):
            terminal.type("?\x1b")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.process.wait(60) == 143
        assert terminal.attributes() == terminal.before


def test_quitting_does_not_wait_for_a_load_that_hangs(stored):
    lines = [
        "import threading",
        "from workbench.tui.screens.runs import RunsScreen",
        "RunsScreen.load = lambda self, question: threading.Event().wait()",
        "raise SystemExit(run_app('runs'))",
    ]
    with program(lines) as terminal:
        terminal.wait_for("Quit")
        terminal.type("q")
        assert terminal.ended() == 0
        assert terminal.is_restored()


@pytest.mark.parametrize(
    ("environ", "ascii_only"),
    [
        ({"LC_ALL": "C"}, True),
        ({"LC_ALL": "en_US.ISO-8859-1"}, True),
        ({"LC_ALL": "", "LC_CTYPE": "xx_XX.UTF-8", "LANG": "C"}, False),
    ],
)
def test_the_locale_decides_what_is_drawn(stored, environ, ascii_only):
    with workbench("attach", "last", **environ) as terminal:
        terminal.wait_for("TTFT")
        terminal.press("4", "worker 0")
        terminal.type("q")
        assert terminal.ended() == 0
        assert terminal.painted.isascii() == ascii_only


def test_a_terminal_that_can_do_nothing_is_refused():
    with workbench(TERM="dumb") as terminal:
        assert terminal.ended() == 2
        assert "TERM is dumb: the app needs a terminal that can" in terminal.painted
        assert "\x1b" not in terminal.painted


def test_too_small_a_terminal_says_how_small(home, stored):
    async def act(app):
        assert "too small: 59×17" in app.screen()
        await app.pilot.resize_terminal(60, 18)
        await app.settle()
        assert "too small" not in app.screen() and "TTFT" in app.screen()

    drive(act, home / "runs", folder=RunFolder(stored), size=(59, 17))


def test_settings_that_are_broken_are_told_and_left_alone(home, stored):
    path = home / "settings.toml"
    path.write_text("theme = [")
    with workbench() as terminal:
        terminal.wait_for("correct or remove")
        terminal.type("q")
        assert terminal.ended() == 0
    assert path.read_text() == "theme = ["


# -- the runner ---------------------------------------------------------------------------------


@pytest.fixture
def runner(home):
    """A run that goes on by itself, with its first requests recorded."""
    started = Runner(create_run(RunSpec.model_validate(SPEC), None, RunStore()), detached=True)
    wait_for(
        lambda: any(started.folder.segments.glob("0000000[2-9].seg")), lambda: "it does not begin"
    )
    yield started
    if started.exit_code is None:
        os.kill(started.pid, signal.SIGKILL)
    wait_for(lambda: started.exit_code is not None)


def kill(runner):
    os.kill(runner.pid, signal.SIGKILL)
    wait_for(lambda: runner.exit_code is not None)


def test_a_killed_runner_is_told_and_its_run_recovered(home, runner):
    async def act(app):
        assert "running" in app.lines()[0]
        kill(runner)
        await app.settle()
        assert "dead" in app.lines()[0]
        assert "its runner is gone without ending the run" in app.screen()
        assert "sorted by" in await app.press("3")
        shown = await app.press("enter")
        assert "since arrival" in shown
        assert "worker 0" in await app.press("escape", "4")
        app.clock.now_ns = time.monotonic_ns()
        assert "dead" in await app.press("5")
        await app.press("R")
        assert "recovered as 'killed'" in app.said()
        app.clock.now_ns += 3_000_000_000
        await app.settle()
        assert load_run(runner.folder).state == "killed"
        shown = await app.press("enter")
        assert "killed" in app.lines()[0] and "its runner ended without saying why" in shown
        assert "sorted by" in await app.press("3")

    class Now:
        now_ns = property(lambda self: time.monotonic_ns(), lambda self, value: None)

        def __call__(self):
            return time.monotonic_ns()

    drive(act, home / "runs", folder=runner.folder, clock=Now())


def test_a_killed_app_leaves_its_run_alone(home):
    (home / "specs").mkdir(parents=True)
    spec = RunSpec.model_validate(SPEC | {"traffic": SPEC["traffic"] | {"duration": 3.0}})
    (home / "specs" / "short.toml").write_text(spec.as_toml())
    with workbench() as terminal:
        terminal.wait_for("workbench run --workload chat")
        terminal.press("\x0f", "another file")
        terminal.press("\r", "--model random:tiny")
        terminal.press("\x12", "TTFT")
        terminal.process.kill()
        terminal.ended()
    (run,) = RunStore().runs()[0]
    wait_for(lambda: load_run(run.folder).state == "finished", lambda: "it did not go on")
    with workbench("attach", "last") as terminal:
        terminal.wait_for("finished")
        terminal.wait_for("TTFT")
        terminal.type("q")
        assert terminal.ended() == 0


@pytest.mark.parametrize("first", ["app", "runner"])
def test_both_are_killed_and_the_run_opens(home, runner, first):
    with workbench("attach", "last") as terminal:
        terminal.wait_for("TTFT")
        for killed in (first, {"app": "runner", "runner": "app"}[first]):
            if killed == "app":
                terminal.process.kill()
                terminal.ended()
            else:
                kill(runner)
    with workbench("attach", "last") as terminal:
        terminal.wait_for("its runner is gone without ending the run")
        terminal.wait_for("TTFT")
        terminal.press("5", "its runner is gone; R recovers")
        terminal.press("R", "recovered as 'killed'")
        terminal.type("q")
        assert terminal.ended() == 0
    assert load_run(runner.folder).state == "killed"


def test_leaving_asks_while_a_run_of_this_window_goes_on(home, runner):
    async def act(app):
        app.app.started.append(runner)
        shown = await app.press("q")
        assert isinstance(app.app.screen, ConfirmDialog)
        assert "Quit, and let the run go on?" in shown and runner.folder.path.name in shown
        await app.press("n")
        assert app.app._running and not isinstance(app.app.screen, ConfirmDialog)
        kill(runner)
        await app.pilot.press("q")
        assert app.app.return_value == 0

    drive(act, home / "runs", folder=runner.folder)


# -- the folder ---------------------------------------------------------------------------------


def test_a_run_that_is_deleted_while_it_is_open(home, stored):
    async def act(app):
        assert "35 ok" in app.screen()
        shutil.rmtree(stored)
        for _ in range(3):
            app.clock.now_ns += 1_000_000_000
            await app.settle()
        assert app.said().count("is not a run: it has no run.json") == 1
        for key in "346":
            await app.press(key)
        assert "No runs yet" in await app.press("5")
        assert "workbench run" in await app.press("1")
        await app.press("2")

    drive(act, home / "runs", folder=RunFolder(stored))


@pytest.mark.parametrize("keys", [["3"], ["4"], ["3", "enter"]])
def test_a_deleted_run_is_told_of_once_on_every_screen(home, stored, keys):
    async def act(app):
        await app.press(*keys)
        shutil.rmtree(stored)
        for _ in range(4):
            app.clock.now_ns += 3_000_000_000
            await app.settle()
        assert app.said().count("is not a run: it has no run.json") == 1

    drive(act, home / "runs", folder=RunFolder(stored))


def test_files_that_cannot_be_written_are_told(home, stored):
    (home / "exports").write_text("no folder")
    (home / "settings.toml").mkdir()
    (stored / "annotations.json").mkdir()

    async def act(app):
        await app.press("ctrl+s")
        assert "can't write" in app.said() and "screen.svg: File exists" in app.said()
        app.app.change_settings(Settings(refresh_hz=2.0))
        await app.settle()
        assert "the settings can't be saved: Is a directory" in app.said()
        await app.press("5", "space")
        assert "annotations.json" in app.said() or "annotations.json" in app.screen()

    drive(act, home / "runs", folder=RunFolder(stored))


@pytest.mark.parametrize("key", list("2345"))
def test_a_disk_that_fails_is_told_once(home, stored, monkeypatch, key):
    async def act(app):
        await app.press(key)

        def fail(*words, **options):
            raise OSError(5, "Input/output error", "/made/up")

        monkeypatch.setattr("workbench.viewing.view.load_run", fail)
        monkeypatch.setattr("workbench.viewing.view.RunView._stamp", lambda view: (0, 0))
        monkeypatch.setattr("workbench.viewing.library.Library.rows", fail)
        for _ in range(4):
            app.clock.now_ns += 3_000_000_000
            await app.settle()
        assert app.said().count("/made/up can't be read: Input/output error") == 1
        monkeypatch.undo()
        app.clock.now_ns += 3_000_000_000
        await app.settle()
        assert "20260101" in app.lines()[0]

    drive(act, home / "runs", folder=RunFolder(stored), settings=Settings())
