"""Connections: kept, closed, found stale; the two clients; and the key, which shows nowhere."""

import asyncio
import json
import time

import httpx
import numpy as np
import pytest

from engines.remote.address import parse_address
from engines.remote.through_httpx import HttpxTransport
from engines.remote.transport import Outgoing
from workbench.bench.timed_server import FAULTS
from workbench.runs.runner import NoRecord, StopRequest, drive
from workloads.request import Request
from workloads.traffic import ClosedLoop

CLIENTS = ("direct", "httpx")


def one_by_one(rig, count):
    for request_id in range(count):
        rig.submit(request_id)
        rig.finish()


@pytest.mark.parametrize("client", CLIENTS)
def test_connections_are_kept(serve, connect, client):
    server = serve()
    rig = connect(server, http_client=client)
    before = server.seen()["connections"]
    one_by_one(rig, 20)
    assert server.seen()["connections"] - before == 2  # this look, and one for all of them
    if client == "direct":
        described = rig.engine.describe()
        assert (described["connections_opened"], described["connections_reused"]) == (1, 19)


def test_a_request_on_a_free_connection_is_sent_before_submit_returns(serve, connect):
    rig = connect(serve())
    one_by_one(rig, 1)
    rig.submit(1)
    submitted_ns = rig.clock()
    assert rig.finish()[1].admitted_ns <= submitted_ns


def test_a_connection_that_the_server_closed_meanwhile_is_replaced(serve, connect):
    server = serve(close_after=3)
    rig = connect(server)
    one_by_one(rig, 7)
    assert {r.status for r in rig.records.values()} == {"ok"}
    assert rig.engine.describe()["resent_on_stale_connection"] == 2
    assert [e.request_id for e in rig.events if e.kind == "resend"] == [3, 6]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_cancelled_request_closes_its_connection(serve, connect, client):
    server = serve(first_ms=5, per_token_ms=20)
    rig = connect(server, http_client=client)
    rig.submit(0, max_tokens=500)
    while not server.seen()["sent_ns"].get("0", [])[3:]:
        rig.step()
    rig.step()
    record = rig.engine.cancel(0, reason="enough")
    assert rig.engine.cancel(0) is None and not rig.engine.has_work
    if client == "httpx":  # a task, which is cancelled when the loop runs next
        rig.submit(1, max_tokens=1)
        rig.finish()
    end = time.monotonic() + 10
    while server.seen()["dropped"] == 0:
        assert time.monotonic() < end
    rig.step()
    assert (record.status, record.first_token_ns >= 0) == ("cancelled", True)
    assert record.reason == f"enough, after {record.output_tokens} tokens"
    assert sum(tokens for _, tokens in rig.emitted(0)) == record.output_tokens > 0


def test_more_requests_than_connections_wait_in_order(serve, connect):
    server = serve(first_ms=20)
    rig = connect(server, max_connections=2)
    records = rig.serve(6)
    assert {r.status for r in records.values()} == {"ok"}
    assert rig.engine.describe()["connections_opened"] == 2
    admitted = [records[i].admitted_ns for i in range(6)]
    assert admitted == sorted(admitted) and admitted[5] - admitted[0] > 30e6


@pytest.mark.parametrize("client", CLIENTS)
def test_a_redirect_within_the_server_is_followed(serve, connect, client):
    server = serve(faults={1: "redirect-here"})
    rig = connect(server, http_client=client)
    assert [r.status for r in rig.serve(2).values()] == ["ok", "ok"]
    assert [e.detail for e in rig.events] == ["HTTP 307 to /v1/chat/completions?again"]


