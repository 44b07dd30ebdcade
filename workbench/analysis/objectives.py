"""Service level objectives: which requests met them, as goodput and attainment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from workbench.analysis.metrics import NS_PER_MS, Window

OBJECTIVES = ("ttft", "tpot", "itl", "e2e")
"""What a limit can be set for. `itl` limits a request's longest gap."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """How the window's requests stand against one limit; the three sum to all of them.

    Attributes:
        met: ended `ok` within the limit.
        missed: over it, or failed, rejected, cancelled or unfinished.
        undefined: ended `ok`, but the metric is undefined: a one-token reply has no TPOT.
    """

    met: int
    missed: int
    undefined: int


@dataclass(frozen=True, slots=True)
class Objectives:
    """Goodput and attainment under limits in ms; all None where no limit was set.

    A metric that is undefined for a request neither meets nor misses its limit: the other limits
    judge the request. One that no limit can judge is not counted as met, and stays in the
    denominator: a one-token reply never passes by having no TPOT.

    Attributes:
        met: the window's requests that meet every SLO.
        unjudged: requests that ended `ok` and have none of the limited metrics.
        attainment: met ÷ all of the window's requests, 0 to 1 (DistServe).
        goodput_per_s: goodput, req/s: requests of the window that meet every SLO ÷ its length;
            failed, rejected and unfinished ones are misses.
    """

    limits_ms: dict[str, float]
    met: int | None
    unjudged: int | None
    attainment: float | None
    goodput_per_s: float | None
    by_limit: dict[str, Verdicts]


def objectives(
    measured: pl.DataFrame,
    gaps: pl.DataFrame,
    limits_ms: Mapping[str, float | None],
    window: Window,
) -> Objectives:
    """Judges the window's requests, as `request_metrics` gives them, and their emission `gaps`.

    Raises:
        ValueError: a limit for something else than `OBJECTIVES`.
    """
    unknown = [name for name in limits_ms if name not in OBJECTIVES]
    if unknown:
        raise ValueError(f"no objective {', '.join(unknown)}; there are {', '.join(OBJECTIVES)}")
    limits = {name: float(limit) for name, limit in limits_ms.items() if limit is not None}
    if not limits or not measured.height:
        return Objectives(limits, None, None, None, None, {})
    if "itl" in limits:
        longest = gaps.group_by("request_id").agg(itl_ms=pl.col("gap_ns").max() / NS_PER_MS)
        measured = measured.join(longest, on="request_id", how="left")

    ok = pl.col("status") == "ok"
    within = _within(limits)
    judged = pl.any_horizontal(test.is_not_null() for test in within.values())
    counts = measured.select(
        meets_every(limits).sum().alias("met"),
        (ok & ~judged).sum().alias("unjudged"),
        *((ok & test.fill_null(False)).sum().alias(f"{name} met") for name, test in within.items()),
        *((ok & test.is_null()).sum().alias(f"{name} undefined") for name, test in within.items()),
    ).row(0, named=True)
    by_limit = {}
    for name in limits:
        met, undefined = counts[f"{name} met"], counts[f"{name} undefined"]
        by_limit[name] = Verdicts(met, measured.height - met - undefined, undefined)
    return Objectives(
        limits,
        counts["met"],
        counts["unjudged"],
        counts["met"] / measured.height,
        counts["met"] / window.length_s if window.length_s > 0 else None,
        by_limit,
    )


def meets_every(limits_ms: Mapping[str, float]) -> pl.Expr:
    """Whether a request ended `ok` and meets every one of the limits that can judge it, as
    `objectives` counts it; from `status` and a column in ms by each limit's name."""
    within = _within(limits_ms)
    judged = pl.any_horizontal(test.is_not_null() for test in within.values())
    meets_all = pl.all_horizontal(test.fill_null(True) for test in within.values())
    return (pl.col("status") == "ok") & judged & meets_all


def _within(limits_ms: Mapping[str, float]) -> dict[str, pl.Expr]:
    return {name: pl.col(f"{name}_ms") <= limit for name, limit in limits_ms.items()}
