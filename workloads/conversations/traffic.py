"""Conversations over time: a turn comes after the answer to the one before."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final

import numpy as np
import numpy.typing as npt

from workloads.arrivals import ArrivalProcess, duration_ns
from workloads.conversations.begins import Slots, Stamps
from workloads.conversations.conversation import ConversationSource, Turn
from workloads.draws import checked_seed, sampling_seeds
from workloads.errors import WorkloadError
from workloads.fitting import fit_to_context
from workloads.request import Ended, Part, Request, SamplingParams
from workloads.traffic import WHOLE, Shard

CONVERSATION_RULE: Final = (
    "A conversation's first turn is fitted to the context like any request. It ends early before "
    "the first later turn whose prompt (the whole history) + output would exceed the context, "
    "after a turn that failed or was rejected or cancelled, and before a turn that would begin "
    "at or after the end of the run or beyond its number of requests."
)
"""The rule in words, for reports and `--help`."""

_NO_TOKENS: Final = np.zeros(0, dtype=np.int32)


@dataclass(slots=True)
class _Session:
    """A conversation that has begun: what is left of it, and what was said so far."""

    session_id: int
    first_request_id: int
    turns: tuple[Turn, ...]
    turn: int = 0
    history: npt.NDArray[np.int32] = field(default_factory=lambda: _NO_TOKENS)
    parts: tuple[Part, ...] = ()

    @property
    def has_next(self) -> bool:
        return self.turn + 1 < len(self.turns)


class ConversationTraffic:
    """Sessions of several turns with the real answers in their history: `Traffic`.

    Sessions begin at `times_ns` (open), or `concurrency` of them take place at a time, back to
    back (closed). Turn 0 is scheduled at the session's start, each later turn `gap_ns` after the
    end of the answer before it; its prompt is the previous prompt, that answer's tokens and what
    is new. How they end: `CONVERSATION_RULE`. A session's text is built when it begins and
    dropped when it ends.

    Args:
        source: what is said.
        duration_s: nothing is scheduled at or after it.
        times_ns: int64 `[n]`, ascending nanoseconds since the run's start; session i begins at
            stamp i. `at_rate` draws them.
        concurrency: sessions at a time. Give this or `times_ns`.
        most: requests to hand out at most, over all shards; None is no limit.
        max_model_len: the model's context in tokens; None is no limit.
        gap_scale: the gaps before later turns take this many times as long.
        sampling: passed on, but for `seed`, which each request gets from (`seed`, request id).
        shard: this part takes sessions index, index + count, … and its share of the slots.

    Raises `WorkloadError` for a bad seed, concurrency, duration or context, and unless exactly one
    of `times_ns` and `concurrency` is given.
    """

    __slots__ = (
        "_begins",
        "_duration_ns",
        "_gap_scale",
        "_left",
        "_max_model_len",
        "_out",
        "_sampling",
        "_seed",
        "_shard",
        "_source",
        "_stopped",
        "_waiting",
        "begun",
        "broken",
        "cut",
        "fitted",
        "last_scheduled_ns",
        "offered",
    )

    needs_answers = True

    def __init__(
        self,
        source: ConversationSource,
        *,
        duration_s: float,
        times_ns: npt.NDArray[np.int64] | None = None,
        concurrency: int | None = None,
        most: int | None = None,
        seed: int = 0,
        max_model_len: int | None = None,
        sampling: SamplingParams | None = None,
        gap_scale: float = 1.0,
        shard: Shard = WHOLE,
    ) -> None:
        if (times_ns is None) == (concurrency is None):
            raise WorkloadError("give conversations either start times or a concurrency")
        if concurrency is not None and concurrency < 1:
            raise WorkloadError(f"concurrency is {concurrency}: give a whole number from 1 up")
        if max_model_len is not None and max_model_len < 2:
            raise WorkloadError(f"max_model_len is {max_model_len} tokens: a request needs 2")
        self._source = source
        if not (math.isfinite(gap_scale) and gap_scale >= 0):
            raise WorkloadError(f"gap_scale is {gap_scale}: give a number from 0 up")
        self._gap_scale = gap_scale
        self._duration_ns = duration_ns(duration_s)
        self._begins: Stamps | Slots
        if times_ns is not None:
            in_time = times_ns[: np.searchsorted(times_ns, self._duration_ns)]
            self._begins = Stamps(in_time[shard.index :: shard.count])
        else:
            self._begins = Slots(shard.share_of(concurrency or 0), self._duration_ns)
        self._left = None if most is None else shard.share_of(most)
        self._seed = checked_seed(seed)
        self._max_model_len = max_model_len
        self._sampling = sampling if sampling is not None else SamplingParams()
        self._shard = shard
        # Later turns by when they are due; the session id breaks ties, and is there once.
        self._waiting: list[tuple[int, int, _Session]] = []
        self._out: dict[int, tuple[_Session, npt.NDArray[np.int32]]] = {}
        self._stopped = False
        self.begun = 0
        """Conversations begun so far."""
        self.cut = 0
        """Conversations ended because their next turn would not fit the context."""
        self.broken = 0
        """Conversations ended by a turn that failed or was rejected or cancelled."""
        self.offered = 0
        self.fitted = 0
        self.last_scheduled_ns: int | None = None

    @classmethod
    def at_rate(
        cls,
        source: ConversationSource,
        arrivals: ArrivalProcess,
        *,
        sessions_per_s: float,
        duration_s: float,
        most: int | None = None,
        seed: int = 0,
        max_model_len: int | None = None,
        sampling: SamplingParams | None = None,
        shard: Shard = WHOLE,
    ) -> ConversationTraffic:
        """Sessions that begin as a process has it, at a mean rate of sessions per second.

        A rate in requests per second is that many divided by the mean turns of a session. Raises
        `WorkloadError` as the process and the constructor do.
        """
        rng = np.random.default_rng(checked_seed(seed))
        return cls(
            source,
            duration_s=duration_s,
            times_ns=arrivals.times_ns(sessions_per_s, duration_s, rng),
            most=most,
            seed=seed,
            max_model_len=max_model_len,
            sampling=sampling,
            shard=shard,
        )

    def due(self, now_ns: int) -> list[Request]:
        """See `Traffic`."""
        requests = []
        while (next_ns := self.next_due_ns()) is not None and next_ns <= now_ns:
            # At equal stamps the conversation that has begun goes on first.
            if self._waiting and self._waiting[0][0] == next_ns:
                session = heappop(self._waiting)[2]
            else:
                self._begins.take()
                session = self._begin()
            requests.append(self._hand_out(session, next_ns))
        return requests

    def next_due_ns(self) -> int | None:
        """See `Traffic`; `None` while everything that is left waits for an answer."""
        if self._left == 0:
            return None
        begins_ns = self._begins.next_ns()
        if not self._waiting:
            return begins_ns
        return self._waiting[0][0] if begins_ns is None else min(begins_ns, self._waiting[0][0])

    def finished(self, ended: Ended) -> None:
        """Schedules the session's next turn, or ends the session.

        Raises `KeyError` for a request that is not out, and `ValueError` for an answer whose tokens
        are not given though the session goes on: this kind `needs_answers`.
        """
        session, prompt = self._out.pop(ended.request_id)
        if not ended.ok:
            self.broken += 1
        elif session.has_next and not self._stopped:
            if ended.output_token_ids is None:
                raise ValueError(f"the answer to request {ended.request_id} has no tokens with it")
            self._remember(session, prompt, ended.output_token_ids)
            due_ns = ended.time_ns + round(self._gap_scale * session.turns[session.turn].gap_ns)
            if not self._fits(session):
                self.cut += 1
            elif due_ns < self._duration_ns:
                heappush(self._waiting, (due_ns, session.session_id, session))
                return
            else:
                return  # Its slot stays taken: the user still reads when the run ends.
        self._begins.free(ended.time_ns)

    def stop(self) -> None:
        """See `Traffic`."""
        self._stopped = True
        self._waiting.clear()
        self._begins.stop()

    @property
    def exhausted(self) -> bool:
        """See `Traffic`; false while an answer is out that another turn or session may follow."""
        if self._stopped or self._left == 0:
            return True
        if self._waiting or self._begins.next_ns() is not None:
            return False
        return not any(self._begins.frees or session.has_next for session, _ in self._out.values())

    def _begin(self) -> _Session:
        session_id = self._shard.index + self._shard.count * self.begun
        self.begun += 1
        turns = self._source.conversation(session_id).turns
        return _Session(session_id, self._source.first_request_id(session_id), turns)

    def _hand_out(self, session: _Session, scheduled_ns: int) -> Request:
        turn = session.turns[session.turn]
        prompt, parts = _prompt(session, turn)
        output_tokens, fitted = turn.output_tokens, False
        if session.turn == 0:
            inputs, outputs, changed = fit_to_context(
                np.array([len(prompt)]), np.array([output_tokens]), self._max_model_len
            )
            prompt, output_tokens = prompt[: int(inputs[0])], int(outputs[0])
            parts, fitted = _first_of(parts, len(prompt)), bool(changed[0])
        request_id = session.first_request_id + session.turn
        sampling_seed = int(sampling_seeds(self._seed, np.array([request_id]))[0])
        session.parts = parts
        self._out[request_id] = (session, prompt)
        self.offered += 1
        self._left = None if self._left is None else self._left - 1
        self.fitted += fitted
        self.last_scheduled_ns = scheduled_ns
        return Request(
            request_id=request_id,
            scheduled_ns=scheduled_ns,
            prompt_token_ids=prompt,
            max_tokens=output_tokens,
            sampling=self._sampling.seeded(sampling_seed),
            fitted=fitted,
            parts=parts,
            session_id=session.session_id,
            turn=session.turn,
        )

    def _remember(
        self, session: _Session, prompt: npt.NDArray[np.int32], answer: npt.NDArray[np.int32]
    ) -> None:
        session.history = np.concatenate([prompt, answer.astype(np.int32, copy=False)])
        if len(answer):
            session.parts = (*session.parts, Part("assistant", len(answer)))
        session.turn += 1

    def _fits(self, session: _Session) -> bool:
        turn = session.turns[session.turn]
        before = len(session.history) if turn.history else 0
        total = before + turn.new_tokens + turn.output_tokens
        return self._max_model_len is None or total <= self._max_model_len


def _prompt(session: _Session, turn: Turn) -> tuple[npt.NDArray[np.int32], tuple[Part, ...]]:
    new = tuple(Part(role, len(tokens)) for role, tokens in turn.parts if len(tokens))
    tokens = [tokens for _, tokens in turn.parts]
    if not turn.history:
        return np.concatenate(tokens), new
    return np.concatenate([session.history, *tokens]), session.parts + new


def _first_of(parts: tuple[Part, ...], tokens: int) -> tuple[Part, ...]:
    """The parts of a prompt's first `tokens` tokens."""
    kept = []
    for part in parts:
        if tokens <= 0:
            break
        kept.append(Part(part.role, min(part.tokens, tokens)))
        tokens -= part.tokens
    return tuple(kept)
