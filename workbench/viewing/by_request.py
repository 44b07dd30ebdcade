"""What emissions tell of each request: its first and last token, how many, its longest gap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workbench.analysis.buffers import ById
from workbench.viewing.growing import Ints, Stamped

BIN_NS = 50_000_000
_UNKNOWN = -1
_RADIX_SPAN = 1 << 16


@dataclass(frozen=True, slots=True)
class Fed:
    """What a batch of emissions brought: requests with their first token; gaps by their end."""

    fresh_ids: Ints
    gap_ends_ns: Ints
    gaps_ns: Ints


class ByRequest:
    """Fed with emissions in the order of time; -1 where nothing is known of a request.

    A gap is that of `analysis.metrics.emission_gaps`; tokens that were told late, with a stamp
    that has been passed, make none.
    """

    def __init__(self) -> None:
        self._first_ns = ById(_UNKNOWN)
        self._last_ns = ById(_UNKNOWN)
        self._longest_ns = ById(_UNKNOWN)
        self._tokens = ById(0)
        self._first_tokens = ById(0)

    def feed(self, ids: Ints, times_ns: Ints, tokens: Ints) -> Fed:
        if not ids.size:
            return Fed(ids, times_ns, times_ns)
        order = _by_id(ids)
        ids, times_ns, tokens = ids[order], times_ns[order], tokens[order]
        opens = np.append(True, ids[1:] != ids[:-1])
        starts = np.flatnonzero(opens)
        who = ids[starts]
        first_ns, last_ns = self._first_ns.reach(who), self._last_ns.reach(who)
        longest_ns, counts = self._longest_ns.reach(who), self._tokens.reach(who)

        before_ns = np.append(_UNKNOWN, times_ns[:-1])
        before_ns[starts] = last_ns[who]
        gaps_ns = times_ns - before_ns
        is_gap = (before_ns >= 0) & (gaps_ns > 0)
        longest = np.maximum.reduceat(np.where(is_gap, gaps_ns, _UNKNOWN), starts)
        longest_ns[who] = np.maximum(longest_ns[who], longest)
        counts[who] += np.add.reduceat(tokens, starts)

        fresh = last_ns[who] < 0
        fresh_ids = who[fresh]
        first_ns[fresh_ids] = times_ns[starts[fresh]]
        self._first_tokens.reach(who)[fresh_ids] = tokens[starts[fresh]]
        ends = np.append(starts[1:], ids.size) - 1
        last_ns[who] = np.maximum(last_ns[who], times_ns[ends])
        return Fed(fresh_ids, times_ns[is_gap], gaps_ns[is_gap])

    def set_last(self, ids: Ints, times_ns: Ints) -> None:
        """Notes emissions that are not fed themselves."""
        self._last_ns.reach(ids)[ids] = times_ns

    def first_ns(self, ids: Ints) -> Ints:
        return self._first_ns.reach(ids)[ids]

    def last_ns(self, ids: Ints) -> Ints:
        return self._last_ns.reach(ids)[ids]

    def longest_gap_ns(self, ids: Ints) -> Ints:
        return self._longest_ns.reach(ids)[ids]

    def tokens(self, ids: Ints) -> Ints:
        return self._tokens.reach(ids)[ids]

    def first_tokens(self, ids: Ints) -> Ints:
        return self._first_tokens.reach(ids)[ids]


def _by_id(ids: Ints) -> Ints:
    """A stable order by id; numpy sorts 16-bit numbers by radix, ten times as fast."""
    low = ids.min()
    if ids.max() - low < _RADIX_SPAN:
        return np.argsort((ids - low).astype(np.uint16), kind="stable")
    return np.argsort(ids, kind="stable")


class TokenCounts:
    """Output tokens over the whole run, in intervals of 50 ms; idle ones take no memory."""

    def __init__(self) -> None:
        self._bins = Stamped(tokens=np.int64)
        self._sums: Ints = np.zeros(1, np.int64)

    def feed(self, times_ns: Ints, tokens: Ints) -> None:
        """Takes in emissions, in the order of time."""
        if not times_ns.size:
            return
        begins_ns = times_ns // BIN_NS * BIN_NS
        starts = np.flatnonzero(np.append(True, begins_ns[1:] != begins_ns[:-1]))
        self._bins.add(begins_ns[starts], tokens=np.add.reduceat(tokens, starts))
        self._sums = np.append(0, np.cumsum(self._bins.column("tokens")))

    def before(self, times_ns: Ints) -> Ints:
        """Tokens emitted before each of `times_ns`, which are multiples of 50 ms."""
        return self._sums[np.searchsorted(self._bins.times_ns, times_ns, side="left")]
