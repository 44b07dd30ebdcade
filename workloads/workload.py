"""A workload: how long prompts and answers are, and whose figures say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from workloads.conversations.plan import ConversationPlan, PlanDraws
from workloads.conversations.served import ServedLengths, fitted_lengths, sent_turns
from workloads.draws import Purpose, uniforms
from workloads.errors import WorkloadError
from workloads.fitting import fit_to_context
from workloads.lengths import LengthDistribution

_GRID: Final = 512
_SAMPLE: Final = 16_384


@dataclass(frozen=True, slots=True)
class DefaultArrivals:
    """When a workload's requests come, unless the user says otherwise.

    Attributes:
        process: a name of `arrivals.ARRIVAL_PROCESSES`.
        options: that process's options.
        modulation: the rate over time, as `modulation.modulation` reads it; empty is steady.
    """

    process: str = "poisson"
    options: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    modulation: str = ""


@dataclass(frozen=True, slots=True)
class Workload:
    """Named length statistics. Input and output lengths are drawn independently of each other
    (in both Azure 2023 traces their correlation is within ±0.12).

    Attributes:
        name: what `--workload` takes.
        description: one line for listings.
        source: whose figures these are, and how they were fitted.
        input_tokens: prompt length, without the shared prefix. With a `conversation`: the first
            message's, without what goes before it.
        output_tokens: answer length.
        shared_prefix_tokens: every prompt begins with the same this many tokens (a system
            prompt); its total length is this plus a draw from `input_tokens`. With a
            `conversation`: before and in addition to the plan's system prompts.
        conversation: requests are turns of conversations that go like this; None where each
            stands alone. Build such a workload with `of_conversations`.
        arrivals: how requests (or sessions) arrive by default; None leaves it to the run.
    """

    name: str
    description: str
    source: str
    input_tokens: LengthDistribution
    output_tokens: LengthDistribution
    shared_prefix_tokens: int = 0
    conversation: ConversationPlan | None = None
    arrivals: DefaultArrivals | None = None

    def __post_init__(self) -> None:
        if self.shared_prefix_tokens < 0:
            raise WorkloadError(
                f"shared_prefix_tokens is {self.shared_prefix_tokens}: give 0 (none) or more"
            )

    @classmethod
    def of_conversations(
        cls, name: str, description: str, source: str, plan: ConversationPlan
    ) -> Workload:
        """A workload whose requests are the turns of the plan's conversations."""
        return cls(
            name, description, source, plan.first_tokens, plan.output_tokens, conversation=plan
        )

    def with_shared_prefix(self, tokens: int) -> Workload:
        """The same workload with a shared prefix of `tokens` tokens."""
        return replace(self, shared_prefix_tokens=tokens)

    def lengths(
        self, seed: int, request_ids: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Total prompt tokens (shared prefix and history included) and output tokens of these
        requests, int64 `[n]` each, before fitting to a context.

        A request's lengths depend on (seed, request id) alone: not on the rate, nor on which
        other ids are asked for. With a `conversation`, ids count the turns of session 0, then
        those of session 1 and so on, and histories have answers of the drawn length; what is kept
        grows with the highest id. Raises `WorkloadError` for a bad seed.
        """
        if self.conversation is not None:
            prompts, outputs, _ = PlanDraws(self.conversation, seed).prompts(request_ids)
            return self.shared_prefix_tokens + prompts, outputs
        own = self.input_tokens.quantile(uniforms(seed, request_ids, Purpose.INPUT_LENGTH))
        output = self.output_tokens.quantile(uniforms(seed, request_ids, Purpose.OUTPUT_LENGTH))
        return self.shared_prefix_tokens + own, output

    def served_lengths(
        self, seed: int, request_ids: npt.NDArray[np.int64], max_model_len: int | None = None
    ) -> ServedLengths:
        """What an engine gets to do for these requests: for calibration.

        `request_ids` ascend. Each request is fitted to the context; turns that a conversation does
        not get to, because an earlier one or they themselves exceed it, are left out. Raises
        `WorkloadError` for a bad seed or a context under 2 tokens.
        """
        if self.conversation is None:
            inputs, outputs = self.lengths(seed, request_ids)
            new = inputs - self.shared_prefix_tokens
            return fitted_lengths(inputs, outputs, new, max_model_len)
        draws = PlanDraws(self.conversation, seed)
        prompts, outputs, new = draws.prompts(request_ids)
        prompts = prompts + self.shared_prefix_tokens
        session_ids, turns = draws.session_of(request_ids)
        sent = sent_turns(session_ids, turns, prompts + outputs, max_model_len)
        return fitted_lengths(prompts[sent], outputs[sent], new[sent], max_model_len)

    def requests_per_session(self) -> float:
        """Mean turns of a session; 1 where every request stands alone."""
        return 1.0 if self.conversation is None else self.conversation.turns.mean()

    def mean_input_tokens(self, max_model_len: int | None = None) -> float:
        """Mean prompt tokens, shared prefix and history included, after fitting to the context."""
        return self._fitted_means(max_model_len)[0]

    def mean_output_tokens(self, max_model_len: int | None = None) -> float:
        """Mean output tokens after fitting to the context."""
        return self._fitted_means(max_model_len)[1]

    def fitted_share(self, max_model_len: int) -> float:
        """Expected share of requests, 0 to 1, that the context forces to be shortened."""
        return self._fitted_means(max_model_len)[2]

    def _fitted_means(self, max_model_len: int | None) -> tuple[float, float, float]:
        if self.conversation is not None:
            # Sums of many draws with a cut: the mean of a fixed sample, within about 2 %.
            served = self.served_lengths(0, np.arange(_SAMPLE), max_model_len)
            return (
                float(served.input_tokens.mean()),
                float(served.output_tokens.mean()),
                float(served.fitted.mean()),
            )
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
