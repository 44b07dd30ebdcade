"""The launch screen: a form, what it comes to, and the start of a run."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from pilots import drive
from textual.widgets import Input, OptionList, Static

from workbench.errors import StoreError
from workbench.launch.recent import load_spec, save_spec
from workbench.runs.folder import RunFolder
from workbench.runs.store import RunStore, load_run
from workbench.spec import parse_spec
from workbench.tui.screens.dialogs import ChoiceDialog, ConfirmDialog, TextDialog
from workbench.tui.screens.launch import LaunchScreen
from workbench.tui.widgets.preview_pane import PreviewPane
from workbench.tui.widgets.spec_form import SpecForm

WIDE, SMALL = (180, 50), (80, 24)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


class Driven:
    """The app on its launch screen; runs that it would start are only noted."""

    def __init__(self, size=WIDE):
        self.size = size
        self.started = []
        self.opened = []
        self.reports = []

    def run(self, body):
        async def act(driver):
            self.driver, self.app, self.pilot = driver, driver.app, driver.pilot
            self.app.report = self.reports.append
            self.app.open_run = lambda folder, then="live": self.opened.append(folder)
            self.screen.start_runner = self._started
            await self.settle()
            await body(self)

        drive(act, RunStore().root, screen="launch", size=self.size)

    def _started(self, folder):
        self.started.append(folder)
        return SimpleNamespace(folder=folder, exit_code=0)

    @property
    def screen(self):
        return self.app.get_screen("launch", LaunchScreen)

    @property
    def form(self):
        return self.screen.query_one(SpecForm)

    async def settle(self):
        await self.driver.settle()
        await self.driver.settle()

    async def press(self, *keys):
        await self.pilot.press(*keys)
        await self.settle()

    async def type(self, field, text):
        widget = self.screen.query_one(f"#field-{field}", Input)
        widget.focus()
        widget.value = text
        await self.settle()

    async def answer(self, text):
        """Types into the dialog that is open, and presses Enter."""
        self.app.screen.query_one(Input).value = text
        await self.press("enter")

    def text(self, selector):
        return str(self.screen.query_one(selector, Static).content)


def ran(home, number, lock=False, **data):
    run_id = f"20261121-10{number:02}00-chat-0000"
    spec = parse_spec(data, "test")
    folder = RunFolder.create(home / "runs" / run_id, spec.as_dict(), run_id)
    return folder.lock() if lock else folder


def test_the_defaults_are_previewed():
    async def body(driven):
        assert driven.text("#command").endswith("workbench run --workload chat")
        assert "fits; the KV pool holds" in driven.text("#fit")
        traffic = driven.text("#traffic")
        assert "a chat assistant" in traffic and "Azure LLM inference trace 2023" in traffic
        assert "prompts, tokens: p50" in traffic and "answers, tokens: p50" in traffic
        assert driven.screen.query_one("#arrivals").title == "arrivals, shape only: poisson"
        assert "No run yet" in driven.text("#recent-title")

    Driven().run(body)


def test_what_is_typed_changes_the_command_and_the_preview():
    async def body(driven):
        await driven.press("right")
        await driven.type("rate", "2")
        await driven.type("kv-memory", "256MiB")
        assert driven.text("#command").endswith("--workload code --rate 2 --kv-memory 256MiB")
        assert "fewer than the 16 that may run at once" in driven.text("#fit")
        assert driven.screen.query_one("#arrivals").title == "arrivals, requests/s: poisson"

    Driven().run(body)


def test_a_mistake_shows_at_its_field_and_nothing_starts():
    async def body(driven):
        driven.screen.query_one("#field-rate", Input).focus()
        await driven.press(*"fast")
        message = "--rate fast: a number of requests per second, or auto"
        assert message in driven.text("#problem")
        assert "✗ rate" in driven.text("#labels")
        assert driven.screen.query_one(PreviewPane).has_class("-stale")
        await driven.press("ctrl+r")
        assert driven.reports == [message]
        await driven.press(*["backspace"] * 4, "3")
        assert not driven.screen.query_one("#problem").display
        assert "✗" not in driven.text("#labels")
        assert driven.text("#command").endswith("--rate 3")
        assert driven.started == []

    Driven().run(body)


def test_the_help_of_a_field_shows_while_it_has_the_focus():
    async def body(driven):
        assert driven.text("#help").startswith("--workload NAME: what is asked")
        await driven.press("down", "down", "down", "down")
        assert driven.text("#help").startswith("--rate auto|N: requests per second")
        await driven.press("up", "tab", "tab")
        assert driven.text("#help").startswith("--share X")

    Driven().run(body)


def test_a_choice_is_turned_or_taken_from_its_list():
    async def body(driven):
        await driven.press("left")
        assert driven.form.texts["workload"] == "agent"
        await driven.press("enter")
        assert isinstance(driven.app.screen, ChoiceDialog)
        await driven.press("home", "down", "down", "enter")
        assert driven.form.texts["workload"] == "rag"
        driven.screen.query_one("#field-prefix-caching").focus()
        await driven.press("space")
        assert driven.text("#command").endswith("--workload rag --no-prefix-caching")

    Driven().run(body)


@pytest.mark.parametrize("key", ["ctrl+r", "f5"])
def test_start_makes_the_run_and_goes_to_it(home, key):
    async def body(driven):
        await driven.type("seed", "7")
        await driven.press(key)
        (folder,) = driven.started
        assert driven.opened == [folder]
        assert [runner.folder for runner in driven.app.started] == [folder]
        assert folder.path.parent == home / "runs"
        assert parse_spec(folder.read()["spec"], "run").seed == 7
        assert "seed" in driven.form.fields and driven.form.texts["seed"] == "7"

    Driven().run(body)


def test_a_second_run_at_a_time_is_asked_for(home):
    lock = ran(home, 0, lock=True)
    assert lock is not None

    async def body(driven):
        await driven.press("ctrl+r")
        assert isinstance(driven.app.screen, ConfirmDialog)
        await driven.press("n")
        assert driven.started == []
        await driven.press("ctrl+r", "y")
        assert len(driven.started) == 1

    Driven().run(body)


def test_what_does_not_fit_is_asked_for():
    async def body(driven):
        await driven.type("model", "random:lama")
        assert "no model shape is called 'lama'" in driven.text("#fit")
        await driven.press("ctrl+r")
        assert isinstance(driven.app.screen, ConfirmDialog)
        await driven.press("escape")
        assert driven.started == []

    Driven().run(body)


def test_a_trace_that_is_not_there_is_not_started():
    async def body(driven):
        await driven.type("trace", "/nowhere.csv")
        assert "/nowhere.csv" in driven.text("#traffic")
        await driven.press("ctrl+r")
        assert len(driven.reports) == 1 and "/nowhere.csv" in driven.reports[0]
        assert driven.started == []

    Driven().run(body)


def test_a_runner_that_cannot_be_started_leaves_no_run(home):
    async def body(driven):
        def fails(folder):
            raise StoreError("the runner can't be started: no memory")

        driven.screen.start_runner = fails
        await driven.press("ctrl+r")
        assert driven.reports == ["the runner can't be started: no memory"]
        assert list((home / "runs").iterdir()) == []
        driven.screen.start_runner = driven._started
        await driven.press("ctrl+r")
        assert len(driven.started) == 1

    Driven().run(body)


def test_the_command_is_copied_and_put_into_a_file(home):
    async def body(driven):
        await driven.type("seed", "7")
        await driven.press("ctrl+y")
        await driven.press("escape", "y")
        files = sorted((home / "exports").iterdir())
        assert [file.read_text() for file in files] == [
            "workbench run --workload chat --seed 7"
        ] * 2
        assert driven.app.clipboard == "workbench run --workload chat --seed 7"

    Driven().run(body)


def test_earlier_runs_give_their_spec_and_undo_takes_it_back(home):
    ran(home, 0, seed=1)
    ran(home, 1, traffic={"workload": "rag", "input_tokens": "100"}, record={"flush": 1})

    async def body(driven):
        await driven.type("seed", "7")
        recent = driven.screen.query_one("#recent", OptionList)
        assert recent.option_count == 2
        recent.focus()
        await driven.press("enter")
        assert driven.form.texts["workload"] == "rag" and driven.form.texts["seed"] == ""
        assert driven.form.all_shown
        assert "record.flush" in driven.text("#command")
        await driven.press("u")
        assert driven.form.texts["seed"] == "7" and driven.form.texts["workload"] == "chat"
        assert driven.text("#command").endswith("--seed 7")

    Driven().run(body)


def test_a_spec_is_saved_and_loaded(home):
    async def body(driven):
        await driven.type("rate", "2")
        await driven.press("ctrl+e")
        assert isinstance(driven.app.screen, TextDialog)
        await driven.answer("nightly")
        path = home / "specs" / "nightly.toml"
        assert load_spec(path).traffic.rate == 2
        await driven.type("rate", "5")
        await driven.press("ctrl+e")
        await driven.answer("nightly")
        assert isinstance(driven.app.screen, ConfirmDialog)
        await driven.press("n")
        assert load_spec(path).traffic.rate == 2
        await driven.press("ctrl+o", "enter")
        assert driven.form.texts["rate"] == "2"
        await driven.press("ctrl+e")
        await driven.answer("a/b")
        assert "is no name for a spec" in driven.reports[-1]

    Driven().run(body)


def test_a_file_elsewhere_is_loaded_and_a_broken_one_said(home, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("seed = 9\n")
    bad = tmp_path / "bad.toml"
    bad.write_text("quantum = 1\n")
    save_spec(parse_spec({}, "test"), "saved")

    async def body(driven):
        await driven.press("ctrl+o", "down", "enter")
        await driven.answer(str(path))
        assert driven.form.texts["seed"] == "9"
        await driven.press("ctrl+o", "down", "enter")
        await driven.answer(str(bad))
        assert "unknown key 'quantum'" in driven.reports[-1]
        assert driven.form.texts["seed"] == "9"

    Driven().run(body)


def test_all_options_come_and_go_and_keep_their_texts():
    async def body(driven):
        assert not driven.screen.query("#field-drain")
        await driven.press("m")
        await driven.type("drain", "5")
        await driven.press("escape", "m")
        assert not driven.screen.query("#field-drain")
        assert driven.text("#command").endswith("--drain 5")

    Driven().run(body)


def test_a_small_terminal_shows_form_or_preview():
    async def body(driven):
        pane, form = driven.screen.query_one(PreviewPane), driven.form
        assert form.region.width > 70 and not pane.display
        await driven.press("p")
        assert pane.display and pane.region.width > 70 and form.region.width == 0
        assert "prompts, tokens" in driven.text("#traffic")
        await driven.press("p")
        assert form.region.width > 70 and not pane.display
        await driven.pilot.resize_terminal(*WIDE)
        await driven.settle()
        assert pane.display and form.region.width > 50

    Driven(SMALL).run(body)


def test_letters_are_keys_once_the_field_is_left():
    async def body(driven):
        await driven.type("name", "my 2")
        assert driven.form.texts["name"] == "my 2"
        assert driven.app.screen is driven.screen
        await driven.press("escape")
        assert driven.screen.focused is None
        await driven.press("down")
        assert driven.screen.focused.id == "field-workload"
        await driven.press("escape", "5")
        assert driven.app.screen is driven.app.get_screen("runs")
        await driven.press("1")
        assert driven.app.screen is driven.screen and driven.screen.focused is None

    Driven().run(body)


def test_the_screen_imports_nothing_heavy():
    code = (
        "import sys, workbench.tui.screens.launch\n"
        "heavy = {'torch', 'polars', 'plotext'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_real_run_is_started_and_ends(home):
    async def body(driven):
        from workbench.tui.screens.launch import start_runner

        driven.screen.start_runner = start_runner
        for field, text in (
            ("model", "random:tiny"),
            ("rate", "4"),
            ("duration", "2"),
            ("warmup", "0"),
        ):
            await driven.type(field, text)
        driven.screen.query_one("#field-device").focus()
        await driven.press("right")
        await driven.press("m")
        await driven.type("input-tokens", "16")
        await driven.type("output-tokens", "4")
        await driven.press("ctrl+r")
        assert driven.reports == []
        (runner,) = driven.app.started
        assert await asyncio.to_thread(runner.watch, 0.05, lambda: None) == 0
        run = load_run(driven.opened[0])
        assert run.state == "finished", json.dumps(run.content)[:2000]
        assert run.content["summary"]["requests"]["recorded"] > 0

    Driven().run(body)
