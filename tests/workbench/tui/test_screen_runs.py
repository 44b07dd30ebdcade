"""The library screen: search, order, marks, tags, notes, deletion, recovery, broken folders."""

from __future__ import annotations

import shutil

import pilots
import pytest
from recorded import LiveRun, recorded_run
from textual.widgets import Input, Static

from workbench.runs.annotations import Annotations, read_annotations, write_annotations
from workbench.runs.folder import RunFolder
from workbench.runs.store import RunStore, load_run
from workbench.tui.screens.dialogs import ConfirmDialog, TextDialog
from workbench.tui.widgets.big_table import BigTable

WIDE, SMALL = (180, 50), (80, 24)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def store(home, recorded):
    """Two finished runs, `alpha` and `beta`."""
    root = home / "runs"
    root.mkdir(parents=True)
    for number, name in enumerate(("alpha", "beta")):
        path = root / f"2026010{number + 1}-120000-{name}-0000"
        shutil.copytree(recorded.path, path)
        RunFolder(path).update(
            run_id=path.name, name=name, created=f"2026-01-0{number + 1}T12:00:00+00:00"
        )
    return RunStore(root)


def drive(body, size=WIDE):
    pilots.drive_alone(body, "runs", size=size)


def shown(app):
    """The names in the table, from the top."""
    source = app.screen.query_one(BigTable).source
    return [cells[0].text for cells in source.cells(0, source.row_count)]


def text_of(app, name):
    return str(app.screen.query_one(name, Static).render())


def folder_of(store, name):
    return next(run.folder for run in store.runs()[0] if run.content["name"] == name)


@pytest.mark.parametrize("size", [WIDE, SMALL])
def test_runs_are_listed_newest_first(store, size):
    async def body(app, keys):
        assert shown(app) == ["beta", "alpha"]
        assert "2 runs" in text_of(app, "#said")
        pane = text_of(app, "#run")
        assert "beta" in pane and "TTFT" in pane and "p99" in pane

    drive(body, size)


def test_no_run_yet_says_what_to_press(home):
    async def body(app, keys):
        assert "press 1 to launch one" in app.screen.query_one(BigTable).empty_text
        await keys("enter", "space", "t", "n", "d", "R", "y", "c")
        assert app.reports == []

    drive(body)


def test_search_takes_every_word(store):
    write_annotations(folder_of(store, "alpha"), Annotations(frozenset({"nightly"}), "cold cache"))

    async def body(app, keys):
        await keys("slash", *"CHAT")
        assert shown(app) == ["beta", "alpha"]
        await keys("space", *"nightly")
        assert shown(app) == ["alpha"]
        assert "1 of 2 runs" in text_of(app, "#said")
        await keys(*"xyz")
        assert shown(app) == []
        assert "No run has" in app.screen.query_one(BigTable).empty_text
        await keys("escape")
        assert shown(app) == ["beta", "alpha"]
        assert app.screen.query_one("#search", Input).value == ""

    drive(body)


def test_columns_sort_and_the_cursor_stays_on_its_run(store):
    async def body(app, keys):
        table = app.screen.query_one(BigTable)
        await keys("down")
        key = table.cursor_key
        table.post_message(BigTable.SortChanged(table, "run", False))
        await keys()
        assert shown(app) == ["alpha", "beta"] and table.cursor_key == key

    drive(body)


def test_tags_note_and_mark_are_kept(store):
    async def body(app, keys):
        await keys("t")
        assert isinstance(app.screen, TextDialog)
        await keys(*"slow", "comma", *"h200", "enter")
        await keys("n", *"why", "enter")
        await keys("space")
        written = read_annotations(folder_of(store, "beta"))
        assert written == Annotations(frozenset({"slow", "h200"}), "why", marked=True)
        assert "why" in text_of(app, "#run") and "1 marked" in text_of(app, "#said")
        await keys("space")
        assert not read_annotations(folder_of(store, "beta")).marked
        await keys("n", "escape")
        assert read_annotations(folder_of(store, "beta")).note == "why"

    drive(body)


def test_a_tag_that_is_none_is_refused_in_words(store):
    async def body(app, keys):
        await keys("t", *"no!", "enter")
        assert "no!" in app.reports[0]
        assert read_annotations(folder_of(store, "beta")).tags == frozenset()

    drive(body)


def test_deleting_asks_first(store):
    async def body(app, keys):
        path = folder_of(store, "beta").path
        await keys("d")
        assert isinstance(app.screen, ConfirmDialog)
        await keys("n")
        assert path.exists() and shown(app) == ["beta", "alpha"]
        await keys("d", "y")
        assert not path.exists() and shown(app) == ["alpha"]

    drive(body)


def test_a_living_run_is_not_deleted(store):
    run = LiveRun(store.root / "20260103-120000-live-0000", run_id="live", name="gamma")
    run.folder.update(created="2026-01-03T12:00:00+00:00")
    run.advance(5)

    async def body(app, keys):
        assert shown(app)[0] == "gamma"
        await keys("d")
        assert not isinstance(app.screen, ConfirmDialog)
        assert "stop it first" in app.reports[0] and run.folder.path.exists()

    drive(body)
    run.die()


def test_a_dead_run_is_recovered(store):
    folder = recorded_run(store.root / "dead", run_id="dead", name="delta", ending="dead")
    folder.update(created="2026-01-04T12:00:00+00:00")

    async def body(app, keys):
        assert "R recovers" in text_of(app, "#run")
        await keys("R")
        assert load_run(folder).state == "killed" and app.reports == []
        assert "killed" in text_of(app, "#run")
        await keys("R")
        assert "nothing to recover" in app.reports[0]

    drive(body)


def test_broken_folders_are_rows_that_say_why(store):
    (store.root / "empty").mkdir()
    (store.root / "half").mkdir()
    (store.root / "half" / "run.json").write_text('{"run_id": "half", ')
    (store.root / "odd").mkdir()
    (store.root / "odd" / "run.json").write_text("[1]")
    recorded_run(store.root / "newer", run_id="newer", ending="newer")
    (folder_of(store, "alpha").path / "annotations.json").write_text("{")

    async def body(app, keys):
        assert set(shown(app)) == {"alpha", "beta", "empty", "half", "odd", "newer"}
        table = app.screen.query_one(BigTable)
        for name, word in (("empty", "no run.json"), ("half", "broken"), ("odd", "record")):
            assert table.go_to_key(str(store.root / name))
            await keys()
            assert word in text_of(app, "#said") and word in text_of(app, "#run")
        before = len(app.reports)
        await keys("enter", "space", "t")
        assert len(app.reports) == before + 3
        assert table.go_to_key(str(store.root / "odd"))
        await keys("d", "y")
        assert not (store.root / "odd").exists()

    drive(body)


def test_enter_opens_c_compares_and_y_copies(store):
    async def body(app, keys):
        opened, gone = [], []
        app.open_run = lambda folder, then="live": opened.append((folder.path.name, then))
        app.go = gone.append
        await keys("enter")
        assert opened == [("20260102-120000-beta-0000", "live")]
        await keys("c")
        assert gone == []
        await keys("space", "down", "space", "c")
        assert gone == ["compare"]
        await keys("y")
        assert [text for _, _, text in app.copied] == [str(folder_of(store, "alpha").path)]

    drive(body)


def test_a_run_that_comes_or_goes_is_seen(store):
    async def body(app, keys):
        shutil.rmtree(folder_of(store, "beta").path)
        await keys()
        assert shown(app) == ["alpha"]

    drive(body)
