"""Baselines in files: what they keep is enough to compare with, and nothing strange is read."""

import json
import stat

import pytest
from recorded import recorded_run

from workbench.comparison.compare import compare, measure
from workbench.comparison.loading import folder_record
from workbench.comparison.records import SideRecords
from workbench.comparison.stored_baseline import read_baseline, write_baseline
from workbench.errors import StoreError
from workbench.runs.store import load_run


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    made = []
    for name, seed in (("base", 0), ("other", 0), ("again", 1)):
        folder = recorded_run(
            root / name, run_id=name, name=name, seed=seed, requests=60, slo={"ttft": 2000.0}
        )
        made.append(folder_record(load_run(folder)))
    return made


def alone(record):
    return SideRecords(record.name, (record,))


def test_a_kept_baseline_is_as_good_as_its_run(sides, tmp_path):
    base, other, _ = sides
    write_baseline(tmp_path / "base.json", measure(alone(base)))
    kept = read_baseline(tmp_path / "base.json")
    assert kept.label == "base" and len(kept.records) == 1
    stored = compare([kept, alone(other)])
    live = compare([alone(base), alone(other)])
    assert [row.metric.key for row in stored.rows] == [row.metric.key for row in live.rows]
    for name in ("ttft_p50", "tpot_mean", "attainment"):
        one, two = stored.row(name), live.row(name)
        assert one.cells[0].value == two.cells[0].value
        assert one.cells[1].change.p is not None
    # The requests themselves are not kept: they can't be paired.
    assert stored.row("tpot_mean").cells[1].change.basis == "requests"
    interval = read_baseline(tmp_path / "base.json").estimates["tpot_mean"].interval
    assert interval.low < live.row("tpot_mean").cells[0].value < interval.high


def test_a_baseline_of_several_runs_keeps_each(sides, tmp_path):
    base, _, again = sides
    write_baseline(tmp_path / "sub" / "b.json", measure(SideRecords("both", (base, again))))
    kept = read_baseline(tmp_path / "sub" / "b.json")
    assert [record.run_id for record in kept.records] == ["base", "again"]
    comparison = compare([kept, SideRecords("live", (base, again))])
    assert comparison.row("ttft_p50").cells[1].change.basis == "runs"


def test_it_is_readable_by_its_owner_alone_and_written_as_a_whole(sides, tmp_path):
    path = tmp_path / "base.json"
    path.write_text("old")
    write_baseline(path, measure(alone(sides[0])))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["base.json"]
    content = json.loads(path.read_text())
    assert content["kind"] == "workbench baseline" and content["schema"] == 1
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't be written"):
        write_baseline(tmp_path / "file" / "b.json", measure(alone(sides[0])))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is broken"),
        ("[]", "is no baseline"),
        ('{"kind": "workbench baseline", "schema": 9}', "newer workbench"),
        ('{"kind": "workbench baseline", "schema": 1}', "is broken"),
        ('{"kind": "workbench baseline", "schema": 1, "runs": [{"run_id": "a"}]}', "is broken"),
        (
            '{"kind": "workbench baseline", "schema": 1, "runs": [], "estimates": {}, "label": ""}',
            "holds no run",
        ),
        ("[" * 100_000, "is broken"),
    ],
)
def test_strange_files_are_refused(text, said, tmp_path):
    path = tmp_path / "b.json"
    path.write_text(text)
    with pytest.raises(StoreError, match=said):
        read_baseline(path)


def test_an_absent_file_says_how_one_is_made(tmp_path):
    with pytest.raises(StoreError, match="--save-baseline"):
        read_baseline(tmp_path / "none.json")
