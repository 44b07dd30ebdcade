"""A run while it happens: fed with its segments, asked for one frozen snapshot at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.analysis.buffers import ById, Ints, Recent, Samples
from workbench.analysis.statistics import percentiles

Segment = Mapping[str, Mapping[str, npt.NDArray[Any] | Sequence[str]]]
"""Tables by name, columns by name; tables and columns may be absent. -1 is a stage not reached."""

ARRIVAL_SPAN_S = 10
TOKEN_SPAN_S = 5
GAP_SPAN_S = 10
_S = 1_000_000_000
_STALE_NS = 2 * _S
_UNKNOWN = -1
_QS = (50.0, 99.0)


@dataclass(frozen=True, slots=True)
class LiveSnapshot:
    """A run at one moment; None where nothing is known yet.

    Attributes:
        now_ns: the moment asked for; as_of_ns: the newest stamp that was fed, from which the
            recent figures count back, unless nothing came for 2 s.
        offered: requests that arrived; ended: by status; in_flight: the rest.
        running, waiting: after the last step.
        arrivals_per_s: requests scheduled in the last 10 s, req/s.
        output_tokens_per_s, prompt_tokens_per_s: tokens emitted, and prompt tokens computed, in
            the last 5 s, tok/s.
        ttft_p50_ms, ttft_p99_ms: of all first tokens so far, known before their requests end,
            from the intended arrival; ttft_n: how many.
        tpot_p50_ms, tpot_p99_ms, tpot_n: of the requests that ended.
        itl_p50_ms, itl_p99_ms, itl_n: gaps of the last 10 s.
        kv_usage_percent: blocks held by live requests ÷ all blocks after the last step;
            cached_blocks apart. A remote server's own word, where it tells.
        steps: steps so far; step_kinds: those of the last 5 s by kind.
        devices: the last sample of each device that has one, by column, NaN left out.
    """

    now_ns: int
    as_of_ns: int
    offered: int
    ended: dict[str, int]
    in_flight: int
    running: int
    waiting: int
    arrivals_per_s: float | None
    output_tokens_per_s: float | None
    prompt_tokens_per_s: float | None
    ttft_p50_ms: float | None
    ttft_p99_ms: float | None
    ttft_n: int
    tpot_p50_ms: float | None
    tpot_p99_ms: float | None
    tpot_n: int
    itl_p50_ms: float | None
    itl_p99_ms: float | None
    itl_n: int
    kv_usage_percent: float | None
    live_blocks: int | None
    cached_blocks: int | None
    steps: int
    step_kinds: dict[str, int]
    preemptions: int
    output_tokens: int
    devices: dict[str, dict[str, float]]


class LiveState:
    """What is kept of a run for a live screen.

    Memory grows by some tens of bytes per request, and is bounded for all that grows with time
    or tokens.

    Args:
        usable_blocks: KV blocks of the pool, the null block left out; None if that is not known.
    """

    def __init__(self, usable_blocks: int | None = None) -> None:
        self.usable_blocks = usable_blocks
        self._scheduled_ns = ById(_UNKNOWN)
        self._first_ns = ById(_UNKNOWN)
        self._last_emission_ns = ById(_UNKNOWN)
        self._arrived = ById(False)
        self._ttft_known = ById(False)
        self._ttft_ms, self._tpot_ms = Samples(), Samples()
        self._arrivals = Recent(ARRIVAL_SPAN_S * _S)
        self._output_tokens = Recent(TOKEN_SPAN_S * _S)
        self._prompt_tokens = Recent(TOKEN_SPAN_S * _S)
        self._step_kinds = Recent(TOKEN_SPAN_S * _S)
        self._gaps_ms = Recent(GAP_SPAN_S * _S)
        self._offered = 0
        self._ended: Counter[str] = Counter()
        self._newest_ns = 0
        self._last_step: dict[str, int] = {}
        self._steps = 0
        self._preemptions = 0
        self._output_total = 0
        self._devices: dict[str, dict[str, float]] = {}
        self._server_kv_usage: float | None = None

    def feed(self, segment: Segment) -> None:
        """Takes in one segment; segments come in the order in which they were written.

        `emissions` have `request_id` and `tokens`, in the order of the segment's steps, of which
        `steps.emitting` says how many each has and `steps.end_ns` when; or their own `time_ns`.

        Raises:
            ValueError: the steps account for another number of emissions than there are.
        """
        self._feed_arrivals(segment.get("arrivals", {}))
        self._feed_steps(segment.get("steps", {}))
        self._feed_emissions(segment.get("emissions", {}), segment.get("steps", {}))
        self._feed_requests(segment.get("requests", {}))
        kinds = segment.get("events", {}).get("kind", ())
        self._preemptions += sum(kind == "preempt" for kind in kinds)
        self._feed_devices(segment.get("devices", {}))
        self._feed_server(segment.get("server", {}))
        for recent in (
            self._arrivals,
            self._output_tokens,
            self._prompt_tokens,
            self._step_kinds,
            self._gaps_ms,
        ):
            recent.forget_before(self._newest_ns)

    def snapshot(self, now_ns: int) -> LiveSnapshot:
        """The run as of `now_ns`, nanoseconds since its start."""
        as_of_ns = self._newest_ns if 0 <= now_ns - self._newest_ns < _STALE_NS else now_ns
        ttft, tpot = self._ttft_ms.percentiles(_QS), self._tpot_ms.percentiles(_QS)
        gaps_ms = self._gaps_ms.since(as_of_ns)
        itl = percentiles(gaps_ms, _QS)
        in_flight = self._offered - self._ended.total()
        live = self._last_step.get("live_blocks")
        usage = 100 * live / self.usable_blocks if live is not None and self.usable_blocks else None
        if usage is None and self._server_kv_usage is not None:
            usage = 100 * self._server_kv_usage
        return LiveSnapshot(
            now_ns=now_ns,
            as_of_ns=as_of_ns,
            offered=self._offered,
            ended=dict(self._ended),
            in_flight=in_flight,
            running=self._last_step.get("running", 0),
            waiting=self._last_step.get("waiting", in_flight),
            arrivals_per_s=_per_s(self._arrivals.since(as_of_ns).size, ARRIVAL_SPAN_S, as_of_ns),
            output_tokens_per_s=_per_s(
                self._output_tokens.since(as_of_ns).sum(), TOKEN_SPAN_S, as_of_ns
            ),
            prompt_tokens_per_s=_per_s(
                self._prompt_tokens.since(as_of_ns).sum(), TOKEN_SPAN_S, as_of_ns
            ),
            ttft_p50_ms=ttft[0],
            ttft_p99_ms=ttft[1],
            ttft_n=self._ttft_ms.n,
            tpot_p50_ms=tpot[0],
            tpot_p99_ms=tpot[1],
            tpot_n=self._tpot_ms.n,
            itl_p50_ms=itl[0],
            itl_p99_ms=itl[1],
            itl_n=int(gaps_ms.size),
            kv_usage_percent=usage,
            live_blocks=live,
            cached_blocks=self._last_step.get("cached_blocks"),
            steps=self._steps,
            step_kinds=dict(Counter(self._step_kinds.since(as_of_ns).tolist())),
            preemptions=self._preemptions,
            output_tokens=self._output_total,
            devices={name: dict(values) for name, values in self._devices.items()},
        )

    def _feed_arrivals(self, arrivals: Mapping[str, Any]) -> None:
        self._arrive(_ints(arrivals, "request_id"), _ints(arrivals, "scheduled_ns"))

    def _arrive(self, ids: Ints, scheduled_ns: Ints) -> None:
        """Notes requests that are new: from their arrival, or their record if that came first."""
        if not ids.size or scheduled_ns.size != ids.size:
            return
        arrived = self._arrived.reach(ids)
        new = ~arrived[ids]
        ids, scheduled_ns = ids[new], scheduled_ns[new]
        arrived[ids] = True
        self._offered += int(ids.size)
        self._scheduled_ns.reach(ids)[ids] = scheduled_ns
        self._arrivals.add(scheduled_ns, ids)
        self._see(scheduled_ns)
        self._note_ttft(ids)

    def _feed_steps(self, steps: Mapping[str, Any]) -> None:
        ends_ns = _ints(steps, "end_ns")
        if not ends_ns.size:
            return
        self._see(ends_ns)
        self._steps += int(ends_ns.size)
        for name in ("running", "waiting", "live_blocks", "cached_blocks"):
            column = _ints(steps, name)
            if column.size:
                self._last_step[name] = int(column[-1])
        prompt_tokens = _ints(steps, "prefill_tokens")
        if prompt_tokens.size:
            self._prompt_tokens.add(ends_ns, prompt_tokens)
        if len(steps.get("kind", ())):
            self._step_kinds.add(ends_ns, np.asarray(steps["kind"], dtype=np.str_))

    def _feed_emissions(self, emissions: Mapping[str, Any], steps: Mapping[str, Any]) -> None:
        ids, tokens = _ints(emissions, "request_id"), _ints(emissions, "tokens")
        if not ids.size:
            return
        times_ns = _ints(emissions, "time_ns")
        if not times_ns.size:
            times_ns = np.repeat(_ints(steps, "end_ns"), _ints(steps, "emitting"))
        if times_ns.size != ids.size:
            raise ValueError(
                f"segment: {ids.size} emissions, but its steps account for {times_ns.size}"
            )
        self._see(times_ns)
        self._output_tokens.add(times_ns, tokens)
        self._output_total += int(tokens.sum())

        order = np.argsort(ids, kind="stable")
        grouped_ids, grouped_ns = ids[order], times_ns[order]
        opens = np.append(True, grouped_ids[1:] != grouped_ids[:-1])
        last_ns = self._last_emission_ns.reach(ids)
        before_ns = np.append(_UNKNOWN, grouped_ns[:-1])
        before_ns[opens] = last_ns[grouped_ids[opens]]
        later = before_ns >= 0
        gaps_ms = (grouped_ns[later] - before_ns[later]) / 1e6
        self._gaps_ms.add(grouped_ns[later], gaps_ms)
        closes = np.append(opens[1:], True)
        last_ns[grouped_ids[closes]] = grouped_ns[closes]

        fresh = opens & ~later
        self._first_ns.reach(ids)[grouped_ids[fresh]] = grouped_ns[fresh]
        self._note_ttft(grouped_ids[fresh])

    def _note_ttft(self, ids: Ints) -> None:
        """TTFT of those of `ids` whose intended arrival and first token are both known now."""
        if not ids.size:
            return
        scheduled_ns, first_ns = self._scheduled_ns.reach(ids), self._first_ns.reach(ids)
        known = self._ttft_known.reach(ids)
        ids = ids[(scheduled_ns[ids] >= 0) & (first_ns[ids] >= 0) & ~known[ids]]
        known[ids] = True
        self._ttft_ms.add((first_ns[ids] - scheduled_ns[ids]) / 1e6)

    def _feed_requests(self, requests: Mapping[str, Any]) -> None:
        ids = _ints(requests, "request_id")
        if not ids.size:
            return
        self._arrive(ids, _ints(requests, "scheduled_ns"))
        self._see(_ints(requests, "finished_ns"))
        self._ended.update(requests.get("status", ()))
        first_ns, last_ns = _ints(requests, "first_token_ns"), _ints(requests, "last_token_ns")
        later_tokens = _ints(requests, "output_tokens") - _ints(requests, "first_tokens")
        if first_ns.size == last_ns.size == later_tokens.size == ids.size:
            decoding_ns = last_ns - first_ns
            defined = (first_ns >= 0) & (decoding_ns > 0) & (later_tokens > 0)
            self._tpot_ms.add(decoding_ns[defined] / later_tokens[defined] / 1e6)

    def _feed_devices(self, devices: Mapping[str, Any]) -> None:
        names = list(devices.get("device", ()))
        last_row = {str(name): row for row, name in enumerate(names)}
        for name, row in last_row.items():
            values = {
                column: float(values[row])
                for column, values in devices.items()
                if column not in ("device", "time_ns", "period_ns")
            }
            self._devices[name] = {key: value for key, value in values.items() if value == value}

    def _feed_server(self, server: Mapping[str, Any]) -> None:
        """A remote server's own word on what an engine of ours tells with every step."""
        if not len(server.get("time_ns", ())):
            return
        for name in ("running", "waiting"):
            value = float(server[name][-1])
            if value == value:
                self._last_step[name] = int(value)
        usage = float(server["kv_usage"][-1])
        if usage == usage:
            self._server_kv_usage = usage

    def _see(self, times_ns: Ints) -> None:
        if times_ns.size:
            self._newest_ns = max(self._newest_ns, int(times_ns.max()))


def _ints(table: Mapping[str, Any], name: str) -> Ints:
    return np.asarray(table.get(name, ()), dtype=np.int64)


def _per_s(count: float, span_s: int, as_of_ns: int) -> float | None:
    """A rate over the span, or over the run where that is shorter."""
    length_s = min(span_s, as_of_ns / _S)
    return float(count) / length_s if length_s > 0 else None
