"""What is asked of an engine: one request, and how its tokens are to be sampled."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How output tokens are drawn.

    `temperature` 0 is greedy. `top_k` 0 and `top_p` 1.0 are off. `seed` makes the draws a
    function of (seed, position) alone, whatever else is in the batch. With `ignore_eos` the
    request always yields `max_tokens` tokens, as replayed lengths need.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    ignore_eos: bool = True

    def seeded(self, seed: int) -> SamplingParams:
        """The same with another seed."""
        return SamplingParams(self.temperature, self.top_k, self.top_p, seed, self.ignore_eos)


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a prompt that one side of a conversation wrote.

    `role` is "system", "user", "assistant" or "tool"; `tokens` is its length. The parts of a
    prompt follow each other and cover it.
    """

    role: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as the arrival process or the trace wants it.

    Attributes:
        request_id: from 0, unique within a run. Open-loop traffic counts in the order of arrival;
            conversations give each turn its number beforehand, so that the same turn has the same
            id in every run.
        scheduled_ns: intended arrival, nanoseconds since the run's start. In a closed loop: when
            its slot became free, think time included.
        prompt_token_ids: int32 `[prompt_tokens]`, at least one.
        max_tokens: output tokens after which the request ends, at least one.
        priority: lower is sooner; used by the `priority` policy alone.
        fitted: the prompt or output was shortened to fit the model's context.
        parts: who wrote which stretch of the prompt; empty for one message of a user.
        session_id, turn: the conversation that it belongs to and its place there, from 0; -1 for
            a request that stands alone.
    """

    request_id: int
    scheduled_ns: int
    prompt_token_ids: npt.NDArray[np.int32]
    max_tokens: int
    sampling: SamplingParams = field(default_factory=SamplingParams)
    priority: int = 0
    fitted: bool = False
    parts: tuple[Part, ...] = ()
    session_id: int = -1
    turn: int = -1

    @property
    def prompt_tokens(self) -> int:
        return len(self.prompt_token_ids)


@dataclass(frozen=True, slots=True)
class Ended:
    """A request has ended: what traffic that reacts to answers needs to know.

    Attributes:
        time_ns: when, nanoseconds since the run's start.
        ok: it ran to its end; otherwise it failed or was rejected or cancelled.
        output_token_ids: int32 `[output_tokens]`, the answer so far; None where it was not kept.
    """

    request_id: int
    time_ns: int
    ok: bool = True
    output_token_ids: npt.NDArray[np.int32] | None = None
