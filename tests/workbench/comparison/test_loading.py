"""A run's tables as a comparison reads them: from files, from segments, and in part."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from recorded import LiveRun, recorded_run

from workbench.comparison.loading import folder_record, stretches
from workbench.comparison.measured import MeasuredRun
from workbench.errors import StoreError
from workbench.runs.folder import RunFolder
from workbench.runs.schema import ARRIVALS, EMISSIONS, REQUESTS, SERVER, STEPS, TABLES
from workbench.runs.store import load_run
from workbench.runs.tables import load_tables, polars_schema


def record_of(folder):
    return folder_record(load_run(folder))


@pytest.fixture(scope="module")
def dead(tmp_path_factory):
    return recorded_run(tmp_path_factory.mktemp("dead") / "run", ending="dead")


def test_a_saved_run_gives_the_columns_asked_for_in_their_order(recorded):
    record, whole = record_of(recorded), load_tables(recorded)
    names = ["output_tokens", "request_id", "status"]
    assert record.tables.table(REQUESTS, names).equals(whole["requests"].select(names))
    for table in TABLES:
        assert record.tables.table(table).equals(whole[table.name])
    assert record.run_id == recorded.read()["run_id"] and record.state == "finished"


def test_tables_that_a_run_has_not_are_without_rows(recorded):
    record = record_of(recorded)
    for table in (ARRIVALS, SERVER):
        names = table.names[:2]
        assert record.tables.table(table, names).schema == {
            name: polars_schema(table)[name] for name in names
        }
        assert record.tables.table(table).height == 0


def test_a_dead_run_is_read_from_its_segments_once(dead, monkeypatch):
    record, whole = record_of(dead), load_tables(dead)
    assert record.state == "dead"
    assert record.tables.table(STEPS, ["step", "kind"]).equals(
        whole["steps"].select("step", "kind")
    )
    monkeypatch.setattr("workbench.comparison.loading.load_tables", None)
    assert record.tables.table(REQUESTS).equals(whole["requests"])
    (part,) = record.tables.emission_parts(1 << 20)
    assert part.equals(whole["emissions"])
    assert MeasuredRun(record).summary["requests"]["recorded"] == whole["requests"].height


def test_a_run_that_ends_while_it_is_read_is_read_from_its_files(tmp_path):
    live = LiveRun(tmp_path / "run")
    live.advance(5)
    record = record_of(live.folder)
    assert record.state == "running"
    live.finish()
    assert record.tables.table(REQUESTS).height == 40


def test_columns_that_an_older_run_lacks_are_null(recorded, tmp_path):
    folder = RunFolder(tmp_path)
    steps = load_tables(recorded)["steps"].drop("worker", "blocked")
    steps.write_parquet(folder.parquet("steps"))
    pl.DataFrame(schema=polars_schema(REQUESTS)).write_parquet(folder.parquet("requests"))
    folder.write(recorded.read())
    tables = record_of(folder).tables
    for names in (["step", "worker"], ["worker", "blocked"], None):
        table = tables.table(STEPS, names)
        assert table.height == steps.height and table["worker"].null_count() == steps.height
        assert table["worker"].dtype == pl.Int64


@pytest.mark.parametrize("file", ["requests", "emissions"])
def test_a_broken_file_is_a_message(file, recorded, tmp_path):
    folder = RunFolder(tmp_path)
    folder.write(recorded.read())
    for table in (REQUESTS, EMISSIONS):
        data = recorded.parquet(table.name).read_bytes()
        folder.parquet(table.name).write_bytes(data[:200] if table.name == file else data)
    tables = record_of(folder).tables
    with pytest.raises(StoreError, match=rf"{file}\.parquet can't be read"):
        if file == "requests":
            tables.table(REQUESTS)
        else:
            tables.emission_parts(100)


def test_a_missing_file_is_a_message(recorded, tmp_path):
    folder = RunFolder(tmp_path)
    folder.write(recorded.read())
    folder.parquet("requests").write_bytes(recorded.parquet("requests").read_bytes())
    with pytest.raises(StoreError, match=r"steps\.parquet can't be read"):
        record_of(folder).tables.table(STEPS)


def test_few_emissions_are_one_stretch_and_many_are_spread(recorded, dead):
    for folder in (recorded, dead):
        whole = load_tables(folder)["emissions"]
        tables = record_of(folder).tables
        (part,) = tables.emission_parts(whole.height)
        assert part.equals(whole)
        parts = tables.emission_parts(whole.height // 4)
        assert len(parts) == 8
        assert whole.height // 4 - 8 < sum(part.height for part in parts) <= whole.height // 4
        assert parts[0].row(0) == whole.row(0) and parts[-1].row(-1) == whole.row(-1)
        stamps = np.concatenate([part["time_ns"].to_numpy() for part in parts])
        assert (np.diff(stamps) >= 0).all()


@pytest.mark.parametrize(
    ("rows", "most", "number"),
    [
        (0, 10, 1),
        (10, 10, 1),
        (11, 10, 8),
        (100, 1, 1),
        (100, 3, 3),
        (10**8, 1 << 20, 8),
        (10**8, 1 << 22, 32),
    ],
)
def test_stretches_lie_inside_apart_and_evenly(rows, most, number):
    found = stretches(rows, most)
    assert len(found) == number and sum(length for _, length in found) <= most
    assert all(start >= 0 and start + length <= rows for start, length in found)
    gaps = [after - (start + length) for (start, length), (after, _) in pairwise(found)]
    assert not gaps or (min(gaps) >= 0 and max(gaps) - min(gaps) <= 1)
