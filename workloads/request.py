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


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as the arrival process or the trace wants it.

    Attributes:
        request_id: position in the order of arrival, from 0; unique within a run.
        scheduled_ns: intended arrival, nanoseconds since the run's start. In a closed loop: when
            its slot became free.
        prompt_token_ids: int32 `[prompt_tokens]`, at least one.
        max_tokens: output tokens after which the request ends, at least one.
        priority: lower is sooner; used by the `priority` policy alone.
        fitted: the prompt or output was shortened to fit the model's context.
    """

    request_id: int
    scheduled_ns: int
    prompt_token_ids: npt.NDArray[np.int32]
    max_tokens: int
    sampling: SamplingParams = field(default_factory=SamplingParams)
    priority: int = 0
    fitted: bool = False

    @property
    def prompt_tokens(self) -> int:
        return len(self.prompt_token_ids)
