"""Specs to start from again: of the newest runs, and saved ones."""

from __future__ import annotations

import stat

import pytest

from workbench.errors import SpecError, StoreError
from workbench.launch.recent import load_spec, recent_specs, save_spec, saved_specs
from workbench.runs.folder import RunFolder
from workbench.spec import parse_spec


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def spec(**data):
    return parse_spec(data, "test")


def ran(home, minute, **data):
    run_id = f"20261121-10{minute:02}00-chat-0000"
    return RunFolder.create(home / "runs" / run_id, spec(**data).as_dict(), run_id)


def test_no_store_has_no_specs():
    assert recent_specs() == []
    assert saved_specs() == ([], [])


def test_the_newest_come_first_and_each_once(home):
    for minute, seed in enumerate([1, 2, 1, 3]):
        ran(home, minute, seed=seed)
    found = recent_specs()
    assert [each.spec.seed for each in found] == [3, 1, 2]
    assert found[1].run_id == "20261121-100200-chat-0000"
    assert found[1].created


def test_no_more_than_twenty(home):
    for minute in range(25):
        ran(home, minute, seed=minute)
    assert [each.spec.seed for each in recent_specs()] == list(range(24, 4, -1))


def test_what_cannot_be_read_is_passed_over(home):
    ran(home, 0, seed=7)
    broken = ran(home, 1)
    broken.run_json.write_text("{")
    of_another_version = ran(home, 2)
    of_another_version.update(spec={"quantum": True})
    without = ran(home, 3)
    without.update(spec=None)
    (home / "runs" / "zzz").mkdir()
    assert [each.spec for each in recent_specs()] == [spec(), spec(seed=7)]


def test_a_saved_spec_comes_back(home):
    wanted = spec(traffic={"workload": "code", "rate": 2}, slo={"ttft": 500})
    path = save_spec(wanted, "nightly code")
    assert path == home / "specs" / "nightly code.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert load_spec(path) == wanted
    (saved,), broken = saved_specs()
    assert (saved.name, saved.path, saved.spec, broken) == ("nightly code", path, wanted, [])


def test_a_saved_spec_is_overwritten_only_when_told():
    save_spec(spec(seed=1), "nightly")
    with pytest.raises(SpecError, match="is there already"):
        save_spec(spec(seed=2), "nightly")
    path = save_spec(spec(seed=2), "nightly", overwrite=True)
    assert load_spec(path).seed == 2
    assert [each.name for each in path.parent.iterdir()] == ["nightly.toml"]


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a\nb", "x" * 81])
def test_names_that_are_none_for_a_file_are_refused(name):
    with pytest.raises(SpecError, match="is no name for a spec"):
        save_spec(spec(), name)


def test_a_folder_that_cannot_be_made_is_said(home):
    home.parent.mkdir(exist_ok=True)
    home.write_text("a file")
    with pytest.raises(StoreError, match="cannot write"):
        save_spec(spec(), "nightly")


def test_broken_files_are_reported(home):
    save_spec(spec(), "good")
    (home / "specs" / "bad.toml").write_text("seed = \n")
    (home / "specs" / "old.toml").write_text("quantum = 1\n")
    saved, broken = saved_specs()
    assert [each.name for each in saved] == ["good"]
    assert len(broken) == 2
    assert "bad.toml" in broken[0] and "unknown key 'quantum'" in broken[1]
