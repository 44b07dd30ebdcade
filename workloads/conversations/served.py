"""How long the requests of conversations are once their history is in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from workloads.conversations.conversation import ConversationSource
from workloads.fitting import fit_to_context

Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ServedLengths:
    """Lengths in tokens of the requests that would be sent, int64 `[n]` each.

    Attributes:
        input_tokens: the whole prompt, history included, fitted to the context.
        output_tokens: the answer, fitted to the context.
        uncached_tokens: of the prompt, what a prefix cache that forgets nothing does not have: at
            least 1. History, answers and shared texts count as cached to their last token; a real
            cache computes the rest of a partial block again.
        fitted: bool `[n]`, which of them were shortened.
    """

    input_tokens: Ints
    output_tokens: Ints
    uncached_tokens: Ints
    fitted: npt.NDArray[np.bool_]

    def computed_tokens(self, prefix_caching: bool) -> Ints:
        """Tokens of prompt that are computed with the prefix cache on or off, int64 `[n]`."""
        return self.uncached_tokens if prefix_caching else self.input_tokens


def fitted_lengths(
    input_tokens: Ints, output_tokens: Ints, new_tokens: Ints, max_model_len: int | None
) -> ServedLengths:
    """`ServedLengths` of these requests after fitting each to the context by itself.

    Raises `WorkloadError` for a context under 2 tokens.
    """
    inputs, outputs, fitted = fit_to_context(input_tokens, output_tokens, max_model_len)
    dropped = input_tokens - inputs
    return ServedLengths(inputs, outputs, np.maximum(new_tokens - dropped, 1), fitted)


def sent_turns(
    session_ids: Ints, turns: Ints, total_tokens: Ints, max_model_len: int | None
) -> npt.NDArray[np.bool_]:
    """Which requests are sent before their conversation no longer fits the context, bool `[n]`.

    The rows are in order of session and turn; `total_tokens` is prompt + answer. Turns that are
    missing before a row's are taken to fit.
    """
    if max_model_len is None:
        return np.ones(len(turns), dtype=np.bool_)
    too_long = total_tokens > max_model_len
    begins = np.concatenate([np.ones(1, dtype=np.bool_), np.diff(session_ids) != 0])
    row_of_first = np.maximum.accumulate(np.where(begins, np.arange(len(turns)), 0))
    before = np.cumsum(too_long) - np.cumsum(too_long)[row_of_first] + too_long[row_of_first]
    sent: npt.NDArray[np.bool_] = (turns == 0) | (before == 0)
    return sent


def served_by(
    source: ConversationSource, requests: int, max_model_len: int | None = None
) -> ServedLengths:
    """Lengths of the first `requests` requests of a source, with answers of the length it wants.

    Sessions count as begun one after the other from id 0; turns that would exceed the context are
    left out with all that follow them. Of shared texts only system prompts count as cached.
    """
    rows: list[tuple[int, int, int]] = []
    session_id = 0
    while len(rows) < requests:
        history = 0
        for number, turn in enumerate(source.conversation(session_id).turns):
            prompt = turn.new_tokens + (history if turn.history else 0)
            history = prompt + turn.output_tokens
            if number and max_model_len is not None and history > max_model_len:
                break
            shared = sum(len(tokens) for role, tokens in turn.parts if role == "system")
            new = turn.new_tokens - (0 if number else shared)
            rows.append((prompt, turn.output_tokens, new))
        session_id += 1
    columns = np.array(rows[:requests], dtype=np.int64).reshape(-1, 3)
    return fitted_lengths(columns[:, 0], columns[:, 1], columns[:, 2], max_model_len)
