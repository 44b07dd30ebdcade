import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import WorkloadError
from workloads.traces.formats import read_trace
from workloads.traces.native import write_native
from workloads.traces.options import TraceOptions
from workloads.traces.trace import Prefixes, Trace

NUMBER = st.integers(0, 2**63 - 1)
ID = st.integers(-(2**63), 2**63 - 1)


@st.composite
def traces(draw):
    n = draw(st.integers(1, 12))

    def column(values):
        return np.array(draw(st.lists(values, min_size=n, max_size=n)), dtype=np.int64)

    prefixes = None
    if draw(st.booleans()):
        lists = draw(st.lists(st.lists(ID, max_size=4), min_size=n, max_size=n))
        offsets = np.concatenate([[0], np.cumsum([len(ids) for ids in lists])]).astype(np.int64)
        ids = np.array([i for ids in lists for i in ids], dtype=np.int64)
        prefixes = Prefixes(draw(st.integers(1, 2**31 - 1)), ids, offsets)
    session = column(st.integers(-1, 2**63 - 1)) if draw(st.booleans()) else None
    arrival_ns = np.sort(column(NUMBER))
    own_clock = session is not None and draw(st.booleans())
    if own_clock:
        # Sessions one after the other, each of them in order.
        session = np.sort(session)
        arrival_ns = arrival_ns[np.lexsort((arrival_ns, session))]
    return Trace(
        format=draw(st.sampled_from(["azure", "weka"])),
        path="from",
        arrival_ns=arrival_ns,
        input_tokens=column(NUMBER),
        output_tokens=column(NUMBER),
        failed=column(st.integers(0, 1)).astype(np.bool_),
        origin=draw(st.text()),
        prefixes=prefixes,
        session_id=session,
        turn=column(ID) if draw(st.booleans()) else None,
        sessions_own_clock=own_clock,
    )


def assert_same(one, other):
    for name in ("arrival_ns", "input_tokens", "output_tokens", "failed", "session_id", "turn"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None), name
        if a is not None:
            assert a.dtype == b.dtype
            assert a.tolist() == b.tolist(), name
    assert one.origin == other.origin
    assert one.sessions_own_clock == other.sessions_own_clock
    assert (one.prefixes is None) == (other.prefixes is None)
    if one.prefixes is not None:
        assert one.prefixes.block_tokens == other.prefixes.block_tokens
        assert one.prefixes.hash_ids.tolist() == other.prefixes.hash_ids.tolist()
        assert one.prefixes.offsets.tolist() == other.prefixes.offsets.tolist()


@given(traces(), st.sampled_from([1, 200, 1 << 20]))
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_again(tmp_path_factory, trace, chunk_bytes):
    path = tmp_path_factory.mktemp("native") / "trace.jsonl"
    write_native(trace, path)
    again = read_trace(path, chunk_bytes=chunk_bytes)
    assert_same(trace, again)
    assert again.format == "native"
    assert json.loads(path.read_text().splitlines()[0])["source_format"] == trace.format
    write_native(again, path)
    assert_same(trace, read_trace(path))


def saved(tmp_path, *lines):
    path = tmp_path / "trace"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


ROW = {"arrival_ns": 5, "input_tokens": 3, "output_tokens": 0}


def test_only_the_version_and_three_numbers_are_needed(tmp_path):
    trace = read_trace(saved(tmp_path, {"workbench_trace": 1}, ROW, ROW | {"note": "ignored"}))
    assert trace.arrival_ns.tolist() == [5, 5]
    assert trace.prefixes is None
    assert trace.session_id is None
    assert not trace.failed.any()
    assert trace.origin == ""


def test_absent_values(tmp_path):
    header = {"workbench_trace": 1, "block_tokens": 16, "columns": ["session", "turn"]}
    rows = [ROW, ROW | {"session": 3, "turn": 2, "hash_ids": [4], "failed": True}]
    trace = read_trace(saved(tmp_path, header, *rows, ROW | {"failed": None, "hash_ids": None}))
    assert trace.session_id.tolist() == [-1, 3, -1]
    assert trace.turn.tolist() == [0, 2, 0]
    assert trace.failed.tolist() == [False, True, False]
    assert trace.prefixes.offsets.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            {"workbench_trace": 2},
            "line 1, column 21 (workbench_trace): expected version 1, found 2",
        ),
        ({"workbench_trace": 1, "block_tokens": 0}, "(block_tokens)"),
        ({"workbench_trace": 1, "origin": 5}, "(origin): expected a stamp as text, found 5"),
        ({"workbench_trace": 1, "columns": ["x"]}, "(columns): expected one of session, turn"),
        ({"workbench_trace": 1, "sessions_own_clock": 1}, "expected true or false, found 1"),
    ],
)
def test_broken_headers(tmp_path, header, message):
    with pytest.raises(WorkloadError) as raised:
        read_trace(saved(tmp_path, header, ROW), TraceOptions(skip_bad=True))
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"arrival_ns": 5}, 'expected the key "input_tokens"'),
        (ROW | {"arrival_ns": 5.0}, "column 16 (arrival_ns): expected a whole number"),
        (ROW | {"arrival_ns": 4}, "(arrival_ns): expected a stamp not before"),
        (ROW | {"input_tokens": -1}, "(input_tokens)"),
        (ROW | {"failed": 1}, "(failed): expected true or false, found 1"),
        (ROW | {"session": 1}, '(session): expected no "session", as the header\'s columns say'),
        (ROW | {"hash_ids": []}, '(hash_ids): expected no "hash_ids", as the header\'s block_tok'),
        ({"workbench_trace": 1}, 'expected the key "arrival_ns"'),
    ],
)
def test_broken_rows(tmp_path, row, message):
    path = saved(tmp_path, {"workbench_trace": 1}, ROW, row, ROW)
    with pytest.raises(WorkloadError) as raised:
        read_trace(path)
    assert f"{path}: line 3, column " in str(raised.value)
    assert message in str(raised.value)
    assert len(read_trace(path, TraceOptions(skip_bad=True))) == 2


def test_sessions_with_their_own_clock_are_each_in_order(tmp_path):
    header = {"workbench_trace": 1, "columns": ["session"], "sessions_own_clock": True}
    rows = [{**ROW, "arrival_ns": t, "session": s} for s, t in [(0, 5), (0, 9), (1, 0), (1, 2)]]
    path = saved(tmp_path, header, *rows)
    assert read_trace(path, TraceOptions(limit=1)).arrival_ns.tolist() == [5, 9, 0, 2]
    path = saved(tmp_path, header, *rows, rows[2])
    for chunk_bytes in (1, 1 << 20):
        with pytest.raises(WorkloadError, match=r"line 6, .*expected a stamp not before"):
            read_trace(path, chunk_bytes=chunk_bytes)


def test_what_cannot_be_written(tmp_path):
    trace = read_trace(saved(tmp_path, {"workbench_trace": 1}, ROW))
    with pytest.raises(WorkloadError, match="cannot be written"):
        write_native(trace, tmp_path / "absent" / "trace")
    none = np.empty(0, dtype=np.int64)
    empty = Trace("azure", "", none, none, none, none.astype(np.bool_))
    with pytest.raises(WorkloadError, match="without rows"):
        write_native(empty, tmp_path / "empty")
