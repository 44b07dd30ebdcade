"""What the recorder writes can be read back, also when the disk takes no more."""

import errno
import json
import stat

import numpy as np
import polars as pl
import pytest

from engines.base import EngineEvent, RequestRecord, StepResult
from workbench.errors import RunError, StoreError
from workbench.launch.finish import finish_run
from workbench.runs import recorder as recorder_module
from workbench.runs.folder import RunFolder
from workbench.runs.recorder import Recorder
from workbench.runs.segments import list_segments, read_segments
from workbench.runs.store import RunStore, load_run, recover, remove
from workbench.runs.tables import from_segments, load_tables
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
