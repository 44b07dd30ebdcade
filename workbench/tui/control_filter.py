"""The last step of drawing: no text of a run can steer the terminal."""

from __future__ import annotations

import re

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_STEERS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters of 7 and of 8 bits, line ends, what turns the direction of writing, and halves
of a character, which no terminal can be sent."""


class ControlFilter(LineFilter):
    """Leaves out what has no place on a screen; it is no cell wide."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """See `LineFilter`."""
        return [
            segment._replace(text=_STEERS.sub("", segment.text))
            if not segment.control and _STEERS.search(segment.text)
            else segment
            for segment in segments
        ]
