"""An asyncio loop whose timers are exact to some ten microseconds."""

from __future__ import annotations

import asyncio
import selectors
import sys
from select import select

_LAST_SELECTABLE_FD = 1023


def precise_loop() -> asyncio.SelectorEventLoop:
    """A new loop of the standard library; on Linux with timers finer than epoll's milliseconds.

    `epoll_wait` takes whole milliseconds and rounds up, so that every timer would be up to 1 ms
    late, and every arrival with it. An epoll descriptor can itself be waited for, and `select`
    takes microseconds.
    """
    if sys.platform != "linux":
        return asyncio.SelectorEventLoop()  # kqueue's timeouts are fine enough
    selector = _FineEpoll()
    if selector.fileno() > _LAST_SELECTABLE_FD:
        selector.close()
        return asyncio.SelectorEventLoop()
    return asyncio.SelectorEventLoop(selector)


if sys.platform == "linux":

    class _FineEpoll(selectors.EpollSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if timeout is not None and timeout > 0:
                select((self.fileno(),), (), (), timeout)
                timeout = 0
            return super().select(timeout)
