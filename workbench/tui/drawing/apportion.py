"""Sharing cells among classes in proportion to their counts."""

from __future__ import annotations

from collections.abc import Sequence


def apportion(counts: Sequence[int], cells: int) -> list[int]:
    """Cells per class, by largest remainder; a class with a count has at least one cell.

    They sum to `cells`. Where there are fewer cells than classes, the smallest classes go without.
    All are 0 where every count is.
    """
    total = sum(counts)
    if total <= 0 or cells <= 0:
        return [0] * len(counts)
    quotas = [count * cells / total for count in counts]
    shares = [max(int(quota), 1) if quota > 0 else 0 for quota in quotas]
    places = range(len(counts))
    while sum(shares) < cells:
        shares[max(places, key=lambda place: quotas[place] - shares[place])] += 1
    while sum(shares) > cells:
        reducible = [place for place in places if shares[place] > 1]
        if not reducible:
            reducible = [place for place in places if shares[place] > 0]
            shares[min(reducible, key=lambda place: quotas[place])] -= 1
            continue
        shares[min(reducible, key=lambda place: quotas[place] - shares[place])] -= 1
    return shares
