"""Run folders that are no runs, or broken ones: said in words, in the library and on opening."""

from __future__ import annotations

import json
import shutil

import polars as pl
import pytest
from pilots import drive
from recorded import recorded_run

from workbench.cli.main import main
from workbench.runs.folder import RunFolder
from workbench.runs.segments import list_segments

RUN = "20260101-120000-odd-0000"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def opened(monkeypatch):
    """The folders that the app was opened with, in place of the app."""
    folders = []
    monkeypatch.setattr(
        "workbench.cli.attach.open_app",
        lambda start, folder, ascii_only: folders.append(folder) or 0,
    )
    return folders


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


UNREADABLE = {
    "empty": (lambda path: [part.unlink() for part in path.glob("*.*")], "is not a run"),
    "half-written": (lambda path: half(path / "run.json"), "is broken"),
    "empty run.json": (lambda path: (path / "run.json").write_bytes(b""), "is broken"),
    "no record": (lambda path: (path / "run.json").write_text("[1]"), "is not the record of a run"),
    "50 MiB": (lambda path: (path / "run.json").write_bytes(b" " * (50 << 20)), "is broken: 52,4"),
    "nested deep": (
        lambda path: (path / "run.json").write_text(f'{{"spec": {"[" * 10**5}'),
        "is broken",
    ),
    "nested": (
        lambda path: RunFolder(path).update(spec=json.loads('{"a":' * 99 + "1" + "}" * 99)),
        "is not the record of a run",
    ),
    "newer": (lambda path: RunFolder(path).update(schema=99), "made by a newer workbench"),
}


@pytest.mark.parametrize("fault", UNREADABLE)
def test_what_cannot_be_read_is_a_row_with_its_problem(recorded, home, opened, capsys, fault):
    path = home / "runs" / RUN
    shutil.copytree(recorded.path, path)
    spoil, problem = UNREADABLE[fault]
    spoil(path)

    async def act(app):
        shown = app.screen()
        assert "broken" in shown and problem in " ".join(shown.split())
        shown = await app.press("enter")
        assert problem in app.said() and app.app.session is None
        for key in ("space", "t", "n", "R", "y", "2", "3", "4", "6", "1"):
            await app.press(key)
        await app.press("5", "d", "y")
        assert not path.exists()

    for name in (str(path), RUN):
        assert main(["attach", name]) == 2
        said = capsys.readouterr().err
        assert said.startswith("workbench attach: ") and said.count("\n") == 1
        assert "Traceback" not in said
    assert not opened
    drive(act, home / "runs", screen="runs")


@pytest.mark.parametrize(
    "table", ["requests", "steps", "emissions", "events", "devices", "pools", "run"]
)
@pytest.mark.parametrize("spoil", ["cut", "gone", "noise", "another table"])
def test_a_broken_table_is_told_on_opening(recorded, home, opened, table, spoil):
    path = home / "runs" / RUN
    shutil.copytree(recorded.path, path)
    file = path / ("run.json" if table == "run" else f"{table}.parquet")
    if spoil == "cut":
        half(file)
    elif spoil == "gone":
        file.unlink()
    elif spoil == "noise":
        file.write_bytes(b"PAR1" + bytes(range(256)) * 8 + b"PAR1")
    else:
        other = "steps" if table != "steps" else "events"
        shutil.copy(path / f"{other}.parquet", file)

    async def act(app):
        await app.settle()
        if app.app.session is None:
            assert file.name in app.said() or table in app.said() or "not a run" in app.said()
        for key in "123456":
            await app.press(key)

    drive(act, home / "runs", folder=RunFolder(path))


@pytest.mark.parametrize(
    ("column", "value"),
    [("status", "odd"), ("request_id", -7), ("request_id", 1 << 60), ("scheduled_ns", None)],
)
def test_values_that_no_runner_writes_are_told_on_opening(recorded, home, column, value):
    folder = RunFolder(home / "runs" / RUN)
    shutil.copytree(recorded.path, folder.path)
    path = folder.parquet("requests")
    table = pl.read_parquet(path)
    spoilt = pl.lit(value, dtype=table.schema[column]).alias(column)
    table.with_columns(spoilt).write_parquet(path)

    async def act(app):
        assert app.app.session is not None or "hold what no runner writes" in app.said()
        for key in "123456":
            await app.press(key)

    drive(act, home / "runs", folder=folder)


@pytest.mark.parametrize("spoil", ["cut", "noise", "empty"])
def test_broken_segments_are_passed_over_and_the_rest_opens(home, spoil):
    folder = recorded_run(home / "runs" / RUN, run_id=RUN, ending="dead")
    for segment in list_segments(folder.segments)[3:9:2]:
        if spoil == "cut":
            half(segment)
        else:
            segment.write_bytes(b"" if spoil == "empty" else bytes(range(256)) * 20)

    async def act(app):
        assert "its runner is gone" in app.screen()
        assert app.app.session.view.problems
        for key in "345612":
            await app.press(key)
        assert "TTFT" in app.screen()

    drive(act, home / "runs", folder=folder)


ODD = (None, "odd", 1e300, [1, None], {"odd": {"odd": []}})


@pytest.mark.parametrize(("ending", "screen"), [("finished", "live"), ("dead", "runs")])
def test_whatever_run_json_holds_no_screen_falls(home, ending, screen):
    folder = recorded_run(home / "runs" / RUN, run_id=RUN, ending=ending)
    content = folder.read()

    async def act(app):
        for field in content:
            for value in ODD:
                folder.run_json.write_text(json.dumps(content | {field: value}))
                app.clock.now_ns += 3_000_000_000
                await app.settle()
                assert app.app._exception is None, (field, value)
        folder.write(content)
        app.clock.now_ns += 3_000_000_000
        await app.settle()
        assert "odd" in app.screen() and "1e+300" not in app.screen()

    drive(act, home / "runs", folder=folder, screen=screen)


@pytest.mark.parametrize(
    ("created", "shown"),
    [
        ("2999-01-01T12:00:00+00:00", "2999-01-01"),
        ("9999-12-31T23:59:59-14:00", ""),
        ("0001-01-01T00:00:00", ""),
    ],
)
def test_a_clock_that_was_wrong_is_shown_as_it_was(recorded, home, created, shown):
    folder = RunFolder(home / "runs" / RUN)
    shutil.copytree(recorded.path, folder.path)
    folder.update(created=created)

    async def act(app):
        (row,) = [line for line in app.lines() if "finished" in line and "odd" not in line[:20]]
        assert shown in row
        assert "TTFT" in await app.press("enter")

    drive(act, home / "runs", screen="runs")
