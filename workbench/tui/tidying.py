"""Garbage is collected when nobody waits for it, not in the middle of a key's effect.

Python collects its oldest objects whenever enough new ones have come: 50 to 160 ms each time with
the objects of this app, at every few changes of the screen. Here what was imported is left out of
every later collection (`gc.freeze`), and the oldest are collected by a timer.
"""

from __future__ import annotations

import gc

LOOK_EVERY_S = 5.0
IDLE_S = 1.0
AT_LATEST_S = 30.0
_NEVER = 1_000_000


def leave_out_what_is_there() -> None:
    """From now on collections pass over what there is, and the oldest wait for `collect`.

    Whoever opens the app has switched collections off for its start; they are on from here.
    """
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _NEVER)
    gc.enable()


class Tidying:
    """Collects what came since, when no key was pressed for a while, and at the latest after so
    many seconds."""

    def __init__(self) -> None:
        self._waited_s = 0.0

    def look(self, since_key_s: float) -> None:
        """Called every `LOOK_EVERY_S`, with how long ago the last key was."""
        self._waited_s += LOOK_EVERY_S
        if since_key_s >= IDLE_S or self._waited_s >= AT_LATEST_S:
            self._waited_s = 0.0
            gc.collect()
