"""How many requests are in flight over time, and how many there would be at another speed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl


@dataclass(frozen=True, slots=True)
class InFlight:
    """Requests that are scheduled and not ended, as a function of time.

    Attributes:
        scheduled_ns, ended_ns: int64 or float64 `[requests]`, each in order of its own; requests
            that never ended are not among `ended_ns`.
    """

    scheduled_ns: npt.NDArray[Any]
    ended_ns: npt.NDArray[Any]

    @classmethod
    def of(cls, requests: pl.DataFrame) -> Self:
        """As the record of `requests` has it."""
        return cls(*(_in_order(requests[name]) for name in ("scheduled_ns", "finished_ns")))

    @classmethod
    def at_first_speed(cls, requests: pl.DataFrame, until_ns: int) -> Self | None:
        """As it would be, up to `until_ns`, had all gone as fast as the first quarter of those
        scheduled by then did; None if these tell no speed.

        The speed is the mean time to first token and the mean TPOT. Requests that the run's end
        cut short count with all tokens that they asked for; those that failed, with what they took;
        those that are still on their way, not at all.
        """
        scheduled = requests.filter(pl.col("scheduled_ns") <= until_ns).sort("scheduled_ns")
        ttft_ns = pl.col("first_token_ns") - pl.col("scheduled_ns")
        later = pl.col("output_tokens") - pl.col("first_tokens")
        tpot_ns = (pl.col("last_token_ns") - pl.col("first_token_ns")) / later
        first = scheduled.head(-(-scheduled.height // 4)).filter(
            (pl.col("status") == "ok") & pl.col("first_token_ns").is_not_null()
        )
        if first.height < 2:
            return None
        ttft, tpot = first.select(ttft_ns.mean(), pl.when(later > 0).then(tpot_ns).mean()).row(0)
        unfinished = pl.col("status") == "unfinished"
        tokens = pl.when(unfinished).then("max_tokens").otherwise("output_tokens")
        ends_ns = (
            pl.when(unfinished | (pl.col("status") == "ok"))
            .then(pl.col("scheduled_ns") + ttft + (tpot or 0.0) * (tokens - 1))
            .otherwise("finished_ns")
        )
        known = scheduled.select("scheduled_ns", ends_ns=ends_ns).drop_nulls()
        return cls(_in_order(known["scheduled_ns"]), _in_order(known["ends_ns"]))

    def at(self, times_ns: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """How many are in flight at each of `times_ns`; one that ends then is not."""
        begun = np.searchsorted(self.scheduled_ns, times_ns, side="right")
        ended = np.searchsorted(self.ended_ns, times_ns, side="right")
        return np.asarray(begun - ended, dtype=np.int64)


def _in_order(stamps: pl.Series) -> npt.NDArray[Any]:
    return np.sort(stamps.drop_nulls().to_numpy())
