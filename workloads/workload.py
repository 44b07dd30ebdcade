"""A workload: how long prompts and answers are, and whose figures say so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from workloads.draws import Purpose, uniforms
from workloads.errors import WorkloadError
from workloads.fitting import fit_to_context
from workloads.lengths import LengthDistribution

_GRID: Final = 512


@dataclass(frozen=True, slots=True)
class Workload:
    """Named length statistics. Input and output lengths are drawn independently of each other
    (in both Azure 2023 traces their correlation is within ±0.12).

    Attributes:
        name: what `--workload` takes.
        description: one line for listings.
        source: whose figures these are, and how they were fitted.
        input_tokens: prompt length, without the shared prefix.
        output_tokens: answer length.
        shared_prefix_tokens: every prompt begins with the same this many tokens (a system
            prompt); its total length is this plus a draw from `input_tokens`.
    """

    name: str
    description: str
    source: str
    input_tokens: LengthDistribution
    output_tokens: LengthDistribution
    shared_prefix_tokens: int = 0

    def __post_init__(self) -> None:
        if self.shared_prefix_tokens < 0:
            raise WorkloadError(
                f"shared_prefix_tokens is {self.shared_prefix_tokens}: give 0 (none) or more"
            )

    def with_shared_prefix(self, tokens: int) -> Workload:
        """The same workload with a shared prefix of `tokens` tokens."""
        return replace(self, shared_prefix_tokens=tokens)

    def lengths(
        self, seed: int, request_ids: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Total prompt tokens (shared prefix included) and output tokens of these requests,
        int64 `[n]` each, before fitting to a context.

        A request's lengths depend on (seed, request id) alone: not on the rate, nor on which
        other ids are asked for. Raises `WorkloadError` for a bad seed.
        """
        own = self.input_tokens.quantile(uniforms(seed, request_ids, Purpose.INPUT_LENGTH))
        output = self.output_tokens.quantile(uniforms(seed, request_ids, Purpose.OUTPUT_LENGTH))
        return self.shared_prefix_tokens + own, output

    def mean_input_tokens(self, max_model_len: int | None = None) -> float:
        """Mean prompt tokens, shared prefix included, after fitting to the context."""
        return self._fitted_means(max_model_len)[0]

    def mean_output_tokens(self, max_model_len: int | None = None) -> float:
        """Mean output tokens after fitting to the context."""
        return self._fitted_means(max_model_len)[1]

    def fitted_share(self, max_model_len: int) -> float:
        """Expected share of requests, 0 to 1, that the context forces to be shortened."""
        return self._fitted_means(max_model_len)[2]

    def _fitted_means(self, max_model_len: int | None) -> tuple[float, float, float]:
        if max_model_len is None:
            own = self.input_tokens.mean()
            return self.shared_prefix_tokens + own, self.output_tokens.mean(), 0.0
        # Fitting couples the two lengths: average over the midpoints of equally likely cells.
        u = (np.arange(_GRID) + 0.5) / _GRID
        total = self.shared_prefix_tokens + self.input_tokens.quantile(u)
        fitted_input, fitted_output, changed = fit_to_context(
            total[:, None], self.output_tokens.quantile(u)[None, :], max_model_len
        )
        return float(fitted_input.mean()), float(fitted_output.mean()), float(changed.mean())
