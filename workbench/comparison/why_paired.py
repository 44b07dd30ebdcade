"""The same requests on both sides: how many of them got their first token later."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.analysis.lookup import at
from workbench.analysis.quantities import milliseconds
from workbench.analysis.statistics import Samples
from workbench.comparison.measured import MeasuredRun

_PAIRS_LEAST = 10


def paired_sentence(
    base: Sequence[MeasuredRun], other: Sequence[MeasuredRun], base_label: str
) -> str | None:
    """ "Of 412 requests in both, 391 (95 %) got their first token later than in A, by 12 ms at the
    median." The median is of all differences, request by request.

    Runs are paired by seed. None where they don't pair, where a request of the same id had another
    prompt length or output limit, and under 10 requests with a first token in both.
    """
    pairs = _pairs(base, other)
    found = [_paired_differences(*pair) for pair in pairs or ()]
    differences = np.concatenate([each for each in found if each is not None] or [np.empty(0)])
    if not pairs or any(each is None for each in found) or differences.size < _PAIRS_LEAST:
        return None
    total = differences.size
    later, sooner = np.count_nonzero(differences > 0), np.count_nonzero(differences < 0)
    if not later and not sooner:
        return f"The {total:,} requests in both got their first token after the same time."
    said = f"Of {total:,} requests in both, "
    if 2 * max(later, sooner) <= total:
        return (
            f"{said}{later:,} got their first token later than in {base_label}, {sooner:,} sooner."
        )
    way, how_many = ("later", later) if later > sooner else ("sooner", sooner)
    by = milliseconds(abs(float(np.median(differences))))
    share = "" if how_many == total else f" ({min(99, 100 * how_many / total):.0f} %)"
    who = "all" if how_many == total else f"{how_many:,}"
    got = f"{who}{share} got their first token {way} than in {base_label}"
    return f"{said}{got}, by {by} at the median."


def _pairs(
    base: Sequence[MeasuredRun], other: Sequence[MeasuredRun]
) -> list[tuple[MeasuredRun, MeasuredRun]] | None:
    """Runs of the same seed; None unless each has exactly one such run on the other side."""
    seeds = [
        {at(run.record.content, "spec", "seed"): run for run in runs} for runs in (base, other)
    ]
    if len(base) != len(other) or len(seeds[0]) != len(base) or seeds[0].keys() != seeds[1].keys():
        return None
    return [(run, seeds[1][seed]) for seed, run in seeds[0].items()]


def _paired_differences(base: MeasuredRun, other: MeasuredRun) -> Samples | None:
    """TTFT later than in the baseline, ms, by request; None where they are other requests."""
    columns = ("request_id", "prompt_tokens", "max_tokens", "ttft_ms")
    one, two = (run.requests.select(columns) for run in (base, other))
    if not one["request_id"].equals(two["request_id"]):
        one, two = (
            mine.join(theirs.select("request_id"), on="request_id", how="semi").sort("request_id")
            for mine, theirs in ((one, two), (two, one))
        )
    asked = ["prompt_tokens", "max_tokens"]
    if not one.select(asked).equals(two.select(asked)):
        return None
    return (two["ttft_ms"] - one["ttft_ms"]).drop_nulls().to_numpy()
