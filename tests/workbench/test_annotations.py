"""Tags and notes: kept beside the record, and never trusted."""

import os
import stat

import pytest

from workbench.errors import StoreError
from workbench.runs.annotations import Annotations, read_annotations, write_annotations
from workbench.runs.folder import RunFolder
from workbench.runs.store import load_run


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path / "run", {}, "run")


def test_what_is_written_is_read_also_while_the_run_is_alive(folder):
    assert read_annotations(folder) == Annotations()
    lock = folder.lock()
    written = Annotations(frozenset({"baseline", "v1.2", "ü"}), "fast\nbut hot", marked=True)
    write_annotations(folder, written)
    assert read_annotations(folder) == written
    write_annotations(folder, Annotations(note="again"))
    assert read_annotations(folder) == Annotations(note="again")
    os.close(lock)
    path = folder.path / "annotations.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not list(folder.path.glob("*.part")) and not list(folder.path.glob(".*.part"))
    assert load_run(folder).run_id == "run"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"tags": frozenset({"two words"})}, "one word"),
        ({"tags": frozenset({""})}, "one word"),
        ({"tags": frozenset({"x" * 33})}, "one word"),
        ({"tags": frozenset({"\x1b[31m"})}, "one word"),
        ({"tags": frozenset(map(str, range(33)))}, "at most 32"),
        ({"note": "x" * 2001}, "at most 2000"),
        ({"note": "\x1b]52;c;AAAA\x07"}, "can't be shown"),
    ],
)
def test_what_can_not_be_kept_is_refused(words, message):
    with pytest.raises(StoreError, match=message):
        Annotations(**words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is broken"),
        ("{", "is broken"),
        ("[" * 100_000, "is broken"),
        ("[]", "no annotations"),
        ('{"tags": "x"}', "no list of words"),
        ('{"tags": [7]}', "no list of words"),
        ('{"tags": ["a b"]}', "one word"),
        ('{"note": 7}', "no text"),
        ('{"marked": 1}', "neither true nor false"),
        ('{"colour": "red"}', "unknown colour"),
    ],
)
def test_a_broken_file_is_a_message_that_says_what_to_do(folder, text, message):
    (folder.path / "annotations.json").write_text(text)
    with pytest.raises(StoreError, match=f"annotations.json.*{message}.*remove it"):
        read_annotations(folder)


def test_a_folder_that_takes_nothing_is_a_message(folder):
    folder.remove()
    with pytest.raises(StoreError, match="can't be written: No such file"):
        write_annotations(folder, Annotations())
    assert read_annotations(folder) == Annotations()
