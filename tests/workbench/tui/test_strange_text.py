"""Text of a run that would steer a terminal or a markup parser; who may read what is written."""

from __future__ import annotations

import re
import shutil
import stat

import polars as pl
import pytest
from pilots import drive

from workbench.runs.annotations import Annotations, write_annotations
from workbench.runs.folder import RunFolder
from workbench.tui.settings import Settings

MARKUP = "[bold]x[/ [@click=app.bell]y[/] \\[ $primary"
STEERING = "\x1b]0;owned\x07 \x9b2J \x1b[2J\r\n\u202e"
STRANGE = f"{MARKUP} {STEERING}"
HALVED = f"{STRANGE} \ud800"
"""With half a character, which JSON can hold and no file and no terminal takes."""
_STEERS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\ud800-\udfff]")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def strange(home, recorded):
    """A run whose every text is strange, marked with another one."""
    for name in ("20260101-120000-odd-0000", "20260101-120000-odd-0001"):
        folder = RunFolder(home / "runs" / name)
        shutil.copytree(recorded.path, folder.path)
        content = folder.read()
        content["spec"]["traffic"]["workload"] = HALVED
        content["spec"]["model"]["name"] = HALVED
        content["summary"]["notes"] = [HALVED]
        folder.update(
            run_id=name,
            name=HALVED,
            reason=HALVED,
            spec=content["spec"],
            summary=content["summary"],
            engine=content["engine"] | {"model": HALVED, "name": HALVED, "device": HALVED},
            traffic={"what": HALVED, "arrival": HALVED, "notes": [HALVED]},
            telemetry={"reasons": {"gpu": HALVED}},
        )
        for table, column in (("events", "detail"), ("requests", "reason"), ("steps", "blocked")):
            path = folder.parquet(table)
            pl.read_parquet(path).with_columns(pl.lit(STRANGE).alias(column)).write_parquet(path)
        write_annotations(folder, Annotations(frozenset({"tag"}), MARKUP, marked=True))
    return folder


def check(app):
    """Nothing on the screen, as it goes to the terminal, steers it."""
    for strip in app.app.screen._compositor.render_strips():
        for segment in strip:
            assert not segment.control
            assert not _STEERS.search(segment.text), repr(segment.text)


@pytest.mark.parametrize("size", [(180, 50), (80, 24)])
def test_text_of_a_run_shows_as_it_is_and_steers_nothing(home, strange, size):
    async def act(app):
        wide = size[0] > 100
        shown = await app.press("2")
        assert "[bold]x[/" in shown or not wide
        check(app)
        for key in (
            "v",
            "v",
            "3",
            "enter",
            "v",
            "v",
            "escape",
            "4",
            "enter",
            "6",
            "y",
            "1",
            "5",
            "y",
        ):
            await app.press(key)
            check(app)
        assert "[bold]x[/ [@click" in app.lines()[3] + app.lines()[4]
        for key in ("n", "escape", "t", "escape", "d"):
            shown = await app.press(key)
            check(app)
        if wide:
            assert "[bold]x[/" in shown
        await app.press("n")
        app.app.report(HALVED)
        app.app.notify(HALVED, markup=False)
        await app.settle()
        check(app)
        assert "[bold]x[/" in app.screen()
        await app.press("ctrl+s")

    drive(act, home / "runs", folder=strange, size=size)
    (picture,) = (home / "exports").glob("*.svg")
    assert not _STEERS.search(picture.read_text().replace("\n", ""))


def test_what_is_written_is_for_its_owner_alone(home, strange):
    async def act(app):
        await app.press("ctrl+s", "5", "space", "y", "3", "Y", "1", "ctrl+y")
        app.app.change_settings(Settings(refresh_hz=2.0))
        await app.press("ctrl+w")
        from workbench.launch.recent import save_spec
        from workbench.spec import RunSpec

        save_spec(RunSpec(), "mine")

    before = set(home.rglob("*"))
    drive(act, home / "runs", folder=strange)
    written = [path for path in home.rglob("*") if path not in before]
    annotations = list(home.rglob("annotations.json"))
    assert {path.suffix for path in written} >= {".svg", ".csv", ".txt", ".toml"}
    for path in [*written, *annotations]:
        assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), path
