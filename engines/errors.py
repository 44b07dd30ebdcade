"""The errors of the engine floor. Every message says what, where and what to do."""


class EngineError(RuntimeError):
    """An engine cannot be built or cannot go on; the base of this family."""


class EngineConfigError(EngineError):
    """An engine option is impossible or contradicts another."""


class ModelError(EngineError):
    """A model cannot be found, read or held: absent, broken, unsupported or too large."""


class IntegrityError(EngineError):
    """An invariant of the block pool or scheduler does not hold: a bug, never a user's fault."""
