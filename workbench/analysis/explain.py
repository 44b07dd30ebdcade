"""Why a request was slow, in one sentence or two, and in details: docs/explain.md defines them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workbench.analysis.baseline import Baseline
from workbench.analysis.decode_excess import Excess, decode_excess
from workbench.analysis.explain_details import details_of
from workbench.analysis.quantities import counted, milliseconds, number
from workbench.analysis.stall_causes import CAUSES
from workbench.analysis.story import Story
from workbench.analysis.ttft_causes import TtftCause, held_up_ns, ttft_causes

NAMED_SHARE = 0.10
"""Causes that make up less than this share are not named in the sentence."""

SLOW_FACTOR = 1.25
"""Without a limit, TTFT or TPOT is slow above this many times the run's median."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a request took as long as it did.

    Attributes:
        sentence: the causes that matter, the largest first; or that nothing held it up.
        details: what else is known, a sentence each.
        slow: it was over a limit, or well over the run's median, or held up.
    """

    sentence: str
    details: tuple[str, ...]
    slow: bool

    def text(self) -> str:
        """Sentence and details, a line each."""
        return "\n".join([self.sentence, *(f"• {detail}" for detail in self.details)]) + "\n"


def why_slow(story: Story, limits_ms: Mapping[str, float], baseline: Baseline) -> Explanation:
    """The causes of a request's TTFT and TPOT, against the run's medians.

    Args:
        limits_ms: the run's objectives that are set, ms: `ttft`, `tpot`, `itl`, `e2e`.
    """
    details = details_of(story, baseline)
    status = _status(story)
    if story.status == "rejected":
        return Explanation(status, details, slow=True)
    first, first_slow = _of_ttft(story, limits_ms.get("ttft"), baseline)
    later, later_slow = _of_tpot(story, limits_ms.get("tpot"), baseline)
    others = [_of_e2e(story, limits_ms.get("e2e")), _of_itl(story, limits_ms.get("itl"))]
    missed = any(others) or (not story.in_flight and story.status != "ok")
    slow = first_slow or later_slow or missed
    if slow:
        said = [status, first, later, *others]
    elif story.in_flight:
        said = [status, first]
    else:
        said = [_nothing(story, baseline)]
    return Explanation(" ".join(part for part in said if part), details, slow)


def _status(story: Story) -> str:
    """How it stands, where that isn't "ok"."""
    lasted = milliseconds((story.life.end_ns - story.life.scheduled_ns) / 1e6)
    got = f"{story.output_tokens:,} of {story.max_tokens:,} output tokens"
    if story.status == "ok":
        return ""
    if story.in_flight:
        return f"Still {story.status} after {lasted}{f', {got}' if story.emissions else ''}."
    reason = f": {story.reason.rstrip('.')}" if story.reason else ""
    if story.status == "rejected":
        return f"Rejected{reason}."
    return f"{story.status.capitalize()} after {lasted}{reason} ({got})."


def _is_slow(value_ms: float, limit_ms: float | None, median_ms: float | None) -> bool:
    if limit_ms is not None:
        return value_ms > limit_ms
    return median_ms is not None and value_ms > SLOW_FACTOR * median_ms


def _nothing(story: Story, baseline: Baseline) -> str:
    """That it was not held up, with the figures that show it."""
    parts = []
    if story.ttft_ns is not None:
        parts.append(f"TTFT {milliseconds(story.ttft_ns / 1e6)}")
        prefill_ns = story.stages_ns["prefill"]
        if prefill_ns is not None:
            computed = story.prompt_tokens - (story.cached_tokens or 0)
            parts[-1] += (
                f", {milliseconds(prefill_ns / 1e6)} of it the prefill of "
                f"{counted(computed, 'token')}"
            )
        else:
            parts[-1] += _beside_median(baseline.ttft_ms)
    if story.tpot_ns is not None:
        parts.append(f"TPOT {milliseconds(story.tpot_ns / 1e6)}{_beside_median(baseline.tpot_ms)}")
    return f"Nothing held it up: {'; '.join(parts) or 'it had nothing to compute'}."


def _beside_median(median_ms: float | None) -> str:
    return "" if median_ms is None else f" (the run's median {milliseconds(median_ms)})"


# -- TTFT -------------------------------------------------------------------------------------


