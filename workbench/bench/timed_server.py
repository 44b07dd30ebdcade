"""A local OpenAI-compatible server of known timing, against which the client is measured.

It runs in a process of its own and ends with the one that started it. Every chunk is due at an
absolute time counted from the request's arrival, so that one late chunk makes no other late, and
the stamp at which each was in fact handed to the socket can be asked for: a test on a busy machine
compares with those.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from engines.remote.precise_loop import precise_loop

MODEL = "timed"
FAULTS = (
    "429",
    "500",
    "stall",  # sends the headers and two chunks, then nothing
    "silent",  # never answers
    "close",  # closes the connection after two chunks
    "close-early",  # closes it before a byte
    "html",  # answers 200 with a page
    "error-object",  # an error object after two chunks
    "redirect",  # to another host
    "redirect-here",  # to the same path of this host, once
    "garbage",  # bytes that are no HTTP
)


@dataclass(frozen=True, slots=True)
class TimedOptions:
    """What the server does.

    Attributes:
        first_ms, per_token_ms: when the first chunk is due after the request's last byte, and how
            long each further token takes.
        tokens_per_chunk: tokens that arrive together.
        role_first: chat answers begin with a chunk that names the role alone.
        role_ms: when that chunk is due.
        usage: answers end with a usage chunk where the request asks for one.
        refuse_fields: body fields that are answered by 400, as strict servers do.
        api_key: the key that must be sent; none if empty.
        faults: what goes wrong with the requests of a seed (of `FAULTS`).
        metrics: `/metrics` is there. max_model_len: what `/v1/models` tells.
        close_after: requests after which a connection is closed without a word; 0 is never.
        cpu: the core to run on; -1 is any.
    """

    first_ms: float = 0.0
    per_token_ms: float = 0.0
    tokens_per_chunk: int = 1
    role_first: bool = True
    role_ms: float = 0.0
    usage: bool = True
    refuse_fields: tuple[str, ...] = ()
    api_key: str = ""
    faults: dict[int, str] = field(default_factory=dict)
    metrics: bool = True
    max_model_len: int = 8192
    close_after: int = 0
    cpu: int = -1


class TimedServer:
    """The server's process, from the outside; a context manager."""

    def __init__(self, options: TimedOptions | None = None) -> None:
        """Starts it. Raises `RuntimeError` if it does not come up."""
        options = options or TimedOptions()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "workbench.bench.timed_server", json.dumps(asdict(options))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        if not port:
            self.close()
            raise RuntimeError("the timed server did not start; its error is above")
        self.root = f"http://127.0.0.1:{int(port)}"
        self.url = f"{self.root}/v1"

    @property
    def pid(self) -> int:
        return self._process.pid

    def seen(self) -> dict[str, Any]:
        """What it did: `requests`, `connections`, `open` connections, `dropped` (answers that the
        client left), `headers` of the last request, `bodies` of the last few, and `sent_ns`: by
        seed, the system's monotonic stamps at which each chunk was handed to the socket."""
        with urllib.request.urlopen(f"{self.root}/seen", timeout=10) as answer:
            seen: dict[str, Any] = json.load(answer)
            return seen

    def close(self) -> None:
        """Ends it and waits."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.stdout is not None:
            self._process.stdout.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server:
    """What the connections share."""

    def __init__(self, options: TimedOptions, loop: asyncio.AbstractEventLoop) -> None:
        self.options = options
        self.loop = loop
        self.requests = self.connections = self.open = self.dropped = 0
        self.prompt_tokens = self.generated = self.running = 0
        self.headers: dict[str, str] = {}
        self.bodies: list[Any] = []
        self.sent_ns: dict[int, list[int]] = {}

    def seen(self) -> bytes:
        return json.dumps(
            {
                "requests": self.requests,
                "connections": self.connections,
                "open": self.open,
                "dropped": self.dropped,
                "headers": self.headers,
                "bodies": self.bodies[-8:],
                "sent_ns": self.sent_ns,
            }
        ).encode()

    def metrics(self) -> bytes:
        label = f'{{engine="0",model_name="{MODEL}"}}'
        values = {
            "num_requests_running": self.running,
            "num_requests_waiting": 0,
            "kv_cache_usage_perc": min(1.0, self.running / 256),
            "prompt_tokens_total": self.prompt_tokens,
            "generation_tokens_total": self.generated,
            "prefix_cache_queries_total": self.prompt_tokens,
            "prefix_cache_hits_total": 0,
            "num_preemptions_total": 0,
            "request_queue_time_seconds_sum": 0,
            "request_queue_time_seconds_count": self.requests,
        }
        lines = [f"vllm:{name}{label} {float(value)}" for name, value in values.items()]
        return ("# HELP vllm:num_requests_running Requests.\n" + "\n".join(lines) + "\n").encode()


class _Connection(asyncio.Protocol):
    """One client; a request at a time."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._buffer = b""
        self._answered = 0
        self._answering = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections += 1
        self._server.open += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.open -= 1
        if self._timer is not None:
            self._timer.cancel()
        if self._answering:
            self._server.dropped += 1
            self._server.running -= 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value
                for name, _, value in (line.partition(": ") for line in head[1:])
            }
            begin = end + 4
            length = int(headers.get("content-length", 0))
            if len(self._buffer) < begin + length:
                return
            body = self._buffer[begin : begin + length]
            self._buffer = self._buffer[begin + length :]
            method, path, _ = head[0].split(" ", 2)
            self._request(method, path, headers, body)

    def _request(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        server, options = self._server, self._server.options
        if method == "GET" and path == "/seen":
            return self._whole(200, server.seen())
        if method == "GET" and path == "/metrics" and options.metrics:
            return self._whole(200, server.metrics(), "text/plain; version=0.0.4")
        server.headers = headers
        if options.api_key and headers.get("authorization") != f"Bearer {options.api_key}":
            return self._error(401, "Incorrect API key provided")
        if method == "GET" and path == "/v1/models":
            model = {"id": MODEL, "object": "model", "max_model_len": options.max_model_len}
            return self._whole(200, json.dumps({"object": "list", "data": [model]}).encode())
        if method != "POST" or path.partition("?")[0] not in (
            "/v1/chat/completions",
            "/v1/completions",
        ):
            return self._error(404, "Not Found")
        asked = json.loads(body)
        server.bodies = [*server.bodies[-7:], asked]
        for name in options.refuse_fields:
            if name in asked:
                return self._error(400, f"Unrecognized request argument supplied: {name}")
        return self._answer(path, asked)

    def _whole(self, status: int, content: bytes, kind: str = "application/json") -> None:
        self._transport.write(
            f"HTTP/1.1 {status} Status\r\ncontent-type: {kind}\r\n"
            f"content-length: {len(content)}\r\n\r\n".encode()
            + content
        )

    def _error(self, status: int, message: str) -> None:
        content = {"error": {"message": message, "type": "invalid_request_error", "code": status}}
        self._whole(status, json.dumps(content).encode())

    def _answer(self, path: str, asked: dict[str, Any]) -> None:
        server, options = self._server, self._server.options
        now = server.loop.time()
        server.requests += 1
        self._answered += 1
        seed = int(asked.get("seed") or 0)
        fault = options.faults.get(seed, "")
        if self._answered == options.close_after + 1 and options.close_after:
            self._transport.close()
            return
        if self._fault_at_once(fault, path):
            return
        tokens = int(asked.get("max_completion_tokens") or asked.get("max_tokens") or 16)
        server.prompt_tokens += 8
        server.generated += tokens
        server.running += 1
        self._answering = True
        self._stamps: list[int] = []
        server.sent_ns[seed] = self._stamps
        usage = options.usage and bool((asked.get("stream_options") or {}).get("include_usage"))
        chat = path.startswith("/v1/chat")
        self._plan = _plan(options, chat, tokens, usage, fault)
        self._at = now
        self._next = 0
        self._transport.write(_HEAD)
        self._send_due()

    def _fault_at_once(self, fault: str, path: str) -> bool:
        if fault == "429":
            self._error(429, "Rate limit reached, try again later")
        elif fault == "500":
            self._error(500, "the engine died " + "x" * 1000)
        elif fault == "close-early":
            self._transport.close()
        elif fault == "html":
            self._whole(200, b"<html><body>Welcome to nginx</body></html>", "text/html")
        elif fault == "garbage":
            self._transport.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
        elif fault.startswith("redirect") and "again" not in path:
            host = "http://example.invalid" if fault == "redirect" else ""
            self._transport.write(
                f"HTTP/1.1 307 Moved\r\nlocation: {host}{path}?again\r\n"
                "content-length: 0\r\n\r\n".encode()
            )
        else:
            return fault == "silent"
        return True

    def _send_due(self) -> None:
        """Sends what is due, and sets the timer for the next."""
        plan, write, loop = self._plan, self._transport.write, self._server.loop
        while self._next < len(plan):
            due_s, chunk = plan[self._next]
            if due_s and loop.time() < self._at + due_s:
                self._timer = loop.call_at(self._at + due_s, self._send_due)
                return
            self._next += 1
            if chunk is None:
                self._transport.close()
                return
            self._stamps.append(time.monotonic_ns())
            write(chunk)
        self._timer = None
        self._answering = False
        self._server.running -= 1


_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
_FOREVER_S = 1e6
Planned = list[tuple[float, bytes | None]]
"""Seconds after the request's arrival, and what is sent then; None closes the connection."""


def _frame(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def _event(choices: list[dict[str, Any]], chat: bool, **more: Any) -> bytes:
    kind = "chat.completion.chunk" if chat else "text_completion"
    content = {"id": "timed-1", "object": kind, "created": 0, "model": MODEL, "choices": choices}
    return _frame(b"data: " + json.dumps(content | more).encode() + b"\n\n")


def _plan(options: TimedOptions, chat: bool, tokens: int, usage: bool, fault: str) -> Planned:
    """What an answer consists of, and when; the same for all alike, so it is kept."""
    key = (chat, tokens, usage, fault)
    planned = _PLANS.get(key)
    if planned is None:
        planned = _PLANS[key] = _new_plan(options, *key)
    return planned


_PLANS: dict[tuple[bool, int, bool, str], Planned] = {}


def _new_plan(options: TimedOptions, chat: bool, tokens: int, usage: bool, fault: str) -> Planned:
    planned: Planned = []

    def choice(delta: dict[str, str] | str, finish: str | None = None) -> list[dict[str, Any]]:
        content = {"delta": delta} if chat else {"text": delta}
        return [{"index": 0, **content, "logprobs": None, "finish_reason": finish}]

    if chat and options.role_first:
        delta = {"role": "assistant", "content": ""}
        planned.append((options.role_ms / 1e3, _event(choice(delta), chat)))
    for begin in range(0, tokens, options.tokens_per_chunk):
        count = min(options.tokens_per_chunk, tokens - begin)
        due_s = (options.first_ms + begin * options.per_token_ms) / 1e3
        text = " the" * count
        last = begin + count >= tokens
        delta_or_text = {"content": text} if chat else text
        planned.append((due_s, _event(choice(delta_or_text, "length" if last else None), chat)))
    end_s = planned[-1][0]
    if usage:
        counts: dict[str, Any] = {
            "prompt_tokens": 8,
            "completion_tokens": tokens,
            "total_tokens": 8 + tokens,
        }
        counts |= {"prompt_tokens_details": {"cached_tokens": 3}}
        planned.append((end_s, _event([], chat, usage=counts)))
    planned.append((end_s, _frame(b"data: [DONE]\n\n") + b"0\r\n\r\n"))
    return _broken(planned, fault, 2 + (chat and options.role_first))


def _broken(planned: Planned, fault: str, after: int) -> Planned:
    """The answer as a fault leaves it."""
    if fault == "stall":
        return [*planned[:after], (_FOREVER_S, b"")]
    if fault == "close":
        return [*planned[:after], (planned[after - 1][0], None)]
    if fault == "error-object":
        error = b'data: {"error": {"message": "out of KV blocks", "code": 500}}\n\n'
        end = _frame(error) + b"0\r\n\r\n"
        return [*planned[:after], (planned[after - 1][0], end)]
    return planned


def _run(options: TimedOptions, ready: Callable[[int], None]) -> None:
    """Serves until standard input is closed."""
    if options.cpu >= 0 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {options.cpu})
    loop = precise_loop()
    asyncio.set_event_loop(loop)
    server = _Server(options, loop)
    listening = loop.run_until_complete(
        loop.create_server(lambda: _Connection(server), "127.0.0.1", 0, backlog=1024)
    )
    ready(listening.sockets[0].getsockname()[1])
    loop.add_reader(sys.stdin.fileno(), loop.stop)  # readable only when the other side is gone
    loop.run_forever()


def main() -> None:
    """The server's process: options as JSON in the first argument, the port on standard output."""
    asked = json.loads(sys.argv[1])
    asked["faults"] = {int(seed): fault for seed, fault in asked["faults"].items()}
    asked["refuse_fields"] = tuple(asked["refuse_fields"])
    _run(TimedOptions(**asked), lambda port: print(port, flush=True))


if __name__ == "__main__":
    main()
