"""A moment in a run's emissions that moves along with a replay: what is in reach is not read
again."""

from __future__ import annotations

import numpy as np
import polars as pl

from workbench.viewing.by_request import ByRequest
from workbench.viewing.emissions import Emissions
from workbench.viewing.growing import Floats, Ints, Stamped
from workbench.viewing.intervals import percentiles_by_interval

TREND_INTERVALS = 40
TREND_WIDTH_NS = 1_500_000_000
TREND_NS = TREND_INTERVALS * TREND_WIDTH_NS + 5_000_000_000
"""How far back a cursor must read that tells the trend of gaps."""

_GAP_NS = 10_000_000_000
_KEEP_NS = 13_000_000_000


class EmissionCursor:
    """Requests, tokens and gaps as of one moment, from the emissions since an earlier one.

    Attributes:
        by_request: what the emissions from `since_ns` to `at_ns` tell of requests.
        tokens, gaps: of a `recent` cursor, the emissions of the last seconds, and the gaps that
            ended in them, ms.
    """

    def __init__(self, recent: bool = False) -> None:
        self._recent = recent
        self._start()

    def _start(self) -> None:
        self.since_ns = self.at_ns = -1
        self.by_request = ByRequest()
        self.tokens = Stamped(tokens=np.int32)
        self.gaps = Stamped(gap_ms=np.float64)
        self._medians_ms: dict[int, float] = {}
        self._summed_up_to = 0

    def late(self, first_ns: int) -> None:
        """Emissions from `first_ns` on have come to be known: some may be before `at_ns`."""
        if first_ns <= self.at_ns:
            self.since_ns = self.at_ns = -1

    def move(self, emissions: Emissions, since_ns: int, at_ns: int, all_time: ByRequest) -> None:
        """Goes to `at_ns`, knowing all from `since_ns` on; `all_time` is told of the whole run."""
        since_ns = max(0, since_ns)
        onward = 0 <= self.since_ns <= since_ns and self.at_ns <= at_ns
        if onward and at_ns - self.at_ns <= at_ns - since_ns:
            if at_ns > self.at_ns:
                self._feed(emissions.between(self.at_ns + 1, at_ns))
        else:
            self._start()
            found = emissions.between(since_ns, at_ns)
            if self._recent:
                self._look_back(emissions, found, since_ns, at_ns, all_time)
            self._feed(found)
            self.since_ns = since_ns
        self.at_ns = at_ns
        if self._recent:
            self._sum_up(at_ns)
            self.tokens.forget_before(at_ns - _KEEP_NS)
            self.gaps.forget_before(at_ns - _KEEP_NS)

    def trend_ms(self, as_of_ns: int) -> Floats:
        """p50 of the gaps in each of the last intervals, ms; NaN where there was none."""
        last = as_of_ns // TREND_WIDTH_NS
        known = self._medians_ms | self._medians_of(self._summed_up_to, as_of_ns)
        wanted = range(last - TREND_INTERVALS + 1, last + 1)
        return np.array([known.get(interval, np.nan) for interval in wanted])

    def _sum_up(self, at_ns: int) -> None:
        """An interval that is over keeps its median; its gaps need not be kept for that."""
        whole = (at_ns + 1) // TREND_WIDTH_NS
        if whole > self._summed_up_to:
            self._medians_ms |= self._medians_of(self._summed_up_to, whole * TREND_WIDTH_NS - 1)
            self._summed_up_to = whole
            for interval in [i for i in self._medians_ms if i < whole - TREND_INTERVALS]:
                del self._medians_ms[interval]

    def _medians_of(self, first: int, until_ns: int) -> dict[int, float]:
        start, end = self.gaps.upto(first * TREND_WIDTH_NS - 1), self.gaps.upto(until_ns)
        found, (p50,) = percentiles_by_interval(
            self.gaps.times_ns[start:end] // TREND_WIDTH_NS,
            self.gaps.column("gap_ms")[start:end],
            (50.0,),
        )
        return dict(zip(found.tolist(), p50.tolist(), strict=True))

    def _feed(self, found: pl.DataFrame) -> None:
        times_ns, tokens = found["time_ns"].to_numpy(), found["tokens"].to_numpy()
        fed = self.by_request.feed(found["request_id"].to_numpy(), times_ns, tokens)
        if self._recent:
            self.tokens.add(times_ns, tokens=tokens)
            self.gaps.add(fed.gap_ends_ns, gap_ms=fed.gaps_ns / 1e6)

    def _look_back(
        self,
        emissions: Emissions,
        found: pl.DataFrame,
        since_ns: int,
        at_ns: int,
        all_time: ByRequest,
    ) -> None:
        """A stall that began before `since_ns` and ended just now counts among the gaps, too."""
        opening = found.group_by("request_id").agg(pl.col("time_ns").min())
        late = opening.filter(pl.col("time_ns") > at_ns - _GAP_NS)
        ids: Ints = late["request_id"].to_numpy()
        first_ns = all_time.first_ns(ids)
        stalled = (first_ns >= 0) & (first_ns < since_ns)
        if stalled.any():
            ids, from_ns = ids[stalled], int(first_ns[stalled].min())
            earlier = emissions.between(from_ns, since_ns - 1, ids.tolist())
            last = earlier.group_by("request_id").agg(pl.col("time_ns").max())
            self.by_request.set_last(last["request_id"].to_numpy(), last["time_ns"].to_numpy())
