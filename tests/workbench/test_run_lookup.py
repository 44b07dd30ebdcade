"""What a word means among runs: paths, ids, names, groups, places from the end, tags, patterns."""

import pytest

from workbench.errors import StoreError
from workbench.runs import store as store_module
from workbench.runs.annotations import Annotations, write_annotations
from workbench.runs.folder import RunFolder
from workbench.runs.groups import GroupMember, member_of
from workbench.runs.store import RunStore, StoreSnapshot

GROUP = "20260103-000000-chat-cccc"


def make(root, run_id, created, name="", group=None):
    folder = RunFolder.create(root / run_id, {"name": name}, run_id, group)
    folder.update(state="finished", created=created)
    return folder


@pytest.fixture
def store(tmp_path):
    """A lone run, one of the same name, three of a group with a lone one amid, and a late one."""
    root = tmp_path / "runs"
    make(root, "20260101-000000-chat-aaaa", "1", "night")
    write_annotations(
        make(root, "20260102-000000-code-bbbb", "2", "night"), Annotations(frozenset({"good"}))
    )
    for number in (1, 2, 3):
        member = GroupMember(GROUP, number, 3)
        make(root, member.run_id, f"3{number}", "many", member)
    make(root, "20260103-000000-code-dddd", "315")
    write_annotations(
        make(root, "20260104-000000-chat-eeee", "4"), Annotations(frozenset({"good", "a/b"}))
    )
    return RunStore(root)


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("20260102-000000-code-bbbb", ["bbbb"]),
        ("20260102", ["bbbb"]),
        ("night", ["aaaa", "bbbb"]),
        ("many", ["cccc-1", "cccc-2", "cccc-3"]),
        (GROUP, ["cccc-1", "cccc-2", "cccc-3"]),
        (GROUP[:-2], ["cccc-1", "cccc-2", "cccc-3"]),
        (f"{GROUP}-2", ["cccc-2"]),
        ("last", ["eeee"]),
        ("last~0", ["eeee"]),
        ("last~1", ["cccc-1", "cccc-2", "cccc-3"]),
        ("last~2", ["dddd"]),
        ("last~4", ["aaaa"]),
        ("tag:good", ["bbbb", "eeee"]),
        ("tag:a/b", ["eeee"]),
        ("good", ["bbbb", "eeee"]),
        ("*code*", ["bbbb", "dddd"]),
        ("nig*", ["aaaa", "bbbb"]),
        ("*-[ab]???", ["aaaa", "bbbb"]),
    ],
)
def test_a_word_means_runs(store, word, found):
    after = len("20260101-000000-chat-")
    assert [run.run_id[after:] for run in store.find_all(word)] == found


def test_a_path_means_a_run_or_the_runs_inside(store, tmp_path, monkeypatch):
    one = store.root / "20260101-000000-chat-aaaa"
    assert [run.folder.path for run in store.find_all(str(one))] == [one]
    assert len(store.find_all(str(store.root))) == 7
    monkeypatch.chdir(tmp_path)
    assert len(RunStore(tmp_path / "elsewhere").find_all("runs")) == 7
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match=r"has no run\.json, and holds no runs"):
        store.find_all(str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("nigth", "did you mean 'night'"),
        ("tag:godo", "no run 'tag:godo'"),
        ("godo", "did you mean 'good'"),
        ("202601", "means several runs: .* and 2 more; give more of the id"),
        ("last~5", "5 runs, those of a group counted as one"),
        ("last~x", "write last, last~1"),
        ("", "no run ''"),
        ("..", "no run"),
        ("x" * 300, "no run"),
        ("zzz*", "no run 'zzz"),
    ],
)
def test_a_word_that_means_nothing_is_told_with_what_is_near(
    store, word, message, tmp_path, monkeypatch
):
    inside = tmp_path / "empty" / "folder"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)  # elsewhere ".." may hold runs
    with pytest.raises(StoreError, match=message):
        store.find_all(word)


def test_nothing_is_found_in_an_empty_store(tmp_path):
    with pytest.raises(StoreError, match="no run 'last'"):
        RunStore(tmp_path / "none").find_all("last")


def test_a_run_that_cannot_be_read_is_told_by_what_is_wrong_with_it(store):
    newer = RunFolder(store.root / "20260101-000000-chat-aaaa")
    newer.update(schema=99)
    (store.root / "20260102-000000-code-bbbb" / "run.json").write_text("{")
    for word, message in (
        ("20260101-000000-chat-aaaa", "newer workbench"),
        ("20260101", "newer workbench"),
        ("20260102-000000-code-bbbb", "is broken"),
        (str(newer.path), "newer workbench"),
    ):
        with pytest.raises(StoreError, match=message):
            store.find_all(word)
    found = store.look_up("*-code-*")
    assert [run.run_id[-4:] for run in found.runs] == ["dddd"]
    assert len(found.problems) == 1 and "bbbb/run.json is broken" in found.problems[0]
    assert len(store.look_up(str(store.root)).problems) == 2


def test_annotations_are_read_only_where_a_tag_could_be_meant(store, monkeypatch):
    read = []
    monkeypatch.setattr(
        store_module, "read_annotations", lambda folder: read.append(folder) or Annotations()
    )
    for word in ("night", GROUP, "last", "*", "20260102"):
        store.find_all(word)
    assert not read
    with pytest.raises(StoreError):
        store.find_all("good")
    assert read


def test_broken_annotations_hide_no_run(store):
    (store.root / "20260104-000000-chat-eeee" / "annotations.json").write_text("{")
    assert [run.run_id[-4:] for run in store.find_all("good")] == ["bbbb"]


def test_a_snapshot_reads_its_runs_once(store, monkeypatch):
    snapshot = StoreSnapshot(store.root)
    assert len(snapshot.find_all("night")) == 2
    monkeypatch.setattr(RunStore, "runs", None)
    assert len(snapshot.find_all("last~1")) == 3


@pytest.mark.parametrize("group", [None, 3, {}, {"id": 7, "number": 1, "of": 2}, {"id": "x"}])
def test_a_record_without_a_whole_group_is_of_a_lone_run(group):
    assert member_of({"group": group}) is None


def test_a_member_is_written_and_read_back(tmp_path):
    member = GroupMember("g", 2, 5)
    content = RunFolder.create(tmp_path / "run", {}, member.run_id, member).read()
    assert content["group"] == {"id": "g", "number": 2, "of": 5}
    assert content["run_id"] == "g-2" and member_of(content) == member
