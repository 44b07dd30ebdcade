"""Text that has to end early ends between two words."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

_MARK = "…"
_LEAST_SHARE = 0.5


def clipped(text: str, width: int) -> str:
    """`text` in at most `width` cells; what is cut off is a "…", after a whole word if one ends in
    the second half of the room."""
    if cell_len(text) <= width:
        return text
    if width < 1:
        return ""
    room = set_cell_size(text, width - len(_MARK))
    words = room if text[len(room) : len(room) + 1] == " " else room.rpartition(" ")[0]
    kept = words if cell_len(words) >= _LEAST_SHARE * cell_len(room) else room
    return f"{kept.rstrip(' ,;:')}{_MARK}"
