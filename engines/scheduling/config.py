"""The limits and switches of a scheduler."""

from __future__ import annotations

from dataclasses import dataclass

from engines.errors import EngineConfigError

POLICIES = ("fcfs", "priority")
BATCHING = ("continuous", "static")


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """Limits and switches of a scheduler.

    Attributes:
        max_num_seqs: sequences that run at once.
        max_num_batched_tokens: token budget of a step.
        max_model_len: prompt and output tokens of one sequence.
        chunked_prefill: a prompt may be computed over several steps; if off, a prompt waits for
            a step with room for all of it.
        policy: "fcfs" (arrival order) or "priority" (lower `Request.priority` first).
        batching: "continuous", or "static": a batch is formed, prefilled and decoded to its end
            before the next one is formed; the baseline that continuous batching replaced
            (Orca, OSDI '22).
        watermark: share of the pool kept free when a request is admitted beside running ones, so
            that their growth doesn't preempt it at once.
    """

    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    max_model_len: int = 8192
    chunked_prefill: bool = True
    policy: str = "fcfs"
    batching: str = "continuous"
    watermark: float = 0.01

    def __post_init__(self) -> None:
        for name in ("max_num_seqs", "max_num_batched_tokens", "max_model_len"):
            if getattr(self, name) < 1:
                raise EngineConfigError(f"{name} = {getattr(self, name)}: at least 1 is needed")
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise EngineConfigError(
                f"max_num_batched_tokens = {self.max_num_batched_tokens} is less than max_num_seqs "
                f"= {self.max_num_seqs}: a decode step of all sequences would not fit; raise the "
                "first or lower the second"
            )
        if not self.chunked_prefill and self.max_num_batched_tokens < self.max_model_len:
            raise EngineConfigError(
                f"without chunked prefill a whole prompt must fit into one step: "
                f"max_num_batched_tokens = {self.max_num_batched_tokens} is less than "
                f"max_model_len = {self.max_model_len}"
            )
        if self.policy not in POLICIES:
            raise EngineConfigError(f"policy {self.policy!r}: one of {', '.join(POLICIES)}")
        if self.batching not in BATCHING:
            raise EngineConfigError(f"batching {self.batching!r}: one of {', '.join(BATCHING)}")
