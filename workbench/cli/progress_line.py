"""How far a command is: a line on stderr that each next one replaces, for a terminal alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_CLEARED = "\r\x1b[K"


@contextmanager
def progress_line() -> Iterator[Callable[[str], None]]:
    """What shows a text on the line; the line is gone afterwards, whatever was raised."""
    is_terminal = sys.stderr.isatty()

    def show(text: str) -> None:
        if is_terminal:
            print(f"{_CLEARED}{text}", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        show("")
