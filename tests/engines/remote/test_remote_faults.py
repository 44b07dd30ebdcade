"""Whatever a server does wrong is told of the request that it was done to; the rest goes on."""

import socket

import pytest

from engines.errors import EngineConfigError, EngineError
from engines.remote.options import RemoteOptions

FAULTS = {
    "429": "HTTP 429: Rate limit reached, try again later",
    "500": "HTTP 500: the engine died xxx",
    "stall": "stall timeout: nothing came for 1 s, after 2 tokens",
    "silent": "first-byte timeout: no answer in 1.2 s",
    "close": "the server closed the connection",
    "close-early": "the server closed the connection",
    "html": "the answer is text/html, not a stream of events",
    "error-object": "the server said mid-stream: out of KV blocks, after 2 tokens",
    "redirect": "HTTP 307, a redirect to another place: http://example.invalid/v1/chat",
    "garbage": "the answer is not HTTP: ",
}
LIMITS = {"stall_s": 1.0, "first_byte_s": 1.2}


@pytest.mark.parametrize("client", ["direct", "httpx"])
def test_every_fault_has_its_reason_and_the_run_goes_on(serve, connect, client):
    kinds = dict(enumerate(FAULTS, start=1))
    rig = connect(serve(faults=kinds, per_token_ms=1), http_client=client, **LIMITS)
    for request_id in range(2 * len(kinds) + 2):
        seed = request_id // 2 + 1 if request_id % 2 else 0
        rig.submit(request_id, seed=seed)
    records = rig.finish()
    assert len(records) == 2 * len(kinds) + 2
    for request_id, record in records.items():
        fault = kinds.get(request_id // 2 + 1) if request_id % 2 else None
        if fault is None:
            assert (record.status, record.output_tokens) == ("ok", 8), record.reason
            continue
        assert record.status == "failed" and FAULTS[fault] in record.reason, record.reason
        got = 2 if fault in ("stall", "close", "error-object") else 0
        assert record.output_tokens == got
        assert sum(tokens for _, tokens in rig.emitted(request_id)) == got
        assert (record.first_token_ns >= 0) == (got > 0)
        assert len(record.reason) < 330 and "\n" not in record.reason
    closed = records[2 * list(FAULTS).index("close") + 1].reason
    assert closed.startswith("the server closed the connection")
    assert closed.endswith("mid-stream, after 2 tokens")
    early = records[2 * list(FAULTS).index("close-early") + 1].reason
    assert early.endswith("before an answer")


def test_the_total_limit(serve, connect):
    rig = connect(serve(first_ms=10, per_token_ms=20), total_s=0.3)
    record = rig.serve(1, max_tokens=500)[0]
    assert record.status == "failed" and 0 < record.output_tokens < 100
    assert record.reason.startswith("total timeout: not over in 0.3 s, after ")


def test_retries_are_made_where_asked_for_and_noted(serve, connect):
    faults = {1: "500", 2: "close", 3: "close-early"}
    server = serve(faults=faults)
    rig = connect(server, retries=2)
    records = rig.serve(4)
    assert [records[i].status for i in range(4)] == ["ok", "failed", "failed", "failed"]
    retries = [(e.request_id, e.detail) for e in rig.events if e.kind == "retry"]
    assert sorted(request_id for request_id, _ in retries) == [1, 1, 3, 3]
    assert dict(retries)[1].startswith("2: HTTP 500: the engine died")
    resent = rig.engine.describe()["resent_on_stale_connection"]
    assert server.seen()["requests"] == 4 + 4 + resent  # never one that had begun to answer


def test_without_retries_nothing_is_sent_twice(serve, connect):
    server = serve(faults={0: "500", 1: "429"})
    connect(server).serve(2)
    assert server.seen()["requests"] == 2


def test_a_server_that_went_away(serve, connect):
    server = serve()
    rig = connect(server)
    server.close()
    records = rig.serve(3)
    assert {r.status for r in records.values()} == {"failed"}
    assert {r.admitted_ns for r in records.values()} == {-1}
    assert "connection refused" in records[0].reason


def test_a_request_too_long_for_the_server_is_rejected(serve, connect):
    rig = connect(serve(max_model_len=20))
    assert rig.engine.max_model_len == 20 == rig.built.max_model_len
    record = rig.serve(1, max_tokens=16)[0]
    assert record.status == "rejected" and "max_model_len of 20" in record.reason


def test_strict_servers_are_learnt(serve, connect):
    server = serve(refuse_fields=("ignore_eos", "stream_options", "max_tokens"))
    rig = connect(server)
    assert rig.serve(1)[0].status == "failed"  # max_tokens: it did not say what it wants instead
    server = serve(refuse_fields=("ignore_eos", "stream_options"))
    rig = connect(server)
    records = rig.serve(6)
    assert {r.status for r in records.values()} == {"ok"}
    assert {r.output_tokens for r in records.values()} == {8}  # counted here
    lessons = rig.engine.describe()["dialect"]
    assert len(lessons) == 2 and sum(e.kind == "dialect" for e in rig.events) == 2
    rig.submit(9)
    assert rig.finish()[9].status == "ok"
    assert not {"ignore_eos", "stream_options"} & set(server.seen()["bodies"][-1])


def test_completions(serve, connect):
    server = serve(first_ms=1)
    rig = connect(server, api="completions", prompt_form="tokens")
    assert rig.serve(1)[0].output_tokens == 8
    assert server.seen()["bodies"][-1]["prompt"] == list(rig.built.encode("Say what you see."))


def test_servers_that_cannot_be_used_are_told_at_once(serve, connect):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(EngineError, match="start the server"):
            connect(f"{nowhere}/v1")
    server = serve(api_key="sk-secret")
    with pytest.raises(EngineError, match=r"401.*WORKBENCH_API_KEY"):
        connect(server)
    with pytest.raises(EngineError, match=r"404.*/v1"):
        connect(f"{serve().root}/api")
    with pytest.raises(EngineConfigError, match=r"'other', but timed"):
        connect(serve(), model="other")
    with pytest.raises(EngineConfigError, match="no tokenizer"):
        connect(serve(), tokenizer="random:tiny")
    with pytest.raises(EngineConfigError):
        RemoteOptions("localhost:1")
