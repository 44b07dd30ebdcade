"""Real `workbench` processes, and waiting for what they do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

TINY = ["--model", "random:tiny", "--device", "cpu", "--threads", "1", "--max-model-len", "512"]


def start(*words: str, **environ: str) -> subprocess.Popen[str]:
    """`workbench` with `words`; what it says is piped."""
    return subprocess.Popen(
        [sys.executable, "-m", "workbench", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environ,
    )


def wait_for(
    condition: Callable[[], object],
    message: Callable[[], str] = lambda: "waited in vain",
    seconds: float = 60,
) -> None:
    """Returns once `condition` holds.

    Raises:
        AssertionError: it didn't in so many seconds; with what `message` says then.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, message()
        time.sleep(0.02)
