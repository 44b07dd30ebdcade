"""Why the time per output token differs: larger batches, prompts beside, slower steps, or waiting.

The difference of two weighted means is parted into what the weights do and what the means do, each
at the average of the two sides: Kitagawa (1955), "Components of a difference between two rates";
in economics Oaxaca and Blinder's decomposition (1973).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from workbench.analysis.quantities import milliseconds, number, percent
from workbench.comparison.comparison import Explanation
from workbench.comparison.decode_time import DecodeTime, Grid, decode_time, mean_decode_time
from workbench.comparison.measured import MeasuredRun
from workbench.comparison.why_words import Cause, Change, parts_of, sentence

METRIC = "latency.itl_ms.mean"
_LEAST_OVERLAP = 0.05
_DECODE, _MIXED = slice(0, 1), slice(1, None)


@dataclass(frozen=True, slots=True)
class StepEffects:
    """What changes the steps' own time per decoded token, ms; the five sum to its difference.

    Attributes:
        batch: other numbers of sequences in a step; beside: a larger or smaller share of the
            tokens decoded in steps with prompts; size: more or fewer prompt tokens in these.
        decode_rate, mixed_rate: decode steps of the same batch, and steps of the same batch and
            prompt tokens, that take another time.
    """

    batch: float
    beside: float
    size: float
    decode_rate: float
    mixed_rate: float


def tpot_explanation(
    base: Sequence[MeasuredRun],
    other: Sequence[MeasuredRun],
    side: int,
    label: str,
    base_label: str,
) -> Explanation | None:
    """Why the mean time per decoded token differs, ms; None where a side has no steps.

    The figure is TPOT with every token counting the same: each gap that a sequence sees is its own
    step, the prefill-only steps before it, and the host's gaps (`decode_time`), and what
    preemptions cost. Where each emission is one token it is the mean of the pooled ITL to within a
    few percent: it has the tokens, too, that warm-up's requests get inside the window, and a
    preempted sequence's next token isn't counted. The mean of TPOT counts each request the same
    instead; the sentence gives it where it tells something else. Each run of a side counts the
    same. The parts sum to the difference exactly.
    """
    sides = [
        [time for time in map(decode_time, runs) if time is not None] for runs in (base, other)
    ]
    if not all(sides):
        return None
    before, after = (mean_decode_time(times) for times in sides)
    if before.total_ms <= 0:
        return None
    change = Change("TPOT over all tokens", label, base_label, before.total_ms, after.total_ms)
    causes = _causes(before, after)
    difference = sum(cause.difference_ms for cause in causes)
    words = sentence(change, causes) + _by_request(change, base, other)
    return Explanation(side, METRIC, change.figure, difference, parts_of(causes), words)


def _by_request(change: Change, base: Sequence[MeasuredRun], other: Sequence[MeasuredRun]) -> str:
    """The mean over requests, where it changes and the mean over tokens doesn't do so, too."""
    before, after = _request_mean_ms(base), _request_mean_ms(other)
    if before is None or after is None:
        return ""
    mean = Change("mean TPOT", change.label, change.base_label, before, after)
    same_way = not change.hardly and (change.difference_ms > 0) == (mean.difference_ms > 0)
    if mean.hardly or same_way:
        return ""
    return f" Where each request counts the same, {sentence(mean, ())}"


def _request_mean_ms(runs: Sequence[MeasuredRun]) -> float | None:
    means = [run.requests.select(pl.col("tpot_ms").mean()).item() for run in runs]
    defined = [mean for mean in means if mean is not None]
    return float(np.mean(defined)) if defined else None


def step_effects(before: DecodeTime, after: DecodeTime) -> StepEffects:
    """The difference of the steps' own time in parts, by cells of batch and prompt tokens.

    A cell that only one side has counts as another batch or size. How long such steps would have
    taken on the other side follows from how the cells that both have differ, where these hold at
    least 5 % of the tokens; else they are taken to last as long.
    """
    batch = beside = size = 0.0
    rates = []
    for kind in (_DECODE, _MIXED):
        shares = before.share[:, kind], after.share[:, kind]
        means = _means(shares, (before.own_ms[:, kind], after.own_ms[:, kind]))
        mean = (means[0] + means[1]) / 2
        rates.append(float(((shares[0] + shares[1]) / 2 * (means[1] - means[0])).sum()))
        weights = shares[0].sum(), shares[1].sum()
        within = _conditional(shares, weights)
        beside += float((weights[1] - weights[0]) * (_average(within) * mean).sum())
        by_batch = within[0].sum(axis=1, keepdims=True), within[1].sum(axis=1, keepdims=True)
        by_size = _conditional(within, by_batch)
        weight = (weights[0] + weights[1]) / 2
        batch += float(weight * (_rise(by_batch) * _average(by_size) * mean).sum())
        size += float(weight * (_average(by_batch) * _rise(by_size) * mean).sum())
    return StepEffects(batch, beside, size, *rates)


