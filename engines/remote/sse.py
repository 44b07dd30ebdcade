"""Server-sent events out of bytes, however they are cut (the WHATWG's HTML standard, 9.2.6)."""

from __future__ import annotations

_BOM = b"\xef\xbb\xbf"
_LONGEST_LINE = 16 << 20


class SseError(ValueError):
    """What came is no event stream that could be read on."""


class SseParser:
    """Turns the bytes of one stream into its events' data.

    Lines end in LF, CR or CRLF; comments (`: keep-alive`) are skipped, and so are the names, ids
    and retry times of events, which OpenAI's protocol has no use for. An event with several
    `data` lines yields them joined by LF.
    """

    __slots__ = ("_after_cr", "_begun", "_data", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._after_cr = False
        self._begun = False
        self._data: list[bytes] | None = None

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of every event that is whole now, in order.

        Raises:
            SseError: a line is longer than 16 MiB.
        """
        if self._after_cr:
            self._after_cr = False
            if chunk[:1] == b"\n":
                chunk = chunk[1:]
            elif not chunk:
                self._after_cr = True
        data = self._rest + chunk if self._rest else chunk
        if not self._begun:
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._rest = data
                return []
            self._begun = True
            data = data.removeprefix(_BOM)
        lines = data.splitlines(keepends=True)
        self._rest = b""
        if lines:
            end = lines[-1][-1:]
            if end == b"\r":
                self._after_cr = True
            elif end != b"\n":
                self._rest = lines.pop()
                if len(self._rest) > _LONGEST_LINE:
                    raise SseError("a line of the event stream is longer than 16 MiB")
        return self._events(lines)

    def close(self) -> list[bytes]:
        """What the stream ended in the middle of. The standard drops it, yet servers are seen to
        end with `data: [DONE]` and no blank line."""
        lines = [self._rest, b"\n"] if self._rest else [b"\n"]
        self._rest = b""
        return self._events(lines)

    def _events(self, lines: list[bytes]) -> list[bytes]:
        events = []
        for line in lines:
            if line[:5] == b"data:":
                value = line[6:] if line[5:6] == b" " else line[5:]
                value = value.rstrip(b"\r\n")
                if self._data is None:
                    self._data = [value]
                else:
                    self._data.append(value)
            elif line in (b"\n", b"\r\n", b"\r"):
                if self._data is not None:
                    events.append(b"\n".join(self._data))
                    self._data = None
            elif line.rstrip(b"\r\n") == b"data":
                self._data = [*(self._data or []), b""]
        return events
