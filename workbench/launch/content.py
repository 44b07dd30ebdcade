"""What is sent: requests of a workload, rows of a trace, or conversations. When they are sent is
for `workbench.launch.traffic` to say."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from workloads.conversations.conversation import ConversationSource
from workloads.conversations.served import served_by
from workloads.conversations.traffic import CONVERSATION_RULE, ConversationTraffic
from workloads.request import Request, SamplingParams
from workloads.synthetic import RequestSource
from workloads.thinking import ThinkTime
from workloads.traces.trace import Trace
from workloads.traffic import ClosedLoop, OpenLoop, Shard, Traffic

Ints = npt.NDArray[np.int64]

_SAMPLE_SESSIONS = 64


class Content(ABC):
    """Something to send.

    Attributes:
        what: in a few words, for reports.
        notes: sentences that a reader of the run must know.
        stamps_ns: int64 `[n]`, its own arrivals; None where it has none.
        requests_per_start: requests that follow from one arrival: the mean turns of a
            conversation, 1 otherwise.
        most: requests that there are; None is without end.
        lasts_s: seconds from an arrival to the last request that follows from it, on average,
            the time of answers left out; 0 where there is one request.
    """

    def __init__(self, what: str, notes: tuple[str, ...] = ()) -> None:
        self.what = what
        self.notes = notes
        self.stamps_ns: Ints | None = None
        self.requests_per_start = 1.0
        self.most: int | None = None
        self.lasts_s = 0.0

    def ends_s(self, times_ns: Ints, duration_s: float) -> float:
        """Seconds after which nothing more can come, begun at these times."""
        return duration_s

    @abstractmethod
    def open_loop(self, times_ns: Ints, duration_s: float, shard: Shard) -> Traffic:
        """Begun at these times, whatever the engine does; nothing at or after the duration."""

    @abstractmethod
    def closed_loop(
        self, concurrency: int, duration_s: float, think: ThinkTime, shard: Shard
    ) -> Traffic:
        """By so many users at once."""

    @abstractmethod
    def lengths(self, count: int) -> tuple[Ints, Ints]:
        """Prompt tokens to compute, and output tokens, of about its first `count` requests."""

    def closing_notes(self, traffic: Traffic) -> tuple[str, ...]:
        """`notes`, and what only shows once the traffic was offered."""
        return self.notes


class Requests(Content):
    """Requests that know nothing of each other, `most` of them; None is without end."""

    def __init__(
        self,
        what: str,
        source: RequestSource,
        lengths: tuple[Ints, Ints],
        most: int | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(what, notes)
        self._source = source
        self._lengths = lengths
        self.most = most

    def ends_s(self, times_ns: Ints, duration_s: float) -> float:
        """See `Content`."""
        if self.most is None or len(times_ns) < self.most:
            return duration_s
        return min(duration_s, (int(times_ns[self.most - 1]) + 1) / 1e9)

    def open_loop(self, times_ns: Ints, duration_s: float, shard: Shard) -> Traffic:
        """See `Content`."""
        return OpenLoop(self._source, times_ns[: self.most], shard)

    def closed_loop(
        self, concurrency: int, duration_s: float, think: ThinkTime, shard: Shard
    ) -> Traffic:
        """See `Content`."""
        return ClosedLoop(
            self._source,
            concurrency=concurrency,
            duration_s=duration_s,
            think=think,
            most=self.most,
            shard=shard,
        )

    def lengths(self, count: int) -> tuple[Ints, Ints]:
        """See `Content`."""
        inputs, outputs = self._lengths
        return inputs[:count], outputs[:count]


class TraceSessions(Requests):
    """A trace whose sessions have no common clock: each begins at an arrival of its own, and its
    rows follow as far behind as in the trace."""

    def __init__(self, what: str, source: RequestSource, trace: Trace, notes: tuple[str, ...]):
        lengths = trace.input_tokens, trace.output_tokens
        super().__init__(what, source, lengths, len(trace), notes)
        assert trace.session_id is not None
        _, session, counts = np.unique(trace.session_id, return_inverse=True, return_counts=True)
        self._session: Ints = session.astype(np.int64)
        self._within_ns = trace.arrival_ns
        self.requests_per_start = float(counts.mean())
        last_ns = np.zeros(len(counts), np.int64)
        np.maximum.at(last_ns, self._session, self._within_ns)
        self.lasts_s = float(last_ns.mean()) / 1e9

    def ends_s(self, times_ns: Ints, duration_s: float) -> float:
        """See `Content`."""
        return duration_s

    def open_loop(self, times_ns: Ints, duration_s: float, shard: Shard) -> Traffic:
        """See `Content`; no more sessions than the trace has."""
        rows = np.flatnonzero(self._session < len(times_ns))
        stamps_ns = times_ns[self._session[rows]] + self._within_ns[rows]
        inside = stamps_ns < duration_s * 1e9
        rows, stamps_ns = rows[inside], stamps_ns[inside]
        order = np.argsort(stamps_ns, kind="stable")
        return OpenLoop(_Rows(self._source, rows[order]), stamps_ns[order], shard)


class _Rows:
    """A `RequestSource`: the i-th request is request `rows[i]` of another source."""

    def __init__(self, source: RequestSource, rows: Ints) -> None:
        self._source = source
        self._rows = rows

    def build(self, request_id: int, scheduled_ns: int) -> Request:
        """See `RequestSource`; it keeps the row's number as its id."""
        return self._source.build(int(self._rows[request_id]), scheduled_ns)


