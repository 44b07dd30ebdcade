"""From words to sides: which runs are one side, what it is called, and what is left out."""

import pytest
from recorded import recorded_run

from workbench.comparison.labels import unlike
from workbench.comparison.selecting import select
from workbench.errors import StoreError
from workbench.runs.annotations import Annotations, write_annotations
from workbench.runs.folder import RunFolder
from workbench.runs.groups import GroupMember
from workbench.runs.store import RunStore
from workbench.spec import RunSpec


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs")


def make(store, run_id, name="", *, rate=2.0, seed=0, group=None, tags=(), **parts):
    """A finished run with an empty summary; they come in the order in which they are made."""
    spec = RunSpec.model_validate({"name": name, "seed": seed, "traffic": {"rate": rate}})
    number = len(list(store.root.iterdir())) if store.root.exists() else 0
    run_id = group.run_id if group else run_id
    folder = RunFolder.create(store.path_for(run_id), spec.as_dict(), run_id, group)
    folder.update(state="finished", created=f"{number:04}", **({"summary": {}} | parts))
    if tags:
        write_annotations(folder, Annotations(frozenset(tags)))
    return folder


def make_group(store, group_id, name="", runs=3, rate="auto", found=3.25):
    """As `run --repeat` leaves it: the first run's rate is what was asked, the others' its own."""
    for number in range(1, runs + 1):
        own = rate if number == 1 or rate != "auto" else found
        member = GroupMember(group_id, number, runs)
        make(store, "", name, rate=own, seed=number - 1, group=member, rate_per_s=found)


def sides(selection):
    return {side.label: [record.run_id for record in side.records] for side in selection.sides}


def test_each_word_is_a_side_and_its_repeated_runs_are_one(store):
    make_group(store, "g", "chat")
    make(store, "lone")
    make(store, "again", "night", seed=4)
    make(store, "and-again", "night", seed=5)
    selection = select(["g", "lone", "night"], store)
    assert sides(selection) == {
        "chat": ["g-1", "g-2", "g-3"], "lone": ["lone"], "night": ["again", "and-again"]
    }  # fmt: skip
    assert selection.problems == ()


def test_a_word_of_several_specs_is_a_side_for_each_in_the_order_of_the_runs(store):
    make(store, "a", "sweep:r2", rate=2.0)
    make(store, "b", "sweep:r4", rate=4.0)
    make(store, "c", "sweep:r2+1", rate=2.0, seed=1)
    assert sides(select(["*"], store)) == {"r2": ["a", "c"], "r4": ["b"]}


def test_a_single_word_that_would_be_one_side_is_a_side_for_each_run(store):
    make_group(store, "g", "chat")
    make_group(store, "h")
    assert sides(select(["g"], store)) == {
        "chat": ["g-1"], "chat (2)": ["g-2"], "chat (3)": ["g-3"]
    }  # fmt: skip
    assert sides(select(["last"], store)) == {"h-1": ["h-1"], "h-2": ["h-2"], "h-3": ["h-3"]}
    assert sides(select(["h"], store, least=1)) == {"h": ["h-1", "h-2", "h-3"]}


def test_a_calibrated_rate_counts_as_asked_only_within_its_group(store):
    make_group(store, "g")
    make(store, "x", "mixed", rate=3.25, tags=["t"])
    make(store, "y", "mixed", rate="auto", tags=["t"])
    assert sides(select(["g", "mixed"], store)) == {
        "g": ["g-1", "g-2", "g-3"], "mixed": ["x"], "mixed (2)": ["y"]
    }  # fmt: skip


def test_a_run_may_stand_on_two_sides_and_labels_are_unique(store):
    make(store, "a", "night")
    make(store, "b", "night", seed=1)
    assert sides(select(["a", "night", "b"], store)) == {
        "night": ["a"], "night (2)": ["a", "b"], "night (3)": ["b"]
    }  # fmt: skip


def test_runs_of_different_names_are_called_by_their_word(store):
    make(store, "a", "monday", tags=["nightly"])
    make(store, "b", "tuesday", seed=1, tags=["nightly"])
    make(store, "c")
    assert sides(select(["tag:nightly", "c"], store)) == {"tag:nightly": ["a", "b"], "c": ["c"]}
    found = select([str(store.root), "c"], store)
    assert sides(found) == {"runs": ["a", "b", "c"], "c": ["c"]}


def test_a_spec_of_an_older_version_that_lacks_an_unused_key_is_the_same(store):
    make(store, "a", "night")
    older = make(store, "b", "night")
    spec = older.read()["spec"]
    del spec["traffic"]["modulation"]
    older.update(spec=spec)
    make(store, "c")
    assert [len(side.records) for side in select(["night", "c"], store).sides] == [2, 1]


def test_what_cannot_be_compared_is_told_and_the_rest_goes_on(store):
    make(store, "a")
    make(store, "b")
    make(store, "newer").update(schema=99)
    (make(store, "torn").path / "run.json").write_text("{")
    recorded_run(store.root / "failed", ending="failed", run_id="failed", name="no-memory")
    recorded_run(store.root / "dead", ending="dead", run_id="dead")
    recorded_run(store.root / "stopped", ending="interrupted", run_id="stopped")
    words = ["a", "nowhere", "newer", "torn", "failed", "dead", "stopped", "nowhere"]
    selection = select(words, store)
    assert sides(selection) == {"a": ["a"], "dead": ["dead"], "stopped": ["stopped"]}
    states = [side.records[0].state for side in selection.sides]
    assert states == ["finished", "dead", "interrupted"]
    told = selection.problems
    assert len(told) == 4
    assert "no run 'nowhere'" in told[0] and "newer workbench" in told[1]
    assert "torn/run.json is broken" in told[2]
    assert told[3] == (
        "no-memory is failed and has no requests that ended: no memory for a KV pool of 9,999 "
        "blocks"
    )
    every = select(["*", "a"], store)
    assert len(every.problems) == 3 and every.sides[-1].records[0].run_id == "a"


def test_too_few_sides_are_an_error_that_lists_what_was_wrong(store):
    make(store, "a")
    with pytest.raises(StoreError, match="only one to compare; name 2 runs or more"):
        select(["a"], store)
    with pytest.raises(StoreError, match=r"only one(.|\n)*- no run 'x' in(.|\n)*- no run 'y'"):
        select(["a", "x", "y"], store)
    with pytest.raises(StoreError, match="nothing to compare"):
        select(["x"], store, least=1)
    assert sides(select(["a"], store, least=1)) == {"a": ["a"]}


def test_a_hostile_name_steers_no_terminal(store):
    make(store, "a").update(name="x\x1b[2J")
    make(store, "b")
    assert all(label.isprintable() for label in sides(select(["a", "b"], store)))


def test_labels_are_short_and_unlike():
    assert unlike(["lab:caching:on", "lab:caching:off"]) == ["on", "off"]
    assert unlike(["a:b", "a:c:d"]) == ["b", "c:d"]
    assert unlike(["a:b", "a:b"]) == ["a:b", "a:b (2)"]
    assert unlike(["a", "a:b"]) == ["a", "a:b"]
    assert unlike(["x:"]) == ["x:"] and unlike([]) == []
