"""Conversations made from a plan's distributions and a stream of real text."""

from __future__ import annotations

import numpy as np

from workloads.conversations.conversation import Conversation, Parts, Turn
from workloads.conversations.plan import ConversationPlan, PlanDraws, one
from workloads.errors import WorkloadError
from workloads.text import TokenStream


class SyntheticConversations:
    """A `ConversationSource`: lengths, gaps and sharing from `plan`, text from `stream`.

    Every message is cut from its own place of the stream; a system prompt or document is the same
    tokens in every session that has it. No template goes around them: lengths are the plan's.
    `shared_prefix_tokens` tokens of the stream's beginning open every session, before its system
    prompt and in addition to it.

    Raises `WorkloadError` for a bad seed and a negative `shared_prefix_tokens`.
    """

    __slots__ = ("_draws", "_prefix", "_seed", "_stream", "plan")

    def __init__(
        self,
        plan: ConversationPlan,
        stream: TokenStream,
        *,
        seed: int = 0,
        shared_prefix_tokens: int = 0,
    ) -> None:
        if shared_prefix_tokens < 0:
            raise WorkloadError(f"shared_prefix_tokens is {shared_prefix_tokens}: give 0 or more")
        self.plan = plan
        self._draws = PlanDraws(plan, seed)
        self._seed = seed
        self._stream = stream
        self._prefix = stream.slice(0, shared_prefix_tokens)

    def conversation(self, session_id: int) -> Conversation:
        """See `ConversationSource`."""
        draws, session = self._draws, one(session_id)
        turns = np.arange(int(draws.turns(session)[0]))
        ids = self.first_request_id(session_id) + turns
        lengths = draws.message_tokens(ids, turns).tolist()
        outputs = draws.output_tokens(ids).tolist()
        gaps_ns = draws.gaps_ns(ids, turns).tolist()
        roles = ["tool" if tool else "user" for tool in draws.tool_turns(ids, turns)]
        offsets = self._stream.offsets(self._seed, ids).tolist()
        messages: list[Parts] = [
            ((role, self._stream.slice(offset, length)),)
            for role, offset, length in zip(roles, offsets, lengths, strict=True)
        ]
        messages[0] = self._opening(session_id) + messages[0]
        made = (
            Turn(parts, output, gap_ns)
            for parts, output, gap_ns in zip(messages, outputs, gaps_ns, strict=True)
        )
        return Conversation(session_id, tuple(made))

    def first_request_id(self, session_id: int) -> int:
        """See `ConversationSource`."""
        return int(self._draws.first_request_ids(one(session_id))[0])

    def _opening(self, session_id: int) -> Parts:
        """What the session shares with others, in the order of how many share it."""
        draws, session = self._draws, one(session_id)
        parts = [("system", self._prefix)] if len(self._prefix) else []
        prompts, documents = draws.system_prompts(session), draws.documents(session)[0]
        # Their texts begin at places that messages come to last: ids below 0, walking backwards.
        for role, numbers, lengths, first in (
            ("system", prompts, draws.system_prompt_tokens(prompts), 1),
            (
                "user",
                documents,
                draws.document_tokens(documents),
                draws.count_of_system_prompts + 1,
            ),
        ):
            offsets = self._stream.offsets(self._seed, -(numbers + first))
            parts += [
                (role, self._stream.slice(int(offset), int(length)))
                for offset, length in zip(offsets, lengths, strict=True)
                if length
            ]
        return tuple(parts)
