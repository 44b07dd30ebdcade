"""What is known of a conversation before it takes place: everything but the answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Parts: TypeAlias = tuple[tuple[str, npt.NDArray[np.int32]], ...]
"""Stretches of a prompt in order: role (see `workloads.request.Part`) and int32 `[tokens]`."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One request of a conversation, but for the history that goes before it.

    Attributes:
        parts: what is new in the prompt since the previous answer. At least one token in all.
        output_tokens: tokens of the answer, at least 1.
        gap_ns: nanoseconds from the end of the previous answer until the turn is scheduled: a
            user's reading and typing, or a tool's run. Not used by turn 0.
        history: False makes `parts` the whole prompt, as where an agent has compacted its context.
    """

    parts: Parts
    output_tokens: int
    gap_ns: int = 0
    history: bool = True

    @property
    def new_tokens(self) -> int:
        return sum(len(tokens) for _, tokens in self.parts)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A session: at least one turn."""

    session_id: int
    turns: tuple[Turn, ...]


class ConversationSource(Protocol):
    """What each session says. Traffic decides when it begins; answers are the engine's own."""

    def conversation(self, session_id: int) -> Conversation:
        """The session `session_id` (from 0), a function of the source's seed and that id alone."""
        ...

    def first_request_id(self, session_id: int) -> int:
        """The request id of the session's turn 0; turn t has this plus t.

        It counts the turns of all earlier sessions, whether they get to take them or not. So a
        turn has the same id in every run, whatever the timing, and no two turns share one.
        """
        ...
