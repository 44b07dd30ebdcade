"""How much a run got done in its window, and whether the engine kept up with what was offered."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from workbench.analysis.in_flight import InFlight
from workbench.analysis.metrics import Window

ACHIEVED_SHARE = 0.99
"""A run whose achieved rate is under this share of the offered one says so."""

MOMENTS = 64
"""At so many moments of the window's last quarter the requests in flight are counted."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """What came out inside the window, per second of it; None without a window or a record.

    Attributes:
        output_tokens: output tokens emitted inside the window, of all requests.
        output_tokens_per_s: output throughput, tok/s: output tokens emitted inside the window ÷
            its length. Prompt throughput apart; never their sum under one name.
        prompt_tokens_per_s: prompt throughput, tok/s: prompt tokens computed by the steps that
            ended inside the window ÷ its length; tokens from the prefix cache are not computed,
            and so not in it, recomputed ones are.
        requests_per_s: request throughput, req/s: requests that ended `ok` inside the window ÷
            its length.
    """

    output_tokens: int
    output_tokens_per_s: float | None
    prompt_tokens_per_s: float | None
    requests_per_s: float | None


def throughput(
    requests: pl.DataFrame, steps: pl.DataFrame, emissions: pl.DataFrame, window: Window
) -> Throughput:
    """Throughputs over the window, from all requests of the run: also those of the warm-up."""
    output_tokens = int(emissions.filter(window.holds("time_ns"))["tokens"].sum())
    prompt_tokens = int(steps.filter(window.holds("end_ns"))["prefill_tokens"].sum())
    ended_ok = requests.filter(window.holds("finished_ns") & (pl.col("status") == "ok")).height
    return Throughput(
        output_tokens=output_tokens,
        output_tokens_per_s=_rate(output_tokens, window.length_s) if emissions.height else None,
        prompt_tokens_per_s=_rate(prompt_tokens, window.length_s) if steps.height else None,
        requests_per_s=_rate(ended_ok, window.length_s) if requests.height else None,
    )


@dataclass(frozen=True, slots=True)
class Load:
    """What was offered, and what the engine made of it.

    Attributes:
        offered_per_s: offered rate, req/s: requests scheduled inside the window ÷ its length.
        achieved_per_s: achieved rate, req/s: admitted requests of the window ÷ the time from its
            start to the later of its end and the last of their admissions.
        achieved_share: achieved ÷ offered.
        in_flight_start, in_flight_end: requests scheduled but not ended at the window's start and
            end.
        in_flight_expected: how many there would be at its end if every request, with the tokens
            that it has, had gone as fast as the first quarter of them did: a run that only fills
            up to its steady state has as many, a backlog has more.
        fell_behind: there were more than that, by two standard deviations of such a number
            (Poisson) and 2 requests, both at the end and on average over the window's last
            quarter: the backlog grew. A burst of arrivals just before the end is none.
    """

    offered_per_s: float | None
    achieved_per_s: float | None
    achieved_share: float | None
    in_flight_start: int
    in_flight_end: int
    in_flight_expected: float | None
    fell_behind: bool


def load(requests: pl.DataFrame, measured: pl.DataFrame, window: Window) -> Load:
    """Offered and achieved rate and backlog; `measured` are the window's of all `requests`."""
    admitted = measured["admitted_ns"].drop_nulls()
    last = admitted.max()
    until_ns = max(window.end_ns, last) if isinstance(last, int) else window.end_ns
    has_rates = measured.height > 0 and window.length_s > 0
    offered = measured.height / window.length_s if has_rates else None
    achieved_s = Window(window.start_ns, until_ns).length_s
    achieved = admitted.len() / achieved_s if has_rates else None
    share = achieved / offered if achieved is not None and offered else None

    in_flight = InFlight.of(requests)
    start, end = in_flight.at([window.start_ns, window.end_ns]).tolist()
    as_at_first = InFlight.at_first_speed(requests, window.end_ns)
    if as_at_first is None:
        return Load(offered, achieved, share, start, end, None, fell_behind=False)
    quarter_ns = max(0, window.end_ns - window.start_ns) // 4
    moments = np.linspace(window.end_ns - quarter_ns, window.end_ns, MOMENTS)
    there, expected = in_flight.at(moments), as_at_first.at(moments)
    fell_behind = _more(there[-1], expected[-1]) and _more(there.mean(), expected.mean())
    return Load(offered, achieved, share, start, end, float(expected[-1]), fell_behind)


def _more(there: float, expected: float) -> bool:
    return bool(there > expected + 2 * math.sqrt(expected) + 2)


def _rate(count: int, length_s: float) -> float | None:
    return count / length_s if length_s > 0 else None
