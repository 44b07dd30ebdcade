"""Which columns of a table fit into a terminal, and how wide each is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_GAPS = (2, 1)


@dataclass(frozen=True, slots=True)
class Fit:
    """The width of each column that is kept, in order, and the blanks between two of them."""

    widths: dict[str, int]
    gap: int


def fit(
    wanted: Mapping[str, int], least: Mapping[str, int], weight: Sequence[str], width: int
) -> Fit:
    """The columns of `wanted`, of which the lightest are dropped until the rest fits into `width`.

    Args:
        wanted: the width that each would take, in the order of the table.
        least: the width down to which some may wrap; the others are never narrowed.
        weight: columns from the weightiest; the first is always kept.
    """
    narrow = {name: min(size, least.get(name, size)) for name, size in wanted.items()}
    gap = next((gap for gap in _GAPS if _total(narrow, gap) <= width), _GAPS[-1])
    for name in [name for name in reversed(weight) if name in narrow][:-1]:
        if _total(narrow, gap) <= width:
            break
        del narrow[name]
    spare = width - _total(narrow, gap)
    for name, size in narrow.items():
        more = max(0, min(spare, wanted[name] - size))
        narrow[name] += more
        spare -= more
    return Fit(narrow, gap)


def _total(widths: Mapping[str, int], gap: int) -> int:
    return sum(widths.values()) + gap * (len(widths) - 1)
