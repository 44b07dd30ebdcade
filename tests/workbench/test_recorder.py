"""What the recorder writes can be read back, also when the disk takes no more."""

import dataclasses
import errno
import json
import stat
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from engines.base import EngineEvent, EngineState, PoolState, RequestRecord, StepResult
from workbench.errors import RunError, StoreError
from workbench.launch.finish import finish_run
from workbench.runs import recorder as recorder_module
from workbench.runs.folder import RunFolder
from workbench.runs.recorder import Recorder
from workbench.runs.schema import DEVICES, POOLS, STEPS
from workbench.runs.segments import list_segments, read_segments
from workbench.runs.store import RunStore, load_run, recover, remove
from workbench.runs.tables import from_segments, load_tables, polars_schema
from workbench.spec import RunSpec
from workloads.request import Request

MS = 1_000_000


def request(number, scheduled_ms=0):
    return Request(number, scheduled_ms * MS, np.arange(8, dtype=np.int32), 4)


def record(number, status="ok", **stamps):
    values = dict.fromkeys(RequestRecord.__dataclass_fields__, 0) | {
        "request_id": number,
        "status": status,
        "reason": "" if status == "ok" else "why",
        "transferred_ns": -1,
        "first_token_ns": 30 * MS,
        "last_token_ns": 60 * MS,
        "finished_ns": 60 * MS,
        "started_ns": 10 * MS,
        "prefilled_ns": 30 * MS,
        "prompt_tokens": 8,
        "max_tokens": 4,
        "output_tokens": 4,
        "first_tokens": 1,
        "fitted": False,
    }
    return RequestRecord(**(values | stamps))


def step(index, ids, records=(), events=()):
    return StepResult(
        index=index,
        kind="decode",
        schedule_ns=1000,
        start_ns=index * 10 * MS,
        end_ns=(index + 1) * 10 * MS,
        num_seqs=len(ids),
        prefill_tokens=0,
        decode_tokens=len(ids),
        emitted_ids=np.array(ids, np.int64),
        emitted_tokens=np.ones(len(ids), np.int64),
        running=len(ids),
        waiting=0,
        live_blocks=3,
        cached_blocks=1,
        records=list(records),
        events=list(events),
    )


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path / "run", RunSpec().as_dict(), "run")


def fill(recorder):
    recorder.arrived(request(0), 1 * MS)
    recorder.arrived(request(1, 5), 6 * MS)
    recorder.step(step(0, [0, 1]))
    recorder.step(step(1, [0], events=[EngineEvent("preempt", 1, 7, "no KV block for request 0")]))
    recorder.flush(20 * MS)
    recorder.step(step(2, [0], records=[record(0)]))
    recorder.event(25 * MS, "phase", "draining")


def test_everything_that_came_in_is_in_the_tables(folder):
    recorder = Recorder(folder, 250 * MS, fsync_segments=True)
    fill(recorder)
    assert recorder.close() == []
    segments, broken = read_segments(list_segments(folder.segments))
    assert len(segments) == 2 and not broken
    tables = from_segments(segments)
    assert tables["emissions"].rows() == [
        (0, 10 * MS, 0, 1), (0, 10 * MS, 1, 1), (1, 20 * MS, 0, 1), (2, 30 * MS, 0, 1),
    ]  # fmt: skip
    assert tables["requests"]["transferred_ns"].to_list() == [None]
    assert tables["events"].select("kind", "request_id", "detail").rows() == [
        ("preempt", 1, "no KV block for request 0"),
        ("phase", None, "draining"),
    ]


def test_a_request_that_never_ended_is_unfinished_in_the_end(folder):
    recorder = Recorder(folder, 250 * MS, fsync_segments=False)
    fill(recorder)
    recorder.close()
    content = finish_run(folder, "killed", "its runner was killed")
    tables = load_tables(folder)
    assert tables["requests"].select("request_id", "status", "reason", "output_tokens").rows() == [
        (0, "ok", "", 4),
        (1, "unfinished", "its runner was killed", 1),
    ]
    assert content["summary"]["requests"]["recorded"] == 2
    assert not folder.segments.exists() and not list(folder.path.glob("reserve*"))


