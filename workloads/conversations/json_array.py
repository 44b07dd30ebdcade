"""A JSON array of any size, one element at a time."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from workloads.errors import WorkloadError
from workloads.traces.stream import Read
from workloads.traces.stream import opened as opened

CHUNK_BYTES: Final = 1 << 20
MAX_ELEMENT_CHARS: Final = 256 << 20

_SPACE: Final = " \t\r\n"
_NEAR_END: Final = 16  # longer than any literal, number sign or \u escape that may be cut in two


@dataclass(frozen=True, slots=True)
class Element:
    """An element of the array: its number from 1, the character of the file at which it begins
    (from 0), and what it is."""

    number: int
    at: int
    value: object


def read_array(path: str, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Element]:
    """The elements of the file's one JSON array, each an object or array itself.

    Holds one element and a chunk at a time. Plain, gzip or zstd. Raises `WorkloadError` with
    element and character for what is no JSON, is no object or array, or is cut off.
    """
    with opened(path) as read:
        text = _Text(path, read, chunk_bytes)
        if text.skip_space() != "[":
            raise text.broken(0, "an array, beginning with [", text.char())
        text.advance(1)
        number = 1
        if text.skip_space() != "]":
            while True:
                at = text.at
                yield Element(number, at, text.element(number))
                separator = text.skip_space()
                if separator == "]":
                    break
                if separator != ",":
                    raise text.broken(number, ", or ] after the element", separator)
                text.advance(1)
                text.skip_space()
                number += 1
        text.advance(1)
        if text.skip_space():
            raise text.broken(number, "nothing after the array", text.char())


class _Text:
    """The file's characters from `at` on, as far as they were needed."""

    def __init__(self, path: str, read: Read, chunk_bytes: int) -> None:
        self._path = path
        self._read = read
        self._chunk_bytes = chunk_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._json = json.JSONDecoder()
        self._held = ""
        self._next = 0
        self._dropped = 0
        self._ended = False

    @property
    def at(self) -> int:
        return self._dropped + self._next

    def char(self) -> str:
        """The character at hand; empty at the end of the file."""
        while self._next >= len(self._held) and not self._ended:
            self._fill(self._chunk_bytes)
        return self._held[self._next : self._next + 1]

    def advance(self, characters: int) -> None:
        self._next += characters

    def skip_space(self) -> str:
        """Moves to the next character that is no white space, and returns it."""
        while (char := self.char()) and char in _SPACE:
            self._next += 1
        return char

    def element(self, number: int) -> object:
        if self.char() not in ("{", "["):
            raise self.broken(number, "an object", self.char())
        while True:
            try:
                value: object
                value, self._next = self._json.raw_decode(self._held, self._next)
                return value
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or (
                    error.pos >= len(self._held) - _NEAR_END
                )
                if self._ended or not cut:
                    self._next = error.pos
                    raise self.broken(number, f"JSON ({error.msg})", self.char()) from error
            except RecursionError as error:
                raise self.broken(number, "JSON of reasonable depth", self.char()) from error
            if len(self._held) - self._next > MAX_ELEMENT_CHARS:
                raise self.broken(number, f"an element of {MAX_ELEMENT_CHARS:,} characters", "more")
            # As much again as is there: an element of many chunks is parsed a few times only.
            self._fill(max(self._chunk_bytes, len(self._held) - self._next))

    def broken(self, number: int, expected: str, found: str) -> WorkloadError:
        where = f"element {number}, " if number else ""
        shown = repr(found) if found else "the end of the file"
        return WorkloadError(
            f"{self._path}: {where}character {self.at}: expected {expected}, found {shown}"
        )

    def _fill(self, size: int) -> None:
        block = self._read(size)
        self._ended = not block
        try:
            text = self._decoder.decode(block, final=self._ended)
        except UnicodeDecodeError as error:
            raise WorkloadError(
                f"{self._path}: about character {self._dropped + len(self._held)}: "
                f"expected UTF-8 text ({error.reason})"
            ) from error
        self._held = self._held[self._next :] + text
        self._dropped += self._next
        self._next = 0
