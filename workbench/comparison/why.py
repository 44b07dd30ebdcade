"""Why a side's TTFT and TPOT differ from the baseline's."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence

from workbench.comparison.comparison import Explanation
from workbench.comparison.measured import MeasuredRun
from workbench.comparison.why_paired import paired_sentence
from workbench.comparison.why_tpot import tpot_explanation
from workbench.comparison.why_ttft import ttft_explanations
from workbench.errors import StoreError


def explanations(
    base: Sequence[MeasuredRun],
    other: Sequence[MeasuredRun],
    side: int,
    label: str,
    base_label: str,
) -> tuple[Explanation, ...]:
    """Of TTFT's mean, p50 and p99, by stage, and of TPOT, by steps, as far as the runs tell.

    Where both sides had the same requests, the first sentence ends with how many of them got their
    first token later or sooner. Tables that can't be read explain nothing.
    """
    found = _ttft(base, other, side, label, base_label)
    with contextlib.suppress(StoreError):
        tpot = tpot_explanation(base, other, side, label, base_label)
        return found if tpot is None else (*found, tpot)
    return found


def _ttft(
    base: Sequence[MeasuredRun],
    other: Sequence[MeasuredRun],
    side: int,
    label: str,
    base_label: str,
) -> tuple[Explanation, ...]:
    try:
        found = ttft_explanations(base, other, side, label, base_label)
        paired = paired_sentence(base, other, base_label) if found else None
    except StoreError:
        return ()
    if paired is None:
        return found
    first = dataclasses.replace(found[0], sentence=f"{found[0].sentence} {paired}")
    return (first, *found[1:])