def test_flushes_come_at_the_period_and_not_before(folder):
    recorder = Recorder(folder, 250 * MS, fsync_segments=False)
    for number in range(6):
        recorder.step(step(number, [0]))
        recorder.flush_if_due(number * 100 * MS)
    recorder.close()
    segments, _ = read_segments(list_segments(folder.segments))
    assert [segment["steps"]["step"].tolist() for segment in segments] == [[0, 1, 2, 3], [4, 5]]


def test_a_full_disk_ends_the_run_with_a_reason_and_loses_nothing(folder, monkeypatch):
    """The reserve is given up, and what the disk refused is written then."""
    real = recorder_module.write_segment

    def full(*words):
        if (folder.path / "reserve-segments").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*words)

    monkeypatch.setattr(recorder_module, "write_segment", full)
    recorder = Recorder(folder, 250 * MS, fsync_segments=False)
    fill(recorder)
    while not recorder._failed:  # the writer is another thread
        pass
    with pytest.raises(RunError, match="No space left on device"):
        recorder.flush(30 * MS)
    assert recorder.close() == []
    content = finish_run(folder, "failed", "the disk is full")
    assert content["summary"]["requests"]["recorded"] == 2


def test_what_even_the_reserve_does_not_hold_is_handed_back(folder, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(recorder_module, "write_segment", full)
    recorder = Recorder(folder, 250 * MS, fsync_segments=False)
    fill(recorder)
    unwritten = recorder.close()
    content = finish_run(folder, "failed", "the disk is full", unwritten)
    assert content["summary"]["requests"]["recorded"] == 2


def test_a_folder_is_its_owners_alone_and_one_runner_holds_it(folder):
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.run_json.stat().st_mode) == 0o600
    assert not folder.is_alive
    lock = folder.lock()
    assert lock is not None and folder.is_alive and folder.lock() is None
    with pytest.raises(StoreError, match="still running"):
        remove(load_run(folder))
    with pytest.raises(StoreError, match="still running"):
        recover(load_run(folder), finish_run)


def test_broken_run_records_are_named_and_do_not_hide_the_others(tmp_path, folder):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    (tmp_path / "empty").mkdir()
    runs, broken = RunStore(tmp_path).runs()
    assert [run.run_id for run in runs] == ["run"] and runs[0].state == "dead"
    assert len(broken) == 2 and "broken" in broken[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is broken"),
        ('{"run_id": "x", "sta', "is broken"),
        ("\xff", "is broken"),
        ("[" * 100_000, "is broken"),
        ("[]", "not the record"),
        ("null", "not the record"),
        ('{"run_id": 7, "state": "finished"}', "not the record"),
        ('{"run_id": "x", "state": ["finished"]}', "not the record"),
        ('{"run_id": "x", "state": "finished", "spec": 3}', "its 'spec' has no parts"),
        ('{"run_id": "x", "state": "finished", "summary": []}', "its 'summary' has no parts"),
        ('{"schema": 4, "run_id": {}}', r"newer workbench \(schema 4; this one reads up to 3\)"),
    ],
)
def test_whatever_a_run_json_holds_is_a_message(tmp_path, folder, text, message):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.json").write_bytes(text.encode("latin-1"))
    runs, broken = RunStore(tmp_path).runs()
    assert [run.run_id for run in runs] == ["run"] and len(broken) == 1
    for read in (load_run, RunFolder.read):
        with pytest.raises(StoreError, match=message):
            read(RunFolder(tmp_path / "other"))