class Conversations(Content):
    """Conversations, each turn after the answer to the one before.

    Args:
        history_computed: an engine without a prefix cache computes each turn's whole prompt.
        gap_scale: the gaps between turns take this many times as long.
    """

    def __init__(
        self,
        what: str,
        source: ConversationSource,
        *,
        seed: int,
        max_model_len: int | None,
        sampling: SamplingParams,
        history_computed: bool,
        gap_scale: float = 1.0,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(what, notes)
        self._source = source
        self._seed = seed
        self._max_model_len = max_model_len
        self._sampling = sampling
        self._history_computed = history_computed
        self._gap_scale = gap_scale
        self.requests_per_start, gaps_s = _means(source, max_model_len)
        self.lasts_s = gap_scale * gaps_s

    def open_loop(self, times_ns: Ints, duration_s: float, shard: Shard) -> Traffic:
        """See `Content`."""
        return self._traffic(duration_s, shard, times_ns=times_ns)

    def closed_loop(
        self, concurrency: int, duration_s: float, think: ThinkTime, shard: Shard
    ) -> Traffic:
        """See `Content`; conversations have think times of their own."""
        return self._traffic(duration_s, shard, concurrency=concurrency)

    def _traffic(
        self,
        duration_s: float,
        shard: Shard,
        times_ns: Ints | None = None,
        concurrency: int | None = None,
    ) -> ConversationTraffic:
        return ConversationTraffic(
            self._source,
            duration_s=duration_s,
            times_ns=times_ns,
            concurrency=concurrency,
            seed=self._seed,
            max_model_len=self._max_model_len,
            sampling=self._sampling,
            gap_scale=self._gap_scale,
            shard=shard,
        )

    def lengths(self, count: int) -> tuple[Ints, Ints]:
        """See `Content`."""
        served = served_by(self._source, count, self._max_model_len)
        return served.computed_tokens(not self._history_computed), served.output_tokens

    def closing_notes(self, traffic: Traffic) -> tuple[str, ...]:
        """See `Content`: how many conversations ended early."""
        assert isinstance(traffic, ConversationTraffic)
        counts = ((traffic.cut, "did not fit the context any more"),
                  (traffic.broken, "had a turn that did not end ok"))  # fmt: skip
        said = [f"{number:,} {why}" for number, why in counts if number]
        if not said:
            return self.notes
        ended = f"Of {traffic.begun:,} conversations ended early: {', '.join(said)}."
        return (*self.notes, f"{ended} {CONVERSATION_RULE}")


def _means(source: ConversationSource, max_model_len: int | None) -> tuple[float, float]:
    """Turns that a conversation gets to take before it no longer fits the context, and the
    seconds of the gaps between them, on average."""
    turns = gaps_ns = 0
    for session in range(_SAMPLE_SESSIONS):
        history = 0
        for number, turn in enumerate(source.conversation(session).turns):
            history = (history if turn.history else 0) + turn.new_tokens + turn.output_tokens
            if number and max_model_len is not None and history > max_model_len:
                break
            turns += 1
            gaps_ns += turn.gap_ns if number else 0
    return turns / _SAMPLE_SESSIONS, gaps_ns / _SAMPLE_SESSIONS / 1e9
