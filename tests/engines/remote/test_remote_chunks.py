"""Chunks of several dialects, and how many tokens they hold."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.base import NO_STEP
from engines.remote.address import ApiKey
from engines.remote.chunks import count_of, error_message, read_chunk
from engines.remote.counting import tokens_by_chunk
from engines.remote.exchange import Exchange
from engines.remote.options import RemoteOptions
from engines.remote.story import story_of
from workloads.request import Request

MS = 1_000_000


def read(**content):
    return read_chunk(json.dumps(content).encode())


def delta(finish=None, **fields):
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def test_what_counts_as_written():
    assert read(**delta(role="assistant", content="")).text == ""
    assert read(**delta(role="assistant", content=None)).text == ""
    assert read(**delta(content="a")).text == "a"
    assert read(**delta(role="assistant", content="a")).text == "a"
    assert read(**delta(reasoning_content="hm", content=None)).text == "hm"
    assert read(**delta(reasoning="hm")).text == "hm"
    call = {"index": 0, "function": {"name": "f", "arguments": '{"x"'}}
    assert read(**delta(tool_calls=[call])).text == 'f{"x"'
    assert read(choices=[{"text": "a", "finish_reason": "stop"}]).text == "a"
    assert read(choices=[{"text": "a", "finish_reason": "stop"}]).finish == "stop"
    assert read(choices=[], usage={"completion_tokens": 3}).usage == {"completion_tokens": 3}
    assert read(**delta(content="a"), usage=None).usage is None
    assert read(error={"message": "no", "code": 500}).error == "no"
    for odd in ({"choices": None}, {"choices": [None]}, {"choices": [{"delta": 3}]}, {}):
        assert read(**odd).text == ""
    for broken in (b"[1]", b"{", b"\xff", b"3"):
        with pytest.raises(ValueError):
            read_chunk(broken)


def test_messages_and_counts_of_any_shape():
    assert error_message({"error": "plain"}) == "plain"
    assert error_message({"detail": "Not Found"}) == "Not Found"
    assert error_message({"error": {"type": "t"}}) == "t"
    assert error_message([1]) == ""
    usage = {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 2}}
    assert count_of(usage, "prompt_tokens_details", "cached_tokens") == 2
    assert count_of({"prompt_tokens_details": None}, "prompt_tokens_details", "x") is None
    assert count_of({"a": True}, "a") is None and count_of({"a": -1}, "a") is None


@given(st.lists(st.text("ab ", max_size=6), min_size=1, max_size=20), st.integers(0, 200))
def test_shares_always_add_up_to_the_servers_count(texts, total):
    counts = tokens_by_chunk(texts, total, len)
    assert sum(counts) == total and min(counts) >= 0
    if total >= len(texts):
        assert min(counts) >= 1
    elif total:
        assert counts[0] >= 1


def test_shares():
    assert tokens_by_chunk(["abc", "a"], 2, len) == [1, 1]  # as many as chunks
    assert tokens_by_chunk(["aaaa", "aaaa", "aa"], 10, len) == [4, 4, 2]
    assert tokens_by_chunk(["aa", "aa"], None, len) == [2, 2]


class Characters:
    """A tokenizer whose tokens are characters."""

    def decode(self, ids):
        return "".join(map(chr, ids))

    def encode(self, text):
        return [ord(c) for c in text]


class Alone:
    """The engine's part, for one exchange."""

    def __init__(self, **options):
        self.options, self.key, self.emitting = (
            RemoteOptions("http://h/v1", **options),
            ApiKey(""),
            False,
        )
        self.emissions = []

    def emit(self, request_id, tokens, now_ns):
        self.emissions.append((now_ns, tokens))

    def over(self, exchange): ...
    def note(self, *what): ...
    def learnt(self, *what):
        return False


def story(*chunks, emitting=False, keep=False, done=True):
    owner = Alone()
    owner.emitting = emitting
    request = Request(0, 0, np.arange(5, dtype=np.int32), 16)
    exchange = Exchange(owner, request, 0)
    exchange.sent(1 * MS)
    exchange.answered(200, {"content-type": "text/event-stream; charset=utf-8"}, 2 * MS)
    for number, chunk in enumerate(chunks):
        exchange.received(b"data: " + json.dumps(chunk).encode() + b"\n\n", (10 + number) * MS)
    if done:
        exchange.received(b"data: [DONE]\n\n", 99 * MS)
    exchange.ended(100 * MS)
    told = story_of(exchange, Characters(), keep)
    together = sorted(owner.emissions + told.emissions)
    return told.record, together


