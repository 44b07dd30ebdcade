"""How hot the blocks of a pool are: live ones by their references, cached ones by their reuse.

Kept as blocks change hands, for a display: nothing decides by it. Levels double, so that a live
block costs something here only where it changes its level; live blocks that are not shared, most
of them, are those that are left when the others are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

LIVE_LEVELS = (1, 2, 4, 8, 16)
"""The fewest references of a live block on each level; the last level has no upper end."""

CACHED_LEVELS = (0, 1, 2, 4, 8)
"""The fewest times that the content of a cached block on each level was found again."""

RISES = {references: level for level, references in enumerate(LIVE_LEVELS) if level}
"""The level that a live block enters with so many references, one having come."""

FALLS = {references - 1: level for references, level in RISES.items()}
"""The level that a live block leaves with so many references, one having gone."""

_TOP = len(CACHED_LEVELS) - 1


class Hotness:
    """Counts of blocks by level.

    Attributes:
        reuses: by block, how often its content was found again since it was computed; 0 for a
            block without a name.
    """

    __slots__ = ("_cached", "_live", "reuses")

    def __init__(self, num_blocks: int) -> None:
        self.reuses = [0] * num_blocks
        self._live = [0] * len(LIVE_LEVELS)
        self._cached = [0] * len(CACHED_LEVELS)

    def rose(self, references: int) -> None:
        """A live block has come to so many references, one of `RISES`."""
        level = RISES[references]
        self._live[level] += 1
        self._live[level - 1] -= 1

    def fell(self, references: int) -> None:
        """A live block has come down to so many references, one of `FALLS`."""
        level = FALLS[references]
        self._live[level] -= 1
        self._live[level - 1] += 1

    def kept(self, block: int) -> None:
        """A block lost its last reference and keeps its content."""
        self._cached[_cached_level(self.reuses[block])] += 1

    def revived(self, block: int) -> None:
        """A cached block is live again."""
        self._cached[_cached_level(self.reuses[block])] -= 1

    def forgotten(self, block: int) -> None:
        """A cached block lost its content."""
        self._cached[_cached_level(self.reuses[block])] -= 1
        self.reuses[block] = 0

    def live_by_references(self, live: int) -> tuple[int, ...]:
        """Of `live` blocks, how many are on each of `LIVE_LEVELS`."""
        return live - sum(self._live[1:]), *self._live[1:]

    def cached_by_reuses(self) -> tuple[int, ...]:
        """How many cached blocks are on each of `CACHED_LEVELS`."""
        return tuple(self._cached)

    def counted(
        self, references: Iterable[int], cached: Iterable[int]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Both histograms again, block by block: what the others must come to."""
        live = Counter(min(count.bit_length() - 1, _TOP) for count in references)
        kept = Counter(_cached_level(self.reuses[block]) for block in cached)
        levels = range(_TOP + 1)
        return tuple(live[level] for level in levels), tuple(kept[level] for level in levels)


def _cached_level(reuses: int) -> int:
    return reuses.bit_length() if reuses < CACHED_LEVELS[-1] else _TOP
