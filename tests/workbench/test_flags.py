"""The table of flags agrees with the spec, and reads what people type."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.errors import SpecError
from workbench.flags import all_flags, with_whole_paths
from workbench.spec import RunSpec

BY_NAME = {flag.name: flag for flag in all_flags()}


def test_every_flag_sets_a_value_that_the_spec_has():
    plain = RunSpec().model_dump()
    for flag in all_flags():
        value = plain
        for key in flag.path:
            assert key in value, flag.name
            value = value[key]
        may_be_open = flag.name in ("--graphs", "--overlap")
        assert (flag.kind == "switch") == (isinstance(value, bool) or may_be_open), flag.name
        assert not may_be_open or value is None


def test_no_two_flags_are_called_alike():
    names = [flag.name for flag in all_flags()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("--concurrency", "8", 8),
        ("--share", "0.5", 0.5),
        ("--rate", "auto", "auto"),
        ("--rate", "2", 2.0),
        ("--duration", "2m", "2m"),
    ],
)
def test_texts_are_read_by_kind(name, text, value):
    assert BY_NAME[name].read(text) == value


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("--concurrency", "two", "'two' is not a whole number"),
        ("--share", "half", "'half' is not a number"),
        ("--rate", "fast", "--rate fast: a number of requests per second, or auto"),
    ],
)
def test_what_is_no_number_is_said(name, text, message):
    with pytest.raises(SpecError, match=message):
        BY_NAME[name].read(text)


def test_files_get_whole_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = {"trace": {"file": "a.csv", "speed": 2}, "traffic": {"rate_file": "~/rates"}, "seed": 1}
    assert with_whole_paths(data) == {
        "trace": {"file": str(tmp_path / "a.csv"), "speed": 2},
        "traffic": {"rate_file": str(Path("~/rates").expanduser().resolve())},
        "seed": 1,
    }
    assert data["trace"]["file"] == "a.csv"
    assert with_whole_paths({"trace": 3}) == {"trace": 3}
