"""The errors that a user meets, and the exit codes that they end in."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from engines.errors import EngineError
from profiles.errors import ProfileError
from workloads.errors import WorkloadError

EXIT_OK = 0
EXIT_RUN_FAILED = 1
EXIT_BAD_USE = 2
EXIT_ATTAINMENT_MISSED = 3
EXIT_GATE_FAILED = 4


class WorkbenchError(Exception):
    """The base of this family: says what, where and what to do; never shown as a traceback."""

    exit_code = EXIT_BAD_USE


class SpecError(WorkbenchError, ValueError):
    """A run was asked for that cannot be: an unknown key, an impossible value."""


class StoreError(WorkbenchError):
    """A run cannot be found, read, created or removed."""


class RunError(WorkbenchError):
    """A run that had begun could not go on; what was recorded is saved."""

    exit_code = EXIT_RUN_FAILED


USER_ERRORS = (WorkbenchError, EngineError, WorkloadError, ProfileError)
"""What a command reports as one message: every floor's family."""


def exit_code_of(error: BaseException) -> int:
    """The exit code of one of `USER_ERRORS`."""
    return error.exit_code if isinstance(error, WorkbenchError) else EXIT_BAD_USE


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """ "did you mean 'chat'? ", for the middle of a message; empty where nothing is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return f"did you mean {near[0]!r}? " if near else ""