def test_both_clients_make_the_same_records(serve, connect):
    faults = dict(enumerate(FAULTS))

    def told(client):
        server = serve(faults=faults, tokens_per_chunk=3, per_token_ms=1)
        limits = {"stall_s": 1.0, "first_byte_s": 1.0}
        rig = connect(server, http_client=client, **limits)
        rig.engine.keep_answers = True
        return {
            request_id: (
                record.status,
                record.reason,
                record.prompt_tokens,
                record.cached_tokens,
                record.output_tokens,
                record.first_token_ns >= 0,
                record.output_token_ids.tolist(),
                sum(tokens for _, tokens in rig.emitted(request_id)),
            )
            for request_id, record in rig.serve(len(FAULTS) + 3).items()
        }

    direct, through = told("direct"), told("httpx")
    garbage = FAULTS.index("garbage")
    assert direct.pop(garbage)[0] == through.pop(garbage)[0] == "failed"  # in words of their own
    assert direct == through


@pytest.mark.parametrize("client", CLIENTS)
def test_the_key_is_sent_and_shows_nowhere(serve, connect, client, monkeypatch):
    key = "sk-very-secret"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    server = serve(api_key=key, faults={0: "500", 1: "close"})
    rig = connect(server, http_client=client, retries=1)
    rig.serve(4)
    assert server.seen()["headers"]["authorization"] == f"Bearer {key}"
    everything = (
        f"{rig.records} {rig.events} {json.dumps(rig.engine.describe())} {vars(rig.engine)}"
    )
    assert key not in everything and "authenticated" in everything


def test_a_run_of_the_loop(serve, connect):
    rig = connect(serve())
    prompt = np.array(rig.built.encode("Say what you see."), np.int32)

    class Prompts:
        def build(self, request_id, scheduled_ns):
            return Request(request_id, scheduled_ns, prompt, 4)

    class Notes(NoRecord):
        records, tokens = 0, 0

        def step(self, result):
            assert all(record.status == "ok" for record in result.records)
            self.records += len(result.records)
            self.tokens += int(result.emitted_tokens.sum())

    notes, clock = Notes(), rig.clock
    traffic = ClosedLoop(Prompts(), concurrency=8, duration_s=60.0, most=200)
    end = drive(rig.engine, traffic, notes, clock, StopRequest(), 10**10, 10**9, lambda _: None)
    assert (end.offered, end.unfinished, notes.records, notes.tokens) == (200, 0, 200, 800)


class Recorded:
    """A sink that writes down what it is told."""

    def __init__(self):
        self.told = []

    def sent(self, now_ns):
        self.told.append("sent")

    def answered(self, status, headers, now_ns):
        self.told.append((status, headers["content-type"]))

    def received(self, data, now_ns):
        self.told.append(data)

    def ended(self, now_ns):
        self.told.append("ended")

    def broke(self, reason, now_ns):
        self.told.append(reason)


def test_http2_tells_the_same():
    pytest.importorskip("h2")

    class Answer(httpx.AsyncByteStream):
        async def __aiter__(self):
            yield b"data: 1\n\n"
            yield b"data: [DONE]\n\n"

    class Server(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            assert request.headers["authorization"] == "Bearer k"
            trace = request.extensions["trace"]
            await trace("http2.send_request_body.complete", {})
            return httpx.Response(
                200,
                headers={"Content-Type": "text/event-stream", "set-cookie": "a=b"},
                stream=Answer(),
                extensions={"http_version": b"HTTP/2"},
            )

    async def exchange():
        loop = asyncio.get_running_loop()
        transport = HttpxTransport(
            parse_address("https://h/v1"), {"authorization": "Bearer k"}, time.monotonic_ns, loop,
            1.0, 4, http2=True, trust_env=False, over=Server(),
        )  # fmt: skip
        sink = Recorded()
        call = transport.send(Outgoing("POST", "/v1/x", b"{}"), sink)
        await call.task
        assert transport.describe()["http_versions"] == ["HTTP/2"]
        assert len(transport._client.cookies) == 0
        await transport.close()
        return sink.told

    head = (200, "text/event-stream")
    whole = [b"data: 1\n\n", b"data: [DONE]\n\n"]
    assert asyncio.run(exchange()) == ["sent", head, *whole, "ended"]