def _of_ttft(story: Story, limit_ms: float | None, baseline: Baseline) -> tuple[str, bool]:
    """What TTFT, or the time so far, was spent on; and whether that is worth saying."""
    causes = ttft_causes(story, baseline)
    total_ns = story.ttft_ns
    if total_ns is None:
        total_ns = story.life.end_ns - story.life.scheduled_ns
    named = [cause for cause in causes if cause.duration_ns >= NAMED_SHARE * total_ns]
    total_ms = total_ns / 1e6
    if story.ttft_ns is None:
        said = f"No token yet: {_listed(named)}." if story.in_flight else f"{_listed(named)}."
        return _capital(said) if named else "", False
    slow = _is_slow(total_ms, limit_ms, baseline.ttft_ms)
    held_up = held_up_ns(causes) >= NAMED_SHARE * total_ns
    over = f", over the limit of {milliseconds(limit_ms)}" if limit_ms and slow else ""
    if not over and slow and baseline.ttft_ms:
        over = f", {_times(total_ms, baseline.ttft_ms)} the run's median"
    return f"TTFT {milliseconds(total_ms)}{over}: {_listed(named)}.", slow or held_up


def _listed(causes: list[TtftCause]) -> str:
    return ", ".join(cause.phrase for cause in causes)


# -- TPOT -------------------------------------------------------------------------------------


def _of_tpot(story: Story, limit_ms: float | None, baseline: Baseline) -> tuple[str, bool]:
    """What made tokens come slowly; "" where they did not."""
    if story.tpot_ns is None:
        return "", False
    tpot_ms, usual_ms = story.tpot_ns / 1e6, baseline.tpot_ms
    slow = _is_slow(tpot_ms, limit_ms, usual_ms)
    decode_ns = sum(gap.duration_ns for gap in story.gaps)
    stalled_ns = sum(gap.duration_ns for gap in story.stalls if gap.cause != "open")
    preempted_ns = story.decode_recompute_ns
    held_up = max(stalled_ns, preempted_ns) >= NAMED_SHARE * max(decode_ns, 1)
    if not slow and not held_up:
        return "", False
    figure = f"TPOT {milliseconds(tpot_ms)}"
    parts = decode_excess(story, tpot_ms if usual_ms is None else usual_ms, baseline)
    named = [part for part in parts if part.share >= NAMED_SHARE]
    if not slow:
        held = [part.phrase for part in named if part.cause in ("stall", "preempted")]
        if not held:
            return "", False
        return f"{figure}{_beside_median(usual_ms)}, with {' and '.join(held)}.", True
    if limit_ms is not None:
        figure += f", over the limit of {milliseconds(limit_ms)}"
    if usual_ms is not None:
        figure += f", {_times(tpot_ms, usual_ms)} the run's median {milliseconds(usual_ms)}"
    if not named:
        return f"{figure}: its steps were like those of others.", True
    return f"{figure}: {_shares(named)}.", True


def _shares(parts: list[Excess]) -> str:
    """ "71 % of the excess from …, 20 % from …"; a cause that is all of it has no figure."""
    first, *rest = parts
    share = round(100 * first.share)
    told = [
        f"{share} % of the excess from {first.phrase}" if share < 100 else f"from {first.phrase}"
    ]
    return ", ".join(told + [f"{round(100 * part.share)} % from {part.phrase}" for part in rest])


# -- E2E and ITL ------------------------------------------------------------------------------


def _of_e2e(story: Story, limit_ms: float | None) -> str:
    """That E2E is over its limit, and how much of it the output took; "" where it isn't."""
    if limit_ms is None or story.e2e_ns is None or story.e2e_ns <= limit_ms * 1e6:
        return ""
    over = f"E2E {milliseconds(story.e2e_ns / 1e6)}, over the limit of {milliseconds(limit_ms)}"
    decode_ns = sum(gap.duration_ns for gap in story.gaps)
    tokens = counted(story.output_tokens, "token")
    return f"{over}: its {tokens} took {milliseconds(decode_ns / 1e6)} of it."


def _of_itl(story: Story, limit_ms: float | None) -> str:
    """That the longest gap is over the limit, and why; "" where it isn't."""
    gap = story.longest_gap
    if limit_ms is None or gap is None or gap.duration_ns <= limit_ms * 1e6:
        return ""
    took = f"Longest gap {milliseconds(gap.duration_ns / 1e6)}"
    why = gap.why or CAUSES.get(gap.cause, "")
    return f"{took}, over the limit of {milliseconds(limit_ms)}{f': {why}' if why else ''}."


def _times(value: float, usual: float) -> str:
    return f"{number(value / usual)} ×"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
