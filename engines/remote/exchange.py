"""One request at a server: what was seen of it, stamp by stamp, until it ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from engines.remote.address import ApiKey
from engines.remote.chunks import count_of, error_message, read_chunk
from engines.remote.options import RemoteOptions
from engines.remote.sse import SseError, SseParser
from engines.remote.transport import Call
from engines.scheduling.sequence import NOT_REACHED, Status
from workloads.request import Request

_DONE = b"[DONE]"
_LONGEST_ERROR = 64 << 10
_MOST_REDIRECTS = 3
_LINGER_NS = 1_000_000_000
_REDIRECTS = (301, 302, 303, 307, 308)
_KEPT_METHOD = (307, 308)


class Owner(Protocol):
    """The engine, as an exchange sees it."""

    emitting: bool
    options: RemoteOptions
    key: ApiKey

    def emit(self, request_id: int, tokens: int, now_ns: int) -> None: ...
    def over(self, exchange: Exchange) -> None: ...
    def note(self, kind: str, request_id: int, tokens: int, detail: str) -> None: ...
    def again(self, exchange: Exchange, path: str | None, delay_s: float) -> None: ...
    def learnt(self, exchange: Exchange, status: int, message: str) -> bool: ...


class Exchange:
    """Hears of its request from a transport (it is a `Sink`) and keeps what a record needs.

    Attributes:
        texts, stamps_ns: of each chunk that held text: what, and when its bytes came.
        running_counts: completion tokens so far, as vLLM's continuous usage tells, or None.
        ending_ns: when a chunk came that named the reason for the end and held no text.
        emitted: tokens of each chunk that were given to the engine's emissions already.
        fields, path: what was sent, and where.
        status, reason: how it ended.
    """

    __slots__ = (
        "_answer",
        "_done",
        "_finish",
        "_http_status",
        "_owner",
        "_parser",
        "_redirects",
        "_tries",
        "admitted_ns",
        "call",
        "emitted",
        "ending_ns",
        "fields",
        "finished_ns",
        "first_byte_ns",
        "heard_ns",
        "path",
        "reason",
        "request",
        "running_counts",
        "sent_ns",
        "stamps_ns",
        "status",
        "submitted_ns",
        "texts",
        "timer",
        "timing",
        "usage",
    )

    def __init__(self, owner: Owner, request: Request, now_ns: int) -> None:
        self._owner = owner
        self.request = request
        self.submitted_ns = now_ns
        self.fields: dict[str, Any] = {}
        self.path = ""
        self.call: Call | None = None
        self.timer: Any = None
        self.status = Status.WAITING
        self.reason = ""
        self.admitted_ns = self.finished_ns = NOT_REACHED
        self._tries = self._redirects = 0
        self._begin()

    def _begin(self) -> None:
        """Nothing was seen of an answer (yet, or of this attempt)."""
        self.sent_ns = self.first_byte_ns = self.heard_ns = self.ending_ns = NOT_REACHED
        self._http_status = 0
        self._answer = b""
        self._parser: SseParser | None = None
        self._done = False
        self._finish: str | None = None
        self.usage: dict[str, Any] | None = None
        self.timing: dict[str, Any] | None = None
        self.texts: list[str] = []
        self.stamps_ns: list[int] = []
        self.running_counts: list[int | None] = []
        self.emitted: list[int] = []

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.status in (Status.WAITING, Status.RUNNING)

    # What a transport tells

    def sent(self, now_ns: int) -> None:
        self.sent_ns = now_ns
        self.status = Status.RUNNING
        if self.admitted_ns == NOT_REACHED:
            self.admitted_ns = now_ns

    def resent(self, now_ns: int) -> None:
        self._owner.note("resend", self.request.request_id, 0, "its kept-alive connection was gone")

    def answered(self, status: int, headers: Mapping[str, str], now_ns: int) -> None:
        self.first_byte_ns = self.heard_ns = now_ns
        self._http_status = status
        if status in _REDIRECTS:
            self._redirected(status, headers.get("location", ""), now_ns)
        elif status == 200:
            kind = headers.get("content-type", "text/event-stream").partition(";")[0].strip()
            if kind.lower() == "text/event-stream":
                self._parser = SseParser()
            else:
                self.reason = f"the answer is {self._owner.key.brief(kind)}, not a stream of events"

    def received(self, data: bytes, now_ns: int) -> None:
        self.heard_ns = now_ns
        parser = self._parser
        if parser is None:
            if len(self._answer) < _LONGEST_ERROR:
                self._answer += data
            return
        try:
            events = parser.feed(data)
        except SseError as error:
            self._end(Status.FAILED, str(error), now_ns)
            return
        for event in events:
            if self._parser is parser:  # else it was sent again, and the rest is of the old answer
                self._event(event, now_ns)

    def ended(self, now_ns: int) -> None:
        if not self.open:
            return
        parser = self._parser
        if parser is None:
            self._refused(now_ns)
            return
        for event in parser.close():
            self._event(event, now_ns)
        if self.open and self._parser is parser:
            self._complete(now_ns)

    def broke(self, reason: str, now_ns: int) -> None:
        if not self.open:
            return
        if self._done:
            self._complete(now_ns)
        elif self.texts:
            self._end(Status.FAILED, f"{reason} mid-stream", now_ns)
        elif not self._retried(reason):
            where = " before an answer" if self.sent_ns != NOT_REACHED else ""
            self._end(Status.FAILED, reason + where, now_ns)

    # What follows from it

    def _event(self, data: bytes, now_ns: int) -> None:
        if self._done or not self.open:
            return
        if data == _DONE:
            self._done = True
            return
        try:
            chunk = read_chunk(data)
        except ValueError:
            self._end(Status.FAILED, "a chunk is no JSON object", now_ns)
            return
        if chunk.error is not None:
            message = self._owner.key.brief(chunk.error)
            if self.texts or not self._retried(message):
                said = f"the server said mid-stream: {message}"
                self._end(Status.FAILED, said, now_ns)
            return
        if chunk.usage is not None:
            self.usage = chunk.usage
        if chunk.timing is not None:
            self.timing = chunk.timing
        if chunk.finish is not None:
            self._finish = chunk.finish
            if not chunk.text:
                self.ending_ns = now_ns
        if chunk.text:
            self.texts.append(chunk.text)
            self.stamps_ns.append(now_ns)
            self.running_counts.append(count_of(chunk.usage, "completion_tokens"))
            if self._owner.emitting:
                self.emit_seen()

    def emit_seen(self) -> None:
        """Gives out what was seen and held back, a token for each chunk."""
        for stamp_ns in self.stamps_ns[len(self.emitted) :]:
            self.emitted.append(1)
            self._owner.emit(self.request.request_id, 1, stamp_ns)

    def _complete(self, now_ns: int) -> None:
        """The stream is over, as it seems in good order."""
        if not self._done and self._finish is None:
            said = "the stream ended without finish_reason or [DONE]"
            self._end(Status.FAILED, said, now_ns)
        elif not self.texts and not count_of(self.usage, "completion_tokens"):
            self._end(Status.FAILED, "the answer is empty", now_ns)
        else:
            self._end(Status.OK, "", now_ns)

    def _refused(self, now_ns: int) -> None:
        """The whole of an answer that is no stream."""
        try:
            message = error_message(json.loads(self._answer))
        except ValueError:
            message = self._answer[:2000].decode("utf-8", "replace")
        status = self._http_status
        if status != 200 and self._owner.learnt(self, status, message):
            self._owner.again(self, None, 0.0)
            return
        message = self._owner.key.brief(message)
        if status == 200:
            reason = self.reason
        else:
            reason = f"HTTP {status}" + (f": {message}" if message else "")
        if status in (408, 429) or status >= 500:
            if self._retried(reason):
                return
        elif status == 200 and self._answer.lstrip()[:1] == b"{" and b'"error"' in self._answer:
            reason += f": {message}"
        self._end(Status.FAILED, reason, now_ns)

    def _redirected(self, status: int, location: str, now_ns: int) -> None:
        path = self._owner.options.address.redirected(self.path, location)
        self._redirects += 1
        where = self._owner.key.brief(path or location)
        if path is not None and status in _KEPT_METHOD and self._redirects <= _MOST_REDIRECTS:
            self._abandon()
            self._owner.note("redirect", self.request.request_id, 0, f"HTTP {status} to {where}")
            self._owner.again(self, path, 0.0)
            return
        why = "to another place" if path is None else "that can't be followed"
        self._abandon()
        self._end(Status.FAILED, f"HTTP {status}, a redirect {why}: {where}", now_ns)

    def _retried(self, reason: str) -> bool:
        """Sends it again if that was asked for, after 0.1 s, 0.2 s, 0.4 s …, at most 5 s."""
        options = self._owner.options
        if self._tries >= options.retries:
            return False
        self._tries += 1
        self._owner.note("retry", self.request.request_id, 0, f"{self._tries}: {reason}")
        self._abandon()
        self._owner.again(self, None, min(5.0, 0.05 * 2**self._tries))
        return True

    def restart(self) -> None:
        """About to be sent again."""
        self._begin()
        self.status = Status.WAITING

    def check_limits(self, now_ns: int) -> None:
        """Ends it if it has taken longer than the options allow."""
        options = self._owner.options
        if self._done and now_ns - self.heard_ns > _LINGER_NS:
            self._abandon()
            self._complete(now_ns)
        elif now_ns - self.submitted_ns > options.total_s * 1e9:
            self._timed_out(f"total timeout: not over in {options.total_s:g} s", now_ns)
        elif self.first_byte_ns != NOT_REACHED:
            if now_ns - self.heard_ns > options.stall_s * 1e9:
                self._timed_out(f"stall timeout: nothing came for {options.stall_s:g} s", now_ns)
        elif self.sent_ns != NOT_REACHED and now_ns - self.sent_ns > options.first_byte_s * 1e9:
            said = f"first-byte timeout: no answer in {options.first_byte_s:g} s"
            self._timed_out(said, now_ns)

    def _timed_out(self, reason: str, now_ns: int) -> None:
        if self.texts or reason.startswith("total") or not self._retried(reason):
            self._abandon()
            self._end(Status.FAILED, reason, now_ns)

    def cancel(self, status: Status, reason: str, now_ns: int) -> None:
        """Ends it from this side; its connection is closed at once."""
        self._abandon()
        self.status, self.reason, self.finished_ns = status, reason, now_ns

    def _abandon(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        call, self.call = self.call, None
        if call is not None:
            call.abandon()

    def _end(self, status: Status, reason: str, now_ns: int) -> None:
        if status is Status.FAILED:
            self._abandon()
        self.status, self.reason, self.finished_ns = status, reason, now_ns
        self._owner.over(self)

    # What it comes to

    def tokens_by_chunk(
        self, split: Callable[[list[str], int | None], list[int]]
    ) -> tuple[list[int], list[int]]:
        """Stamps, ns, and tokens of each emission, the server's count winning.

        `split` shares a total out over texts where the chunks don't tell their tokens.
        """
        stamps, total = self.stamps_ns, count_of(self.usage, "completion_tokens")
        counts = self.running_counts
        if total is not None and total == len(stamps):
            return stamps, [1] * total
        if stamps and None not in counts:
            told = [count for count in counts if count is not None]
            each = [b - a for a, b in zip([0, *told[:-1]], told, strict=True)]
            if min(each) >= 0 and (total is None or sum(each) in (total, total - 1)):
                if total is None or sum(each) == total or self.ending_ns == NOT_REACHED:
                    return stamps, each
                return [*stamps, self.ending_ns], [*each, 1]
        if total is not None and self.ending_ns != NOT_REACHED and total == len(stamps) + 1:
            return [*stamps, self.ending_ns], [1] * total  # the stop token, which has no text
        if not stamps:
            return ([self.ending_ns], [total]) if total and self.ending_ns >= 0 else ([], [])
        return stamps, split(self.texts, total)
