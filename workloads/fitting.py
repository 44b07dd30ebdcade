"""The stated rule for requests that are longer than the model's context."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from workloads.errors import WorkloadError

FITTING_RULE = (
    "Where prompt + output exceed the context, the output is shortened first, but never below "
    "half of the context (a shorter one is kept whole); then the prompt keeps its first tokens, "
    "so that prompt + output = context."
)
"""The rule in words, for reports and `--help`."""


def fit_to_context(
    input_tokens: npt.NDArray[np.int64],
    output_tokens: npt.NDArray[np.int64],
    max_model_len: int | None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Input and output lengths in tokens after `FITTING_RULE`, and which requests it changed.

    The arrays broadcast against each other. Every result has input ≥ 1, output ≥ 1 and
    input + output ≤ `max_model_len`; requests that fit are unchanged. `None` means no limit.
    Raises `WorkloadError` for a context under 2 tokens, which holds no request at all.
    """
    if max_model_len is None:
        return input_tokens, output_tokens, np.zeros(np.shape(input_tokens), dtype=np.bool_)
    if max_model_len < 2:
        raise WorkloadError(
            f"max_model_len is {max_model_len} tokens: a request needs at least 2, "
            "one of prompt and one of output"
        )
    half = max_model_len // 2
    fitted_output = np.minimum(output_tokens, np.maximum(max_model_len - input_tokens, half))
    fitted_input = np.minimum(input_tokens, max_model_len - fitted_output)
    changed = (fitted_input != input_tokens) | (fitted_output != output_tokens)
    return fitted_input, fitted_output, changed
