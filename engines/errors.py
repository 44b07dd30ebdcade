"""The errors of the engine floor. Every message says what, where and what to do."""


class EngineError(RuntimeError):
    """An engine cannot be built or cannot go on; the base of this family."""


class EngineConfigError(EngineError):
    """An engine option is impossible or contradicts another."""


class ModelError(EngineError):
    """A model cannot be found, read or held: absent, broken, unsupported or too large."""


class IntegrityError(EngineError):
    """An invariant of the block pool or scheduler does not hold: a bug, never a user's fault."""


class StepOutOfMemory(EngineError):  # noqa: N818
    """A step's compute didn't fit into the device's memory; nothing of it counts."""

    def __init__(self, num_tokens: int, detail: str) -> None:
        super().__init__(
            f"out of memory in a step of {num_tokens:,} tokens ({detail.strip()}); take a smaller "
            "--max-num-batched-tokens, --max-num-seqs or KV pool"
        )
