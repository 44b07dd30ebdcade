"""How long torch's CPU threads spin for work before they sleep.

OpenMP's default is milliseconds. With a thread a core, whatever else wants a core (the watcher, the
telemetry, another program) then waits for a thread that does nothing: on two cores beside one busy
process, decode fell from 29 to 13 tokens/s at batch 1 and from 75 to 21 at batch 4. Spinning
1,000 times keeps 29 and 56, and costs nothing on a quiet machine (docs/measurements.md).
"""

from __future__ import annotations

from collections.abc import MutableMapping

SPIN_VARIABLE = "GOMP_SPINCOUNT"
SPIN_COUNT = "1000"


def spin_briefly(environ: MutableMapping[str, str]) -> None:
    """Sets libgomp's spin count in `environ`, before torch is loaded from it.

    Left alone where the user has chosen: by `GOMP_SPINCOUNT` or by `OMP_WAIT_POLICY`.
    """
    if SPIN_VARIABLE not in environ and "OMP_WAIT_POLICY" not in environ:
        environ[SPIN_VARIABLE] = SPIN_COUNT