def test_a_run_json_that_is_a_folder_or_closed_is_a_message(tmp_path, folder, monkeypatch):
    (tmp_path / "other" / "run.json").mkdir(parents=True)
    assert "Is a directory" in RunStore(tmp_path).runs()[1][0]
    real = Path.read_bytes

    def closed(path):
        if path.parent.name == "other":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", closed)
    runs, broken = RunStore(tmp_path).runs()
    assert len(runs) == 1 and broken == [f"{tmp_path}/other/run.json: Permission denied"]
    monkeypatch.setattr(Path, "is_dir", lambda path: path == tmp_path or closed(path / "run.json"))
    assert "other can't be read: Permission denied" in RunStore(tmp_path).runs()[1][0]


def test_a_name_that_no_path_can_have_is_no_run(tmp_path):
    with pytest.raises(StoreError, match="no run"):
        RunStore(tmp_path).find("x" * 300)


POOL = PoolState("kv", 16, 100, 50, 30, 20, (40, 6, 3, 1, 0), (25, 3, 1, 1, 0))


def test_pools_are_looked_at_with_each_flush_and_saved(folder):
    recorder = Recorder(
        folder, 250 * MS, fsync_segments=False, state=lambda: EngineState(1, 0, (POOL,))
    )
    fill(recorder)
    recorder.flush(270 * MS)
    recorder.close()
    finish_run(folder, "finished", "")
    pools = load_tables(folder)["pools"]
    assert pools["time_ns"].to_list() == [20 * MS, 270 * MS]
    assert pools.drop("time_ns").row(1) == (
        "kv", 16, 100, 20, 50, 30, 10, 40, 6, 3, 1, 0, 25, 3, 1, 1, 0,
    )  # fmt: skip


def test_an_engine_without_pools_leaves_no_file_of_them(folder):
    recorder = Recorder(folder, 250 * MS, fsync_segments=False, state=lambda: EngineState(0, 0, ()))
    fill(recorder)
    recorder.close()
    finish_run(folder, "finished", "")
    assert not folder.parquet("pools").exists()
    pools = load_tables(folder)["pools"]
    assert pools.is_empty() and dict(pools.schema) == polars_schema(POOLS)


@pytest.mark.parametrize("schema", [1, 2])
def test_a_run_of_an_older_schema_reads_with_nulls_for_what_it_lacks(folder, schema):
    lacks = {
        table: [column.name for column in table.columns if column.since > schema]
        for table in (STEPS, DEVICES)
    }
    assert lacks[STEPS][-1] == "planned_ns" and "tensor_active_percent" in lacks[DEVICES]
    recorder = Recorder(folder, 250 * MS, fsync_segments=False, devices=samples)
    fill(recorder)
    recorder.close()
    segments, _ = read_segments(list_segments(folder.segments))
    for table, names in lacks.items():
        for segment in segments:
            for name in names:
                del segment[table.name][name]
    live = from_segments(segments)
    finish_run(folder, "finished", "")
    for table, names in lacks.items():
        frame = live[table.name]
        assert dict(frame.schema) == polars_schema(table)
        assert frame.height == (3 if table is STEPS else 2)
        assert all(frame[name].null_count() == frame.height for name in names)
        path = folder.parquet(table.name)
        pl.read_parquet(path).drop(names).write_parquet(path)
        folder.update(schema=schema)
        saved = load_tables(folder)[table.name]
        assert saved.equals(frame) and dict(saved.schema) == polars_schema(table)


def samples():
    """One sample of a GPU, of everything that is sampled."""
    values = {name: np.array([50.0]) for name in DEVICES.names}
    stamps = {name: np.array([MS], np.int64) for name in ("time_ns", "period_ns")}
    return values | stamps | {"device": np.array(["gpu0"])}


def test_a_table_without_a_column_that_was_always_there_is_broken(folder):
    recorder = Recorder(folder, 250 * MS, fsync_segments=False)
    fill(recorder)
    recorder.close()
    segments, _ = read_segments(list_segments(folder.segments))
    del segments[0]["steps"]["kind"]
    with pytest.raises(StoreError, match=r"no runner writes.*kind"):
        from_segments(segments)
    finish_run(folder, "finished", "")
    path = folder.parquet("steps")
    pl.read_parquet(path).drop("kind").write_parquet(path)
    with pytest.raises(StoreError, match=r"steps.parquet can't be read.*kind"):
        load_tables(folder)


