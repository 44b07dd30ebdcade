"""What stands above the compare screen's pages: the sides, what a reader must know, and what was
set up differently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from workbench.tui.compare_data import side_color
from workbench.tui.drawing.clip import clipped

if TYPE_CHECKING:
    from workbench.comparison.comparison import Comparison, Note, Side

_LOST_BY_WRAPPING = 12
_MORE = "v shows them all"

Variables = Mapping[str, str]


def sides_line(title: str, sides: Sequence[Side], variables: Variables) -> Text:
    """The page's title, and each side with its colour, its runs and its requests."""
    line = Text(f"{title}  ", variables["muted"])
    for place, side in enumerate(sides):
        line.append("■\N{NO-BREAK SPACE}", variables.get(side_color(place).removeprefix("$"), ""))
        line.append(side.label, "bold" if place == 0 else "")
        line.append(f" {', '.join(_facts(side, place))}   ", variables["muted"])
    return line


def notes_text(
    notes: Sequence[Note], variables: Variables, width: int, lines: int, short: bool
) -> Text:
    """The notes that there is room for, in their order, the first in two lines at most; those that
    are left are counted."""
    text = Text()
    height = 0
    for place, note in enumerate(notes):
        style = f"bold {variables['warn']}" if note.loud else variables["muted"]
        room = width if short and place else 2 * width - _LOST_BY_WRAPPING
        line = clipped(" ".join(note.text[: 3 * width].split()), room)
        height += -(-cell_len(line) // width)
        left = len(notes) - place
        if place and height > lines - (left > 1):
            text.append(f"and {left} more; {_MORE}", style)
            break
        text.append(f"{line}\n", style)
    text.rstrip()
    return text


def settings_text(comparison: Comparison, most: int, width: int) -> str:
    """What was set up differently, one key a line."""
    if not comparison.settings:
        return "Set up alike: the same spec, engine and environment."
    shown = comparison.settings[:most]
    widest = max(len(setting.key) for setting in shown)
    room = max(1, width - widest - 2)
    lines = [f"{setting.key.ljust(widest)}  {_row(setting.shown, room)}" for setting in shown]
    more = len(comparison.settings) - len(shown)
    if more:
        lines.append(f"and {more} more; {_MORE}")
    return "\n".join(lines)


def _facts(side: Side, place: int) -> list[str]:
    from workbench.analysis.quantities import counted

    facts = ["baseline"] if place == 0 else []
    if len(side.runs) > 1:
        facts.append(counted(len(side.runs), "run"))
    facts.append("no figures" if side.requests is None else counted(side.requests, "request"))
    return facts


def _row(values: tuple[str, ...], room: int) -> str:
    """The values side by side; the long ones are cut where there is no room for all."""
    row = " │ ".join(values)
    if len(row) <= room:
        return row
    each = max(4, (room + 3) // len(values) - 3)
    return " │ ".join(clipped(value, each) for value in values)
