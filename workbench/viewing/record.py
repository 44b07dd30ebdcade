"""A run's tables in memory as they grow, and what is counted once as they come in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.analysis.buffers import ById
from workbench.analysis.metrics import request_metrics
from workbench.analysis.objectives import meets_every
from workbench.runs.schema import ARRIVALS, DEVICES, EVENTS, POOLS, REQUESTS, SERVER, STEPS, Table
from workbench.runs.tables import polars_schema
from workbench.viewing.by_request import ByRequest, TokenCounts
from workbench.viewing.growing import GrowingFrame, Stamped

STATUSES = ("ok", "failed", "cancelled", "rejected", "unfinished")
_ORDER = {
    ARRIVALS: "submitted_ns",
    REQUESTS: "finished_ns",
    STEPS: "end_ns",
    EVENTS: "time_ns",
    DEVICES: "time_ns",
    SERVER: "time_ns",
    POOLS: "time_ns",
}

_JUDGED = [name for name in REQUESTS.names if name.endswith(("_ns", "status", "_tokens"))]


@dataclass(frozen=True, slots=True)
class Frames:
    """A run's tables as of the last refresh, with the columns of `runs.schema`.

    Each is in the order of its stamps: `requests` of `finished_ns`, which only those that ended
    are in, `arrivals` of `submitted_ns`, `steps` of `end_ns`.
    """

    arrivals: pl.DataFrame
    requests: pl.DataFrame
    steps: pl.DataFrame
    events: pl.DataFrame
    devices: pl.DataFrame
    server: pl.DataFrame
    pools: pl.DataFrame


class RunRecord:
    """Everything that is known of a run but its emissions, of which it keeps counts.

    Args:
        window_start_ns: the end of warm-up; limits_ms: the SLO's.

    Attributes:
        arrivals: by the moment of submission: `request_id`, `scheduled_ns`.
        firsts: by the first token: `ttft_ms`.
        ends: by the end: `status` (its place in `STATUSES`), `tpot_ms` (NaN where undefined),
            `measured` (it belongs to the window), `met` (it meets every limit).
        preemptions: by when they happened: `request_id`.
        by_request, token_counts: of all emissions so far.
        newest_ns: the newest stamp of all that came in.
    """

    def __init__(self, window_start_ns: int, limits_ms: Mapping[str, float]) -> None:
        self.window_start_ns = window_start_ns
        self.limits_ms = dict(limits_ms)
        self._growing = {
            table.name: GrowingFrame(polars_schema(table), order) for table, order in _ORDER.items()
        }
        self._columns: dict[tuple[str, str], tuple[pl.DataFrame, npt.NDArray[Any]]] = {}
        self._sums: dict[tuple[str, str], tuple[npt.NDArray[Any], npt.NDArray[Any]]] = {}
        self._by_device: tuple[pl.DataFrame | None, dict[str, pl.DataFrame]] = (None, {})
        self._scheduled_ns = ById(-1)
        self.arrivals = Stamped(request_id=np.int64, scheduled_ns=np.int64)
        self.firsts = Stamped(ttft_ms=np.float64)
        self.ends = Stamped(status=np.int8, tpot_ms=np.float64, measured=np.bool_, met=np.bool_)
        self.preemptions = Stamped(request_id=np.int64)
        self._log = GrowingFrame(polars_schema(EVENTS), "time_ns")
        self.by_request = ByRequest()
        self.token_counts = TokenCounts()
        self.newest_ns = 0

    @property
    def frames(self) -> Frames:
        return Frames(**{name: growing.frame for name, growing in self._growing.items()})

    def frame(self, table: str) -> pl.DataFrame:
        return self._growing[table].frame

    @property
    def log(self) -> pl.DataFrame:
        """The events that a log shows: all but prefill chunks, which are too many."""
        return self._log.frame

    def column(self, table: str, name: str) -> npt.NDArray[Any]:
        """A column as numpy; null is -1 in integers, NaN in floats. Made once for each state."""
        frame = self.frame(table)
        known = self._columns.get((table, name))
        if known is None or known[0] is not frame:
            series = frame[name]
            if series.null_count():
                series = series.fill_null(-1 if series.dtype.is_integer() else np.nan)
            known = frame, series.to_numpy()
            self._columns[table, name] = known
        return known[1]

    def summed(self, table: str, name: str) -> npt.NDArray[Any]:
        """The sums of a column's first 0, 1, 2, … rows."""
        values = self.column(table, name)
        known = self._sums.get((table, name))
        if known is None or known[0] is not values:
            known = values, np.append(0, np.cumsum(values))
            self._sums[table, name] = known
        return known[1]

    @property
    def by_device(self) -> dict[str, pl.DataFrame]:
        """The telemetry's samples of each device, in the order of their names."""
        devices = self.frame(DEVICES.name)
        if self._by_device[0] is not devices:
            parts = devices.partition_by("device", as_dict=True)
            self._by_device = devices, {str(key[0]): parts[key] for key in sorted(parts)}
        return self._by_device[1]

    def rows_upto(self, table: str, time_ns: int) -> int:
        """How many rows of a table have stamps up to `time_ns`."""
        order = self._growing[table].by
        return int(np.searchsorted(self.column(table, order), time_ns, side="right"))

    def ended_ids(self, time_ns: int) -> npt.NDArray[np.int64]:
        """Requests that had ended by then, in that order."""
        ids: npt.NDArray[np.int64] = self.column("requests", "request_id")
        return ids[: self.ends.upto(time_ns)]

    def take(self, table: Table, rows: pl.DataFrame) -> None:
        """Takes in rows of another table, those of requests after the emissions that came with
        them."""
        if rows.is_empty():
            return
        self._growing[table.name].add(rows)
        if table is REQUESTS:
            self._take_unseen(rows)
            self._take_ends(rows)
        elif table is EVENTS:
            self._take_log(rows)
        if table is not EVENTS:
            self._see(rows[_ORDER[table]])

    def take_arrivals(self, arrivals: pl.DataFrame) -> None:
        """Takes in arrivals, before the emissions that came with them."""
        if arrivals.is_empty():
            return
        self._growing[ARRIVALS.name].add(arrivals)
        arrivals = arrivals.drop_nulls("scheduled_ns")  # no runner leaves it out
        ids, scheduled_ns = (arrivals[name].to_numpy() for name in ("request_id", "scheduled_ns"))
        self._scheduled_ns.reach(ids)[ids] = scheduled_ns
        self.arrivals.add(
            arrivals["submitted_ns"].to_numpy(), request_id=ids, scheduled_ns=scheduled_ns
        )
        self._see(arrivals["submitted_ns"])

    def feed_emissions(self, emissions: pl.DataFrame) -> None:
        """Counts emissions; the requests that they belong to have arrived already."""
        if emissions.is_empty():
            return
        ids, times_ns, tokens = (
            emissions[name].to_numpy() for name in ("request_id", "time_ns", "tokens")
        )
        fresh = self.by_request.feed(ids, times_ns, tokens).fresh_ids
        scheduled_ns = self._scheduled_ns.reach(fresh)[fresh]
        fresh, scheduled_ns = fresh[scheduled_ns >= 0], scheduled_ns[scheduled_ns >= 0]
        first_ns = self.by_request.first_ns(fresh)
        order = np.argsort(first_ns, kind="stable")
        ttft_ms = (first_ns - scheduled_ns) / 1e6
        self.firsts.add(first_ns[order], ttft_ms=ttft_ms[order])
        self.token_counts.feed(times_ns, tokens)
        self._see(emissions["time_ns"])

    def _take_unseen(self, requests: pl.DataFrame) -> None:
        """Requests whose arrival was in a part of the record that is lost."""
        ids = requests["request_id"].to_numpy()
        unseen = self._scheduled_ns.reach(ids)[ids] < 0
        if unseen.any():
            self.take_arrivals(arrivals_of(requests.filter(pl.Series(unseen)), remote=False))

    def _take_ends(self, requests: pl.DataFrame) -> None:
        longest_ns = self.by_request.longest_gap_ns(requests["request_id"].to_numpy())
        itl_ms = pl.Series("itl_ms", longest_ns / 1e6)
        judged = request_metrics(requests.select(_JUDGED)).with_columns(
            itl_ms.set(itl_ms < 0, None)
        )
        met = meets_every(self.limits_ms) if self.limits_ms else pl.lit(False)
        columns = judged.select(
            pl.col("finished_ns").fill_null(0),
            pl.col("status").cast(pl.Enum(STATUSES)).to_physical(),
            pl.col("tpot_ms").fill_null(np.nan),
            measured=pl.col("scheduled_ns") >= self.window_start_ns,
            met=met,
        ).sort("finished_ns", maintain_order=True)
        times_ns, status, tpot_ms, measured, meets = (column.to_numpy() for column in columns)
        self.ends.add(times_ns, status=status, tpot_ms=tpot_ms, measured=measured, met=meets)

    def _take_log(self, events: pl.DataFrame) -> None:
        self._log.add(events.filter(pl.col("kind") != "prefill"))
        preempted = events.filter(pl.col("kind") == "preempt")
        self.preemptions.add(
            preempted["time_ns"].to_numpy(),
            request_id=preempted["request_id"].fill_null(-1).to_numpy(),
        )

    def _see(self, times_ns: pl.Series) -> None:
        newest = times_ns.max()
        if isinstance(newest, int):
            self.newest_ns = max(self.newest_ns, newest)


def arrivals_of(requests: pl.DataFrame, remote: bool) -> pl.DataFrame:
    """The arrivals of an ended run, whose submissions are not saved apart.

    An engine of ours is handed a request when it admits it, or rejects it; to a remote server it
    is handed when it is due.
    """
    submitted_ns = (
        pl.col("scheduled_ns")
        if remote
        else pl.coalesce("admitted_ns", "finished_ns", "scheduled_ns")
    )
    return requests.with_columns(submitted_ns=submitted_ns).select(ARRIVALS.names)