def usage(tokens, **more):
    return {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": tokens, **more}}


@pytest.mark.parametrize("emitting", [False, True])
def test_a_role_is_no_token_and_the_servers_count_wins(emitting):
    role = delta(role="assistant", content="")
    record, emissions = story(
        role, delta(content="abcd"), delta(content="ab"), delta("stop", content="ab"), usage(8),
        emitting=emitting,
    )  # fmt: skip
    assert record.status == "ok"
    assert (record.first_token_ns, record.last_token_ns) == (11 * MS, 13 * MS)
    assert (record.first_tokens, record.output_tokens) == (4, 8)
    assert (record.prompt_tokens, record.cached_tokens) == (7, 0)
    by_stamp = {}
    for stamp, tokens in emissions:
        by_stamp[stamp] = by_stamp.get(stamp, 0) + tokens
    assert by_stamp == {11 * MS: 4, 12 * MS: 2, 13 * MS: 2}


def test_chunks_that_come_together_are_one_emission():
    request = Request(0, 0, np.arange(5, dtype=np.int32), 16)
    exchange = Exchange(Alone(), request, 0)
    exchange.sent(MS)
    exchange.answered(200, {"content-type": "text/event-stream"}, 2 * MS)
    chunks = [delta(content="a"), delta(content="b"), delta("length", content="c"), usage(3)]
    data = [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks]
    exchange.received(data[0] + data[1], 10 * MS)
    exchange.received(data[2] + data[3], 12 * MS)
    exchange.ended(13 * MS)
    record = story_of(exchange, Characters(), False).record
    assert (record.first_tokens, record.output_tokens) == (2, 3)


def test_a_retried_answer_leaves_nothing_behind():
    class Again(Alone):
        def again(self, exchange, path, delay_s):
            exchange.restart()

    request = Request(0, 0, np.arange(5, dtype=np.int32), 16)
    exchange = Exchange(Again(retries=1), request, 0)
    exchange.sent(MS)
    exchange.answered(200, {"content-type": "text/event-stream"}, 2 * MS)
    error = b'data: {"error": {"message": "busy"}}\n\n'
    exchange.received(error + b'data: {"choices": [{"text": "late"}]}\n\ndata: [DONE]\n\n', 3 * MS)
    assert exchange.open and exchange.texts == [] and exchange.sent_ns == -1


def test_the_stop_token_has_no_text_but_a_time():
    record, emissions = story(delta(content="abc"), delta(content="abc"), delta("stop"), usage(3))
    assert record.output_tokens == 3 and record.last_token_ns == 12 * MS
    assert emissions == [(10 * MS, 1), (11 * MS, 1), (12 * MS, 1)]


def test_running_usage_tells_each_chunks_tokens():
    def with_usage(chunk, tokens):
        return chunk | {"usage": {"completion_tokens": tokens}}

    record, emissions = story(
        with_usage(delta(role="assistant", content=""), 0),
        with_usage(delta(content="x"), 3),
        with_usage(delta("length", content="y"), 4),
        usage(4),
    )
    assert (record.first_tokens, record.output_tokens) == (3, 4)
    assert emissions == [(11 * MS, 3), (12 * MS, 1)]


def test_without_usage_the_local_tokenizer_counts():
    record, _ = story(delta(content="ab"), delta("stop", content="c"))
    assert (record.output_tokens, record.first_tokens, record.prompt_tokens) == (3, 2, 5)


def test_answers_are_kept_where_asked_for():
    chunks = (delta(content="ab"), delta("stop", content="c"), usage(2))
    assert story(*chunks)[0].output_token_ids is None
    assert story(*chunks, keep=True)[0].output_token_ids.tolist() == [97, 98, 99]


def test_a_stream_that_just_stops_failed():
    record, _ = story(delta(content="ab"), done=False)
    assert record.status == "failed"
    assert record.reason.endswith("without finish_reason or [DONE], after 2 tokens")
    assert record.output_tokens == 2
    assert story(delta("stop"))[0].reason == "the answer is empty"
    assert story(delta("stop"), usage(1))[0].output_tokens == 1


def test_the_servers_times_tell_when_it_started():
    end = (delta(content="ab"), delta("stop", content="c"))
    for metrics, started in (
        ({"time_in_queue": 0.004}, 5 * MS),
        ({"arrival_time": 100.0, "first_scheduled_time": 100.0078125}, 8_812_500),
        ({"time_in_queue": 9.0}, 10 * MS),  # never after the first token
        ({"time_in_queue": None}, -1),
        ({"time_in_queue": "soon"}, -1),
    ):
        record, _ = story(*end, usage(2) | {"metrics": metrics})
        assert record.started_ns == started, metrics
    timings = {"prompt_ms": 3.0, "cache_n": 4}
    record, _ = story(delta(content="ab"), delta("stop") | {"timings": timings})
    assert (record.started_ns, record.cached_tokens) == (7 * MS, 4)
    assert story(*end, usage(2))[0].started_ns == NO_STEP