def _means(shares: tuple[Grid, Grid], times: tuple[Grid, Grid]) -> tuple[Grid, Grid]:
    """The mean time of each cell's steps on both sides, also where only one side has them."""
    there = shares[0] > 0, shares[1] > 0
    means = [
        np.divide(time, share, out=np.zeros_like(time), where=has)
        for time, share, has in zip(times, shares, there, strict=True)
    ]
    both = there[0] & there[1]
    common, total = np.minimum(*shares).sum(), min(shares[0].sum(), shares[1].sum())
    weight = _average(shares) * both
    old, new = (weight * means[0]).sum(), (weight * means[1]).sum()
    ratio = new / old if common > _LEAST_OVERLAP * total and old > 0 and new > 0 else 1.0
    return (
        np.where(there[0], means[0], means[1] / ratio),
        np.where(there[1], means[1], means[0] * ratio),
    )


def _conditional(parts: tuple[Grid, Grid], wholes: tuple[Grid, Grid]) -> tuple[Grid, Grid]:
    """Each side's parts of its wholes; where a side has none of a whole, the other side's."""
    one, two = (
        np.divide(part, whole, out=np.zeros_like(part), where=np.asarray(whole) > 0)
        for part, whole in zip(parts, wholes, strict=True)
    )
    return (
        np.where(np.asarray(wholes[0]) > 0, one, two),
        np.where(np.asarray(wholes[1]) > 0, two, one),
    )


def _average(pair: tuple[Grid, Grid]) -> Grid:
    return (pair[0] + pair[1]) / 2


def _rise(pair: tuple[Grid, Grid]) -> Grid:
    return pair[1] - pair[0]


def _causes(before: DecodeTime, after: DecodeTime) -> list[Cause]:
    effects = step_effects(before, after)
    prefills = before.prefill_only_ms, after.prefill_only_ms
    waiting = (
        ("prefill-only steps", "in prefill-only steps", *prefills),
        ("host gaps", "between steps", before.host_gap_ms, after.host_gap_ms),
        ("preemptions", "lost to preemptions", before.preemption_ms, after.preemption_ms),
    )
    return [
        _cause("batch", effects.batch, _batch_words(effects.batch, before, after)),
        _cause("steps with prompts", effects.beside, _beside_words(before, after)),
        _cause("prompts in steps", effects.size, _size_words(effects.size, before, after)),
        _cause(
            "decode steps",
            effects.decode_rate,
            _rate_words(effects.decode_rate, "decode steps of the same batch"),
        ),
        _cause(
            "mixed steps",
            effects.mixed_rate,
            _rate_words(effects.mixed_rate, "steps of the same batch and prompts"),
        ),
        *(
            _cause(name, new - old, _time_words(where, old, new))
            for name, where, old, new in waiting
        ),
    ]


def _cause(name: str, effect_ms: float, words: str) -> Cause:
    verb = "added" if effect_ms > 0 else "saved"
    return Cause(name, effect_ms, f"from {words}", f"{words} {verb} {milliseconds(abs(effect_ms))}")


def _batch_words(effect_ms: float, before: DecodeTime, after: DecodeTime) -> str:
    if (effect_ms > 0) != (after.batch > before.batch):
        return "another spread of sequences over steps"
    more = "more" if effect_ms > 0 else "fewer"
    return f"{more} sequences in a step ({number(after.batch)}, not {number(before.batch)})"


def _beside_words(before: DecodeTime, after: DecodeTime) -> str:
    old, new = before.beside_prompts, after.beside_prompts
    more = "more" if new > old else "fewer"
    return f"{more} tokens decoded beside prompts ({percent(100 * new)}, not {percent(100 * old)})"


def _size_words(effect_ms: float, before: DecodeTime, after: DecodeTime) -> str:
    old, new = before.prompt_tokens, after.prompt_tokens
    if old is None or new is None or (effect_ms > 0) != (new > old):
        return "another spread of prompts over steps"
    more = "more" if effect_ms > 0 else "fewer"
    return f"{more} prompt tokens beside decodes in a step ({number(new)}, not {number(old)})"


def _rate_words(effect_ms: float, steps: str) -> str:
    return f"{'longer' if effect_ms > 0 else 'shorter'} {steps}"


def _time_words(where: str, old_ms: float, new_ms: float) -> str:
    more = "more" if new_ms > old_ms else "less"
    return f"{more} time {where} ({milliseconds(new_ms)} a token, not {milliseconds(old_ms)})"
