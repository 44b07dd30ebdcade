"""A conversation workload in distributions, and how it is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from workloads.conversations.gaps import TOOL_GAP, USER_GAP, Gap
from workloads.draws import Purpose, checked_seed, uniforms
from workloads.errors import WorkloadError
from workloads.lengths import LengthDistribution
from workloads.zipf import Zipf

Ints: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]

_MOST_NS: Final = float(1 << 62)


@dataclass(frozen=True, slots=True)
class SharedTexts:
    """Texts that many sessions have in common, so that prefix caches meet real sharing.

    Attributes:
        count: how many different ones there are.
        tokens: their lengths; each text has one length, drawn from (seed, its number).
        exponent: of the Zipf law of their popularity; text 0 is the most popular.
        per_session: how many a session draws; one that it draws twice it has once.
    """

    count: int
    tokens: LengthDistribution
    exponent: float = 1.0
    per_session: int = 1

    def __post_init__(self) -> None:
        Zipf(self.count, self.exponent)
        if self.per_session < 1:
            raise WorkloadError(
                f"{self.per_session} shared texts per session: give 1 or more, or no shared texts"
            )


@dataclass(frozen=True, slots=True)
class ConversationPlan:
    """How conversations go. All lengths in tokens, all gaps in seconds.

    Turn 0's prompt is a system prompt, then documents, then a user's message. Each later turn adds
    a user's message or, with probability `tool_share`, what a tool returned.

    Attributes:
        turns: requests of a session.
        first_tokens: the user's message of turn 0.
        user_tokens: the user's message of a later turn.
        output_tokens: every answer.
        user_gap: from an answer to the next message of the user.
        tool_share: share of the later turns, 0 to 1, that a tool's result opens.
        tool_tokens: a tool's result; needed where `tool_share` is above 0.
        tool_gap: from an answer (a call) to the tool's result.
        system_prompts, documents: shared by sessions; None is none.
        gap_scale: every gap takes this many times as long.

    Raises `WorkloadError` for values that make no sense.
    """

    turns: LengthDistribution
    first_tokens: LengthDistribution
    user_tokens: LengthDistribution
    output_tokens: LengthDistribution
    user_gap: Gap = USER_GAP
    tool_share: float = 0.0
    tool_tokens: LengthDistribution | None = None
    tool_gap: Gap = TOOL_GAP
    system_prompts: SharedTexts | None = None
    documents: SharedTexts | None = None
    gap_scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.tool_share <= 1.0:
            raise WorkloadError(f"tool_share is {self.tool_share}: give a share from 0 to 1")
        if self.tool_share > 0 and self.tool_tokens is None:
            raise WorkloadError("tool_share is above 0: say how long tool_tokens are")
        if self.system_prompts is not None and self.system_prompts.per_session != 1:
            raise WorkloadError("a session has one system prompt: leave per_session at 1")
        if not (math.isfinite(self.gap_scale) and self.gap_scale >= 0):
            raise WorkloadError(f"gap_scale is {self.gap_scale}: give a number from 0 up")

    def with_gap_scale(self, scale: float) -> ConversationPlan:
        """The same plan with every gap `scale` times as long as the distributions say."""
        return replace(self, gap_scale=scale)

    def mean_gap_s(self) -> float:
        """Mean seconds from an answer to the next turn."""
        tool = self.tool_share * self.tool_gap.mean_s()
        return self.gap_scale * (tool + (1.0 - self.tool_share) * self.user_gap.mean_s())


class PlanDraws:
    """Every number of a plan's conversations, each from (seed, its own id) alone.

    What belongs to a session is drawn by session id; what belongs to a turn by request id, which
    counts the turns of all sessions in order. So the turns of all sessions up to the highest that
    was asked for are kept, at 8 bytes a session.

    Raises `WorkloadError` for a bad seed.
    """

    __slots__ = ("_documents", "_ends", "_seed", "_system_prompts", "plan")

    def __init__(self, plan: ConversationPlan, seed: int) -> None:
        self.plan = plan
        self._seed = checked_seed(seed)
        self._ends = np.zeros(0, dtype=np.int64)
        self._system_prompts = _popularity(plan.system_prompts)
        self._documents = _popularity(plan.documents)

    def session_of(self, request_ids: Ints) -> tuple[Ints, Ints]:
        """Session id and turn of these requests, int64 `[n]` each."""
        highest = int(request_ids.max(initial=0))
        while not len(self._ends) or self._ends[-1] <= highest:
            self._grow()
        sessions = np.searchsorted(self._ends, request_ids, side="right").astype(np.int64)
        return sessions, request_ids - self.first_request_ids(sessions)

    def first_request_ids(self, session_ids: Ints) -> Ints:
        """The request ids of these sessions' turns 0, int64 `[n]`."""
        while len(self._ends) <= int(session_ids.max(initial=0)):
            self._grow()
        return np.where(session_ids > 0, self._ends[np.maximum(session_ids - 1, 0)], 0)

    def turns(self, session_ids: Ints) -> Ints:
        """How many turns these sessions have, int64 `[n]`."""
        first = self.first_request_ids(session_ids)
        counts: Ints = self._ends[session_ids] - first
        return counts

    def tool_turns(self, request_ids: Ints, turns: Ints) -> Flags:
        """Which of these requests, of these turns of their sessions, a tool's result opens."""
        drawn = uniforms(self._seed, request_ids, Purpose.TOOL_TURN)
        return (drawn < self.plan.tool_share) & (turns > 0)

    def message_tokens(self, request_ids: Ints, turns: Ints) -> Ints:
        """Tokens of the message or the tool's result that is new in each, int64 `[n]`."""
        plan, tool = self.plan, self.tool_turns(request_ids, turns)
        u = uniforms(self._seed, request_ids, Purpose.INPUT_LENGTH)
        tokens = np.zeros(len(request_ids), dtype=np.int64)
        for rows, lengths in (
            (turns == 0, plan.first_tokens),
            ((turns > 0) & ~tool, plan.user_tokens),
            (tool, plan.tool_tokens),
        ):
            if lengths is not None and rows.any():
                tokens[rows] = lengths.quantile(u[rows])
        return tokens

    def output_tokens(self, request_ids: Ints) -> Ints:
        """Tokens of the answers, int64 `[n]`."""
        drawn = uniforms(self._seed, request_ids, Purpose.OUTPUT_LENGTH)
        return self.plan.output_tokens.quantile(drawn)

    def gaps_ns(self, request_ids: Ints, turns: Ints) -> Ints:
        """Nanoseconds from the previous answer to each; 0 for a turn 0, int64 `[n]`."""
        plan, tool = self.plan, self.tool_turns(request_ids, turns)
        u = uniforms(self._seed, request_ids, Purpose.TURN_GAP)
        gaps_s = np.where(tool, plan.tool_gap.quantile_s(u), plan.user_gap.quantile_s(u))
        gaps_ns = np.minimum(gaps_s * plan.gap_scale * 1e9, _MOST_NS)
        return np.where(turns > 0, np.rint(gaps_ns), 0.0).astype(np.int64)

    def system_prompts(self, session_ids: Ints) -> Ints:
        """The number of each session's system prompt, int64 `[n]`; -1 where the plan has none."""
        if self._system_prompts is None:
            return np.full(len(session_ids), -1, dtype=np.int64)
        drawn = uniforms(self._seed, session_ids, Purpose.SYSTEM_PROMPT)
        return self._system_prompts.quantile(drawn)

    def documents(self, session_ids: Ints) -> Ints:
        """The numbers of each session's documents, int64 `[n, per_session]`; -1 marks one that the
        session already has. `[n, 0]` where the plan has none."""
        shared = self.plan.documents
        if shared is None or self._documents is None:
            return np.zeros((len(session_ids), 0), dtype=np.int64)
        places = session_ids[:, None] * shared.per_session + np.arange(shared.per_session)
        drawn = self._documents.quantile(uniforms(self._seed, places, Purpose.DOCUMENT))
        for column in range(1, shared.per_session):
            earlier = drawn[:, :column] == drawn[:, column : column + 1]
            drawn[earlier.any(axis=1), column] = -1
        return drawn

    def system_prompt_tokens(self, numbers: Ints) -> Ints:
        """Lengths of system prompts by number, in its shape; 0 for number -1."""
        return self._shared_tokens(self.plan.system_prompts, 0, numbers)

    def document_tokens(self, numbers: Ints) -> Ints:
        """Lengths of documents by number, in its shape; 0 for number -1."""
        return self._shared_tokens(self.plan.documents, self.count_of_system_prompts, numbers)

    @property
    def count_of_system_prompts(self) -> int:
        """How many different system prompts there are; 0 without any."""
        return 0 if self.plan.system_prompts is None else self.plan.system_prompts.count

    def shared_tokens(self, session_ids: Ints) -> Ints:
        """Tokens of system prompt and documents that open each session, int64 `[n]`."""
        system = self.system_prompt_tokens(self.system_prompts(session_ids))
        documents: Ints = self.document_tokens(self.documents(session_ids)).sum(axis=1)
        return system + documents

    def prompts(self, request_ids: Ints) -> tuple[Ints, Ints, Ints]:
        """Prompt, answer and new tokens of these requests, int64 `[n]` each, as if no context
        ended a conversation.

        The prompt is the whole history with the shared texts; the new ones are its message alone.
        """
        if not len(request_ids):
            return request_ids, request_ids, request_ids
        # All turns of the sessions that are asked about, one session after the other.
        sessions, asked = np.unique(self.session_of(request_ids)[0], return_inverse=True)
        counts, first_ids = self.turns(sessions), self.first_request_ids(sessions)
        rows = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)[:-1]])
        turns = np.arange(int(counts.sum())) - np.repeat(rows, counts)
        ids = np.repeat(first_ids, counts) + turns
        messages, outputs = self.message_tokens(ids, turns), self.output_tokens(ids)
        before = np.cumsum(messages + outputs) - messages - outputs
        history = before - np.repeat(before[rows] - self.shared_tokens(sessions), counts)
        picked = rows[asked] + request_ids - first_ids[asked]
        return (history + messages)[picked], outputs[picked], messages[picked]

    def _shared_tokens(self, shared: SharedTexts | None, first: int, numbers: Ints) -> Ints:
        if shared is None:
            return np.zeros(np.shape(numbers), dtype=np.int64)
        places = first + np.maximum(numbers, 0)
        u = uniforms(self._seed, places, Purpose.SHARED_LENGTH)
        return np.where(numbers >= 0, shared.tokens.quantile(u), 0)

    def _grow(self) -> None:
        """Draws the turns of as many sessions again as are drawn, at least 512."""
        drawn = len(self._ends)
        ids = np.arange(drawn, drawn + max(drawn, 512), dtype=np.int64)
        counts = self.plan.turns.quantile(uniforms(self._seed, ids, Purpose.SESSION_TURNS))
        last = int(self._ends[-1]) if drawn else 0
        self._ends = np.concatenate([self._ends, last + np.cumsum(counts)])


def one(number: int) -> Ints:
    """The array that draws one id at a time."""
    return np.array([number], dtype=np.int64)


def _popularity(shared: SharedTexts | None) -> Zipf | None:
    return None if shared is None else Zipf(shared.count, shared.exponent)
