"""A server somewhere else as an engine: sends requests to it and stamps what comes back."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.base import (
    NO_STEP,
    Clock,
    Engine,
    EngineEvent,
    EngineState,
    RequestRecord,
    StepResult,
    rejection,
)
from engines.errors import IntegrityError
from engines.remote.address import ApiKey
from engines.remote.exchange import Exchange
from engines.remote.openai import Dialect, TokenText
from engines.remote.options import RemoteOptions
from engines.remote.scrape import Scraper
from engines.remote.story import Story, story_of
from engines.remote.transport import Outgoing, Transport
from engines.scheduling.sequence import Status
from workloads.request import Request

UNKNOWN_MODEL_LEN = 1 << 30
"""`RemoteEngine.max_model_len` where the server does not tell it: no limit that is known."""

_SLICE_NS = 20_000_000
_SWEEP_S = 0.025
# From this many tokens a chunk on, a chunk's emission waits until the server has counted.
_NEARLY_ONE = 1.25


class RemoteEngine(Engine):
    """Any OpenAI-compatible server.

    One thread: the loop runs inside `step` alone, but `submit` writes to a connection that is
    free at once. A request's tokens are known for certain when the server has counted them at its
    end. Until a server has shown that its chunks hold a token each, emissions are held back that
    long; they carry the stamps of their bytes all the same. `step` gives out what is left of
    cancelled requests too, also when nothing is under way any more.
    """

    name = "remote"

    def __init__(
        self,
        options: RemoteOptions,
        key: ApiKey,
        text: TokenText,
        dialect: Dialect,
        transport: Transport,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        max_model_len: int | None = None,
        description: dict[str, object] | None = None,
    ) -> None:
        self.options = options
        self.key = key
        self.clock = clock
        self.emitting = False
        self.keep_answers = False
        self._text = text
        self._dialect = dialect
        self._transport = transport
        self._loop = loop
        self._max_model_len = max_model_len or UNKNOWN_MODEL_LEN
        self._description = description or {}
        self._live: dict[int, Exchange] = {}
        self._over: list[Exchange] = []
        self._emitted: tuple[list[int], list[int], list[int]] = ([], [], [])
        self._records: list[RequestRecord] = []
        self._events: list[EngineEvent] = []
        self._lessons: list[str] = []
        self._bug: BaseException | None = None
        self._scraper = Scraper(transport, clock, loop, options.scrape_s)
        loop.set_exception_handler(self._callback_failed)
        self._scraper.start()
        self._sweep_timer = loop.call_later(_SWEEP_S, self._sweep)

    @property
    def has_work(self) -> bool:
        return bool(self._live or self._over)

    @property
    def max_model_len(self) -> int:
        """The server's limit, or `UNKNOWN_MODEL_LEN`."""
        return self._max_model_len

    def submit(self, request: Request) -> RequestRecord | None:
        now_ns = self.clock()
        longest = request.prompt_tokens + request.max_tokens
        if longest > self._max_model_len:
            return rejection(
                request,
                now_ns,
                f"{longest} tokens, prompt and output, are more than the server's "
                f"max_model_len of {self._max_model_len}",
            )
        exchange = Exchange(self, request, now_ns)
        self._live[request.request_id] = exchange
        self._send(exchange, None)
        return None

    def _send(self, exchange: Exchange, path: str | None) -> None:
        exchange.timer = None
        exchange.fields = self._dialect.fields(exchange.request)
        exchange.path = path or self._dialect.path
        body = json.dumps(exchange.fields).encode()
        exchange.call = self._transport.send(Outgoing("POST", exchange.path, body), exchange)

    def cancel(
        self, request_id: int, status: Status = Status.CANCELLED, reason: str = ""
    ) -> RequestRecord | None:
        exchange = self._live.pop(request_id, None)
        if exchange is None:
            return None
        exchange.cancel(status, reason, self.clock())
        return self._story(exchange).record

    def step(self, until_ns: int | None = None) -> StepResult | None:
        """Lets the loop run until `until_ns`, a request's end, or 20 ms are over.

        Raises whatever failed inside of the loop: a bug, never a server's doing.
        """
        start_ns = self.clock()
        if self._live:
            self._run(start_ns, until_ns)
        for exchange in self._over:
            story = self._story(exchange)
            self._records.append(story.record)
            self._judge(story)
        self._over.clear()
        ids, tokens, stamps = self._emitted
        if not (ids or self._records or self._events):
            return None
        records, events = self._records, self._events
        self._emitted, self._records, self._events = ([], [], []), [], []
        running = sum(each.status is Status.RUNNING for each in self._live.values())
        return StepResult(
            index=NO_STEP,
            kind="remote",
            schedule_ns=0,
            start_ns=start_ns,
            end_ns=self.clock(),
            num_seqs=0,
            prefill_tokens=0,
            decode_tokens=0,
            emitted_ids=np.array(ids, np.int64),
            emitted_tokens=np.array(tokens, np.int64),
            running=running,
            waiting=len(self._live) - running,
            live_blocks=0,
            cached_blocks=0,
            records=records,
            events=events,
            emitted_ns=np.array(stamps, np.int64),
        )

    def rest(self, seconds: float) -> None:
        """Lets the loop run: the server's metrics are read while nothing is under way, too."""
        now_ns = self.clock()
        self._run(now_ns, now_ns + round(seconds * 1e9))

    def _run(self, now_ns: int, until_ns: int | None) -> None:
        """Runs the loop; at least one turn of it, however late it is."""
        wait_ns = _SLICE_NS if until_ns is None else min(_SLICE_NS, until_ns - now_ns)
        if self._over or wait_ns <= 0:
            timer: asyncio.Handle = self._loop.call_soon(self._loop.stop)
        else:
            timer = self._loop.call_later(wait_ns / 1e9, self._loop.stop)
        self._loop.run_forever()
        timer.cancel()
        if self._bug is not None:
            bug, self._bug = self._bug, None
            raise bug

    def _story(self, exchange: Exchange) -> Story:
        story = story_of(exchange, self._text, self.keep_answers)
        for stamp_ns, tokens in story.emissions:
            self.emit(exchange.request.request_id, tokens, stamp_ns)
        return story

    def _judge(self, story: Story) -> None:
        """Whether chunks hold a token each, so that they need not wait for the server's count."""
        if not story.tokens_per_chunk:
            return
        emitting = story.tokens_per_chunk <= _NEARLY_ONE
        if emitting and not self.emitting:
            for exchange in self._live.values():
                exchange.emit_seen()
        self.emitting = emitting

    def _sweep(self) -> None:
        """Ends what has passed a limit."""
        now_ns = self.clock()
        for exchange in list(self._live.values()):
            if exchange.open:
                exchange.check_limits(now_ns)
        self._sweep_timer = self._loop.call_later(_SWEEP_S, self._sweep)

    def _callback_failed(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """asyncio would log it and go on."""
        self._bug = self._bug or context.get("exception") or RuntimeError(context["message"])
        self._loop.stop()

    # What exchanges call

    def emit(self, request_id: int, tokens: int, now_ns: int) -> None:
        """Tokens that a request got at `now_ns`; chunks that came together are one emission."""
        ids, counts, stamps = self._emitted
        if ids and ids[-1] == request_id and stamps[-1] == now_ns:
            counts[-1] += tokens
            return
        ids.append(request_id)
        counts.append(tokens)
        stamps.append(now_ns)

    def over(self, exchange: Exchange) -> None:
        """A request has ended: the loop's present turn is its last in this step."""
        self._live.pop(exchange.request.request_id, None)
        self._over.append(exchange)
        self._loop.stop()

    def note(self, kind: str, request_id: int, tokens: int, detail: str) -> None:
        """Something for the log."""
        self._events.append(EngineEvent(kind, request_id, tokens, detail))

    def again(self, exchange: Exchange, path: str | None, delay_s: float) -> None:
        """Sends a request once more, to `path` if that is given."""
        exchange.restart()
        if delay_s:
            exchange.timer = self._loop.call_later(delay_s, self._send, exchange, path)
        else:
            self._send(exchange, path)

    def learnt(self, exchange: Exchange, status: int, message: str) -> bool:
        """Whether a refusal showed how this server wants to be spoken to."""
        lesson = self._dialect.learn(status, message, exchange.fields)
        if lesson is not None and lesson not in self._lessons:
            self._lessons.append(lesson)
            self.note("dialect", exchange.request.request_id, 0, lesson)
        return lesson is not None

    # The rest of the contract

    def drain_server_samples(self) -> dict[str, npt.NDArray[np.generic]]:
        """The server's own figures since the last call, by `server_metrics.SERVER_COLUMNS`."""
        return self._scraper.drain()

    def request_ids(self) -> list[int]:
        return list(self._live)

    def state(self) -> EngineState:
        """Running: sent and not ended. Waiting: for a connection, or to be sent again."""
        running = sum(each.status is Status.RUNNING for each in self._live.values())
        return EngineState(running, len(self._live) - running, ())

    def describe(self) -> dict[str, object]:
        return {
            **self._description,
            "api": "chat" if self._dialect.chat else "completions",
            "dialect": list(self._lessons),
            "metrics": self._scraper.state,
            **self._transport.describe(),
        }

    def check_integrity(self) -> None:
        for request_id, exchange in self._live.items():
            if not exchange.open:
                raise IntegrityError(f"request {request_id} is kept, yet it is {exchange.status}")
            if request_id != exchange.request.request_id:
                raise IntegrityError(f"request {request_id} is kept under another's number")

    def close(self) -> None:
        if self._loop.is_closed():
            return
        self._scraper.stop()
        self._sweep_timer.cancel()
        for request_id in self.request_ids():
            self.cancel(request_id)
        self._loop.run_until_complete(self._transport.close())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
