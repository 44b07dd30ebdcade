"""The compare screen's page of reasons: why TTFT and TPOT differ, and all notes and settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from workbench.tui.compare_head import settings_text
from workbench.tui.drawing.clip import clipped

if TYPE_CHECKING:
    from workbench.comparison.comparison import Comparison, Explanation, Part

_NAME_WIDTH = 34
_BESIDE_BAR = 23
_WIDEST_BAR = 48
_NOT_EXPLAINED = (
    "Why TTFT and TPOT differ can't be told: it takes requests that got their tokens on both sides."
)


def why_text(comparison: Comparison, width: int, variables: Mapping[str, str]) -> Text:
    """How many metrics got which verdict, the explanations with their parts as bars, then every
    note and every setting."""
    from workbench.comparison.wording import tallies

    text = Text("\n".join((*tallies(comparison), "", "")))
    for explanation in comparison.explanations:
        text.append(f"{explanation.sentence}\n", "bold")
        unit = explanation.unit
        _put_parts(text, explanation, unit, width, variables)
        text.append("\n")
    if not comparison.explanations:
        text.append(f"{_NOT_EXPLAINED}\n\n", variables["muted"])
    text.append("Notes\n", variables["accent"])
    for note in comparison.notes:
        text.append(f"{note.text}\n", variables["warn"] if note.loud else "")
    text.append("\nSet up differently\n", variables["accent"])
    text.append(settings_text(comparison, len(comparison.settings), width))
    return text


def _put_parts(
    text: Text, explanation: Explanation, unit: str, width: int, variables: Mapping[str, str]
) -> None:
    """A line for each part: what it is, what it adds or takes away, its share, and a bar as long
    as it is large beside the others."""
    largest = max((abs(part.difference) for part in explanation.parts), default=0.0)
    longest = max((cell_len(part.name) for part in explanation.parts), default=0)
    names = min(longest, _NAME_WIDTH)
    room = min(_WIDEST_BAR, width - names - len(unit) - _BESIDE_BAR)
    for part in explanation.parts:
        name = clipped(part.name, names)
        text.append(f"  {name}{' ' * (names - cell_len(name))}  {_figures(part, unit)}")
        if room > 0 and largest:
            cells = max(1, round(room * abs(part.difference) / largest))
            text.append("█" * cells, variables["good" if part.difference < 0 else "bad"])
        text.append("\n")


def _figures(part: Part, unit: str) -> str:
    """The arrow, the difference in its unit, and the share: "▼ -180 ms    93 %  "."""
    from workbench.comparison.wording import DOWN, SAME, UP, signed

    arrow = SAME if not part.difference else UP if part.difference > 0 else DOWN
    share = "" if part.share is None else f"{round(100 * part.share)} %"
    return f"{arrow}{signed(part.difference):>8} {unit}{share:>7}  "
