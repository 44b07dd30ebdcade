import json
import stat
from dataclasses import replace

import pytest

from workbench.errors import StoreError
from workbench.runs.folder import RunFolder
from workbench.spec import parse_spec
from workbench.sweeps.execute import reusable, run_name, spec_of
from workbench.sweeps.figures import Figures
from workbench.sweeps.planner import Ask, Grid, Search
from workbench.sweeps.state import SavedPoint, SweepFolder, new_sweep, sweeps_root


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def a_sweep(plan=None, axis="rate", name="nightly", **traffic):
    spec = {"name": name, "seed": 5, "slo": {"ttft": 500.0}, "traffic": traffic}
    return new_sweep(parse_spec(spec, "test"), axis, plan or Grid((1.0, 2.5), True, 0.9, 2))


def a_point(path, value=1.0, state="finished", **rest):
    figures = Figures(value, measured=40, met=39, output_tokens_per_s=12.5)
    return SavedPoint(value, 0, state, path.name, str(path), figures, **rest)


@pytest.mark.parametrize(
    "plan",
    [
        Grid((1.0, 2.5), whole=False, target=None, repeats=3),
        Search("rate", 0.123456789, None, 0.05, 0.9, find=True),
        Search("concurrency", 1.0, 64.0, 0.25),
    ],
)
def test_a_sweep_is_read_as_it_was_written(plan, tmp_path):
    sweep = a_sweep(plan).with_point(a_point(tmp_path / "r1"))
    lost = SavedPoint(None, 0, "failed", "r2", "/gone", None, "it broke")
    sweep = replace(sweep.with_point(lost), state="interrupted", reason="interrupted")
    folder = SweepFolder.create(sweep, None)
    assert folder.read() == sweep
    assert folder.path == sweeps_root() / sweep.sweep_id
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.sweep_json.stat().st_mode) == 0o600
    assert [path.name for path in folder.path.iterdir()] == ["sweep.json"]


def damaged(data, *path, value):
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: json.dumps(data)[:200], "is broken: .*; its runs are still in the store"),
        (lambda data: "[]", "not the record of a sweep"),
        (lambda data: damaged(data, "schema", value=99), "has schema 99; this one is 1"),
        (lambda data: damaged(data, "state", value="odd"), "is broken: ValueError"),
        (lambda data: damaged(data, "plan", "kind", value="guess"), "is broken: ValueError"),
        (lambda data: damaged(data, "plan", "unknown", value=1), "is broken: TypeError"),
        (lambda data: damaged(data, "points", value=[{}]), "is broken: KeyError"),
        (lambda data: damaged(data, "spec", "seed", value=-1), "seed = -1"),
    ],
)
def test_a_damaged_sweep_says_what_is_wrong(damage, message):
    folder = SweepFolder.create(a_sweep(), None)
    folder.sweep_json.write_text(damage(json.loads(folder.sweep_json.read_text())))
    with pytest.raises(StoreError, match=message):
        folder.read()


def test_sweeps_are_found_by_id_beginning_name_path_and_last(tmp_path):
    first = SweepFolder.create(a_sweep(name="first"), None)
    other = replace(a_sweep(name="second"), sweep_id="29990101-000000-chat-ffff")
    second = SweepFolder.create(other, None)
    for name, folder in (
        (first.path.name, first), ("first", first), (str(first.path), first),
        ("last", second), ("2999", second),
    ):  # fmt: skip
        assert SweepFolder.find(name).path == folder.path
    with pytest.raises(StoreError, match="means several sweeps"):
        SweepFolder.find("2")
    with pytest.raises(StoreError, match=r"no sweep 'third' in .*there are "):
        SweepFolder.find("third")


def test_runs_lie_in_the_store_or_below_a_folder_that_was_chosen(home, tmp_path):
    assert SweepFolder.create(a_sweep(), None).store.root == home / "runs"
    chosen = SweepFolder.create(a_sweep(), tmp_path / "out")
    assert chosen.store.root == tmp_path / "out" / "runs"
    with pytest.raises(StoreError, match="not an empty folder"):
        SweepFolder.create(a_sweep(), tmp_path / "out")


def test_only_one_process_goes_on_with_a_sweep():
    folder = SweepFolder.create(a_sweep(), None)
    with folder.held(), pytest.raises(StoreError, match="another process"), folder.held():
        pass
    with folder.held():
        pass


def test_a_run_has_its_load_its_seed_and_a_name_of_the_sweep():
    sweep = a_sweep()
    tail = sweep.sweep_id[-4:]
    spec = spec_of(sweep, Ask(2.828, 1, "repeat"))
    assert (spec.traffic.rate, spec.seed, spec.name) == (2.828, 6, f"sweep-{tail}:r2.828+1")
    auto = spec_of(sweep, Ask(None, 0, "calibration"))
    assert (auto.traffic.rate, auto.traffic.share) == ("auto", 0.25)
    closed = a_sweep(axis="concurrency", concurrency=1)
    spec = spec_of(closed, Ask(8.0, 0, ""))
    assert spec.traffic.concurrency == 8 and run_name(closed, Ask(8.0, 0, "")).endswith(":c8")
    assert len(new_sweep(parse_spec({"name": "x" * 80}, "t"), "rate", Grid((1.0,))).sweep_id) < 60


def saved_run(path, state, **content):
    folder = RunFolder.create(path, {}, path.name)
    summary = {"requests": {"measured": 50}, "throughput": {"output_tokens_per_s": 7.0}}
    folder.update(state=state, summary=summary if state == "finished" else None, **content)
    return path


def test_resume_keeps_what_stands_and_says_what_is_run_again(tmp_path):
    sweep = a_sweep()
    runs = tmp_path / "runs"
    sweep = sweep.with_point(a_point(saved_run(runs / "whole", "finished"), 1.0))
    sweep = sweep.with_point(a_point(runs / "vanished", 2.0))
    sweep = sweep.with_point(a_point(saved_run(runs / "broke", "failed"), 3.0, "failed"))
    sweep = sweep.with_point(a_point(saved_run(runs / "cut", "interrupted"), 4.0, "interrupted"))
    # The sweep was killed while these ran: one ended by itself, the other didn't.
    late = saved_run(runs / "late", "finished", rate_per_s=5.5)
    sweep = sweep.with_point(SavedPoint(None, 0, "running", "late", str(late)))
    dead = saved_run(runs / "dead", "running")
    sweep = sweep.with_point(SavedPoint(6.0, 0, "running", "dead", str(dead)))
    kept, said = reusable(sweep)
    assert [(p.value, p.state) for p in kept.points] == [(1.0, "finished"), (5.5, "finished")]
    assert [run.measured for run in kept.results] == [50, 50]
    assert [sentence.split(" (")[0] for sentence in said] == ["rate 2", "rate 3", "rate 4",
                                                              "rate 6"]  # fmt: skip
    assert "has no run folder any more" in said[0] and "is failed" in said[1]
    assert "is interrupted" in said[2] and "did not end" in said[3]
    assert all("it is run again" in sentence for sentence in said)


def test_resume_waits_for_a_run_that_still_goes_on(tmp_path):
    path = saved_run(tmp_path / "busy", "draining")
    held = RunFolder(path).lock()
    assert held is not None
    with pytest.raises(StoreError, match="still draining"):
        reusable(a_sweep().with_point(a_point(path, state="running")))
