"""Everything on the screen in 7-bit characters: the last step of drawing under `--ascii`."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_SIGNS = {
    "–": "-", "—": "-", "−": "-", "…": ".", "•": "*", "·": ".", "×": "x", "÷": "/", "√": "v",
    "✓": "+", "✗": "!", "✔": "+", "✘": "!", "▲": "^", "▼": "v", "▶": ">", "◀": "<", "►": ">",
    "◄": "<", "△": "^", "▽": "v", "●": "o", "○": "o", "◆": "#", "◇": "+", "■": "#", "□": "-",
    "→": ">", "←": "<", "↑": "^", "↓": "v", "↵": "<", "⏎": "<", "⏵": ">", "⏸": "=", "⏹": "#",
    "≤": "<", "≥": ">", "≈": "~", "±": "~", "µ": "u", "μ": "u", "°": "o", "‖": "|", "¦": "|",
    "▁": "_", "▂": "_", "▃": ".", "▄": "-", "▅": "=", "▆": "=", "▇": "#", "█": "#", "▀": "\"",
    "▌": "|", "▐": "|", "▏": "|", "▎": "|", "▍": "|", "▋": "|", "▊": "#", "▉": "#", "▕": "|",
    "▔": "-", "░": ".", "▒": ":", "▓": "#", "▖": ".", "▗": ".", "▘": "'", "▝": "'", "▙": "#",
    "▛": "#", "▜": "#", "▟": "#", "▚": "%", "▞": "%", "‘": "'", "’": "'", "“": "\"", "”": "\"",
}  # fmt: skip


class AsciiFilter(LineFilter):
    """Replaces each character by one of 7 bits that is as wide."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """See `LineFilter`."""
        return [
            segment if segment.text.isascii() else segment._replace(text=as_ascii(segment.text))
            for segment in segments
        ]


@lru_cache(8192)
def as_ascii(text: str) -> str:
    """`text` in 7-bit characters, as wide as it was."""
    return "".join(_letter(letter) for letter in text)


def _letter(letter: str) -> str:
    if letter.isascii():
        return letter
    if letter in _SIGNS:
        return _SIGNS[letter]
    code = ord(letter)
    if 0x2500 <= code <= 0x257F:
        return _box(letter)
    if 0x2800 <= code <= 0x28FF:
        return " " if code == 0x2800 else ":"
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    width = cell_len(letter)
    return (plain or "?" * width)[:width].ljust(width)


def _box(letter: str) -> str:
    name = unicodedata.name(letter)
    if "HORIZONTAL" in name and "VERTICAL" not in name and not _turns(name):
        return "=" if "HEAVY" in name or "DOUBLE HORIZONTAL" in name else "-"
    if "VERTICAL" in name and "HORIZONTAL" not in name and not _turns(name):
        return "|"
    if "DIAGONAL" in name:
        return "/" if "UPPER RIGHT" in name else "\\"
    return "+"


def _turns(name: str) -> bool:
    return any(word in name.split() for word in ("AND", "UP", "DOWN", "LEFT", "RIGHT"))