def test_a_step_keeps_its_worker_and_why_somebody_waited(folder):
    recorder = Recorder(folder, 250 * MS, fsync_segments=False)
    recorder.step(dataclasses.replace(step(0, [0]), worker=1, blocked="blocks"))
    recorder.step(step(1, [0]))
    recorder.close()
    finish_run(folder, "finished", "")
    steps = load_tables(folder)["steps"]
    assert steps.select("worker", "blocked").rows() == [(1, "blocks"), (0, "")]


def test_a_step_keeps_its_times_on_host_and_gpu_and_has_none_that_are_not_known(folder):
    recorder = Recorder(folder, 250 * MS, fsync_segments=False)
    times = {"launch_ns": 3, "gpu_start_ns": 5 * MS, "gpu_end_ns": 9 * MS, "planned_ns": 2}
    recorder.step(dataclasses.replace(step(0, [0]), **times))
    recorder.step(step(1, [0]))
    recorder.close()
    finish_run(folder, "finished", "")
    steps = load_tables(folder)["steps"]
    assert steps.select(*times).rows() == [(3, 5 * MS, 9 * MS, 2), (None, None, None, None)]


def test_knobs_are_in_the_record_of_a_run_however_it_ended(folder):
    recorder = Recorder(folder, 250 * MS, fsync_segments=False)
    fill(recorder)
    for time_ms, detail in (
        (1500, "rate 2 x: 4.00 req/s"), (2500, "arrivals paused"), (3000, "rate 3 x"),
    ):  # fmt: skip
        recorder.event(time_ms * MS, "knob", detail)
    recorder.close()
    content = finish_run(folder, "killed", "its runner was killed")
    assert content["knobs"] == [
        {"time_s": 1.5, "what": "rate 2 x: 4.00 req/s"},
        {"time_s": 2.5, "what": "arrivals paused"},
        {"time_s": 3.0, "what": "rate 3 x"},
    ]
    assert (
        "The rate was changed while it ran (2 times), and arrivals were paused while it ran (once):"
        " offered and achieved rates are not those of the spec."
    ) in content["summary"]["notes"]


def test_runs_are_found_by_id_beginning_name_path_and_from_the_end(tmp_path):
    store = RunStore(tmp_path)
    for run_id, name in (("2026-a", "night"), ("2026-b", "day"), ("2027-c", "")):
        made = RunFolder.create(tmp_path / run_id, {"name": name}, run_id)
        made.write(json.loads(made.run_json.read_text()) | {"created": run_id})
    assert store.find("night").run_id == "2026-a"
    assert store.find("2027").run_id == "2027-c"
    assert store.find("last~2").run_id == "2026-a"
    assert store.find(str(tmp_path / "2026-b")).run_id == "2026-b"
    for name, message in (("2026", "several runs"), ("last~9", "3 runs"), ("x", "no run 'x'")):
        with pytest.raises(StoreError, match=message):
            store.find(name)


def test_tables_that_the_disk_refuses_leave_the_summary_and_the_segments(folder, monkeypatch):
    recorder = Recorder(folder, 250 * MS, fsync_segments=False)
    fill(recorder)
    recorder.close()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pl.DataFrame, "write_parquet", full)
        content = finish_run(folder, "finished", "")
    assert content["state"] == "failed" and "free space, then recover it" in content["reason"]
    assert folder.read()["summary"]["requests"]["recorded"] == 2
    assert len(list_segments(folder.segments)) == 2
    assert not list(folder.path.glob(".*part")) and not list(folder.path.glob("*.parquet"))
    assert "with 2 requests" in recover(load_run(folder), finish_run)
    assert load_tables(folder)["requests"].height == 2
