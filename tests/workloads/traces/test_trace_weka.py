import json
from itertools import pairwise

import numpy as np
import pytest

from workloads.errors import WorkloadError
from workloads.traces.formats import read_trace
from workloads.traces.options import TraceOptions


def request(t, tokens, ids, out=5, **more):
    return {"t": t, "type": "s", "model": "m", "in": tokens, "out": out, "hash_ids": ids, **more}


def subagent(t, *requests):
    return {"t": t, "type": "subagent", "agent_id": "a", "requests": list(requests)}


def session(*requests, **more):
    return {"id": "x", "models": ["m"], "block_size": 64, "requests": list(requests), **more}


ONE = session(
    request(2.5, 130, [1, 2]),
    subagent(3.0, request(3.5, 64, [9]), request(5.25, 128, [9, 10])),
    request(4.0, 200, [1, 2, 3]),
)
TWO = session(request(0, 894_000, list(range(894_000 // 64))), request(1, 63, []))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "trace.json"


def rows(trace):
    offsets = trace.prefixes.offsets
    ids = [trace.prefixes.hash_ids[a:b].tolist() for a, b in pairwise(offsets)]
    return [
        *zip(
            trace.session_id.tolist(),
            trace.turn.tolist(),
            trace.arrival_ns.tolist(),
            trace.input_tokens.tolist(),
            ids,
            strict=True,
        )
    ]


ONE_ROWS = [
    (0, 0, 0, 130, [0, 1]),
    (0, 1, 1_000_000_000, 64, [3]),
    (0, 2, 1_500_000_000, 200, [0, 1, 2]),
    (0, 3, 2_750_000_000, 128, [3, 4]),
]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("chunk_bytes", [1, 50, 1 << 20])
def test_one_session_a_file(file, indent, chunk_bytes):
    file.write_text(json.dumps(ONE, indent=indent))
    trace = read_trace(file, chunk_bytes=chunk_bytes)
    assert rows(trace) == ONE_ROWS
    assert trace.sessions_own_clock
    assert trace.prefixes.block_tokens == 64
    assert trace.origin == ""
    assert not trace.failed.any()


@pytest.mark.parametrize("chunk_bytes", [1, 300, 1 << 20])
def test_sessions_share_no_ids_by_accident(file, chunk_bytes):
    file.write_text("\n".join(json.dumps(one) for one in (ONE, TWO, ONE)))
    trace = read_trace(file, chunk_bytes=chunk_bytes)
    assert rows(trace)[:4] == ONE_ROWS
    assert trace.session_id.tolist() == [0] * 4 + [1] * 2 + [2] * 4
    first = {i for row in rows(trace)[:4] for i in row[4]}
    last = {i for row in rows(trace)[6:] for i in row[4]}
    assert len(first) == len(last) == 5
    assert not first & last
    assert trace.input_tokens[4] == 894_000
    assert len(np.unique(trace.prefixes.hash_ids)) == 5 + 894_000 // 64 + 5


def test_global_ids_are_shared(file):
    one = session(request(0, 128, [70, 7]), hash_id_scope="global")
    two = session(request(0, 128, [7, 70]), hash_id_scope="local")
    three = session(request(0, 192, [7, 70, 5]), hash_id_scope="global")
    file.write_text("\n".join(json.dumps(one) for one in (one, two, three)))
    ids = [row[4] for row in rows(read_trace(file))]
    assert ids[0] == [1, 0]
    assert ids[1] == [2, 3]
    assert ids[2] == [0, 1, 4]


def test_relative_and_nested_subagents(file):
    nested = session(
        request(10.0, 64, [1]),
        subagent(20.0, request(0.0, 64, [2]), subagent(1.0, request(0.5, 64, [3]))),
        request(20.25, 64, [4]),
    )
    file.write_text(json.dumps(nested))
    trace = read_trace(file)
    assert (trace.arrival_ns / 1e9).tolist() == [0.0, 10.0, 10.25, 11.5]
    assert [row[4] for row in rows(trace)] == [[0], [1], [3], [2]]


def test_a_folder_is_read_by_name(tmp_path):
    (tmp_path / "b.json").write_text(json.dumps(TWO))
    (tmp_path / "a.json").write_text(json.dumps(ONE, indent=1))
    (tmp_path / "notes.txt").write_text("not a session")
    trace = read_trace(tmp_path)
    assert trace.session_id.tolist() == [0] * 4 + [1] * 2
    assert rows(trace)[:4] == ONE_ROWS
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(WorkloadError, match=r"c\.json: line 1, column 2: expected JSON"):
        read_trace(tmp_path)
    assert len(read_trace(tmp_path, TraceOptions(skip_bad=True))) == 6


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (request(1, 130, [1]), "(hash_ids): expected 2 block ids for 130 input tokens, found 1"),
        (request(1, 0, []), "(in): expected a number of tokens from 1 to 2147483647, found 0"),
        (request(1, 64, [1], out=-1), "(out): expected"),
        (request(-1, 64, [1]), "(t): expected a number of seconds from 0 up, found -1"),
        (request("1", 64, [1]), '(t): expected a number of seconds from 0 up, found "1"'),
        (request(1, 64, [None]), "(hash_ids): expected a list of block ids"),
        (request(1, 64, {}), "(hash_ids): expected a list of block ids"),
        ({"t": 1, "type": "s", "in": 64, "out": 1}, 'expected the key "hash_ids"'),
        ({"t": 1, "type": "subagent"}, 'expected the key "requests"'),
        ({"t": 1, "type": "subagent", "requests": 5}, "(requests): expected a list of requests"),
        (subagent(1, request(2, 64, [])), "(hash_ids): expected 1 block ids"),
        (5, "expected a request (an object), found 5"),
    ],
)
def test_broken_requests(file, broken, message):
    file.write_text(json.dumps(session(request(0, 64, [1]), broken, request(3, 64, [2]))))
    with pytest.raises(WorkloadError) as raised:
        read_trace(file)
    assert f"{file}: line 1, column " in str(raised.value)
    assert message in str(raised.value)
    trace = read_trace(file, TraceOptions(skip_bad=True))
    assert trace.arrival_ns.tolist() == [0, 3_000_000_000]
    assert trace.skipped == 1
    assert message in trace.first_skipped


def test_lines_and_columns_of_a_session_over_many_lines(file):
    text = json.dumps(session(request(0, 64, [1]), request(1, "?", [1])), indent=1)
    file.write_text("\n" + text)
    before = text[: text.index('"?"')]
    line, column = before.count("\n") + 2, len(before) - before.rfind("\n")
    with pytest.raises(WorkloadError, match=rf"line {line}, column {column} \(in\)"):
        read_trace(file)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ('{"id": 1}', 'expected the key "block_size"'),
        (json.dumps(session(block_size=0)), "(block_size)"),
        (
            json.dumps(session(block_size=32)),
            "(block_size): expected 64, as in the sessions before",
        ),
        (json.dumps(session(hash_id_scope="any")), '(hash_id_scope): expected "local" or "global"'),
        (json.dumps(session(requests={})), "(requests): expected a list of requests"),
        (json.dumps(ONE)[:-2], "expected JSON"),
        ("[]", "expected a JSON object"),
    ],
)
def test_broken_sessions(file, broken, message):
    file.write_text(f"{json.dumps(ONE)}\n{broken}\n{json.dumps(ONE)}")
    with pytest.raises(WorkloadError) as raised:
        read_trace(file)
    assert f"{file}: line 2, column " in str(raised.value)
    assert message in str(raised.value)
    trace = read_trace(file, TraceOptions(skip_bad=True))
    assert trace.session_id.tolist() == [0] * 4 + [1] * 4
    assert trace.skipped == 1


def test_sessions_without_requests_are_nothing(file):
    file.write_text(json.dumps(session()))
    with pytest.raises(WorkloadError, match="no rows"):
        read_trace(file)
