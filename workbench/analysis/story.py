"""The story of one request: where its time went, why, and with whom it shared its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from workbench.analysis.metrics import STAGES
from workbench.analysis.queue_causes import QueueCause, queue_causes
from workbench.analysis.spans import Life, Span, partition, sum_by_stage
from workbench.analysis.stall_causes import DecodeGap, decode_gaps
from workbench.analysis.turns import (
    Companion,
    Loss,
    Turn,
    chunks_of_others,
    companions_of,
    losses_of,
    recovering_steps,
    step_table,
    turns_of,
    with_known_columns,
)

_ENDED = ("ok", "failed", "cancelled", "rejected", "unfinished")
_STAMPS = ("admitted", "started", "prefilled", "transferred", "first_token", "last_token")


@dataclass(frozen=True, slots=True)
class Emission:
    """Output tokens that came at `time_ns`; `step` is None of a remote server."""

    time_ns: int
    tokens: int
    step: int | None


@dataclass(frozen=True, slots=True)
class Story:
    """One request as it is known at `at_ns`. Times are ns since the run's start.

    Attributes:
        status: how it ended; "waiting" or "running" if it had not by `at_ns`. reason: why it did
            not end ok.
        told: whether the engine told of its steps; a remote server doesn't.
        spans: from its intended arrival to its last token (to its end, or to `at_ns`, if it was
            cut short), in order, without gap or overlap.
        stages_ns: wait, queue, prefill, transfer, first_decode and recompute (before the first
            token), as `metrics.request_metrics` has them; None for a stage it did not get through.
        ttft_ns, e2e_ns, tpot_ns: as there; None where they are undefined.
        gaps: between its tokens; longest_gap is the longest of those that ended with a token.
        queue_causes: what its queue time was spent on, the longest first; they sum to it.
        turns: the steps it took part in. losses: its preemptions.
        recomputed_tokens: computed again after these; None while that isn't known.
        companions: who was in its steps, those who shared the most first.
        decode_batch: mean number of sequences in the steps in which it decoded.
    """

    request_id: int
    status: str
    reason: str
    told: bool
    at_ns: int
    life: Life
    prompt_tokens: int
    cached_tokens: int | None
    output_tokens: int
    max_tokens: int
    spans: tuple[Span, ...]
    stages_ns: dict[str, int | None]
    ttft_ns: int | None
    e2e_ns: int | None
    tpot_ns: float | None
    emissions: tuple[Emission, ...]
    gaps: tuple[DecodeGap, ...]
    longest_gap: DecodeGap | None
    queue_causes: tuple[QueueCause, ...]
    turns: tuple[Turn, ...]
    losses: tuple[Loss, ...]
    recomputed_tokens: int | None
    companions: tuple[Companion, ...]
    decode_batch: float | None

    @property
    def in_flight(self) -> bool:
        """Whether it had not ended by `at_ns`."""
        return self.life.in_flight

    @property
    def stalls(self) -> tuple[DecodeGap, ...]:
        """The gaps that are stalls, in order of time."""
        return tuple(gap for gap in self.gaps if gap.stalled)

    @property
    def decode_recompute_ns(self) -> int:
        """Time that preemptions cost after the first token."""
        all_of_it = sum_by_stage(self.spans, None).get("recompute", 0)
        return all_of_it - sum_by_stage(self.spans, self.life.first_token_ns).get("recompute", 0)


def request_story(
    request: Mapping[str, Any],
    emissions: pl.DataFrame,
    events: pl.DataFrame,
    steps: pl.DataFrame,
    at_ns: int | None = None,
) -> Story:
    """What happened to one request, up to `at_ns`.

    Args:
        request: its row of `requests`; of one that has not ended, what is known: `request_id`,
            `scheduled_ns`, `prompt_tokens`, `max_tokens`, and `admitted_ns` or `submitted_ns`.
        emissions, events, steps: everybody's, at least from its arrival to its end: whom it met
            in its steps and what these held is read from them. An older record's `steps` may lack
            `worker`, `blocked` and `planned_ns`.
        at_ns: the moment, ns since the run's start; without it a request that has not ended is
            told up to the last thing that is known of anyone.
    """
    request_id = request["request_id"]
    if at_ns is None:
        at_ns = _last_known_ns(request, emissions, steps)
    from_ns, until_ns = request["scheduled_ns"], min(at_ns, request.get("finished_ns") or at_ns)
    known = with_known_columns(steps.filter(pl.col("end_ns").is_between(from_ns, until_ns)))
    emissions = emissions.filter(pl.col("time_ns").is_between(from_ns, until_ns))
    events = events.filter(pl.col("time_ns").is_between(from_ns, until_ns))
    mine = emissions.filter(pl.col("request_id") == request_id).sort("time_ns")
    emitted = tuple(Emission(*row) for row in mine.select("time_ns", "tokens", "step").iter_rows())
    ended = request.get("finished_ns") is not None and request["finished_ns"] <= at_ns
    told = (bool(steps.height) or not ended) and not emissions["step"].null_count()
    turns = turns_of(request_id, emissions, events, known)
    losses = losses_of(request_id, events, known)
    life = _life(request, turns, emitted, at_ns)
    table = step_table(known)
    begins, ends = (table.of_worker(turns[place].worker if turns else None) for place in (0, -1))
    chunks = chunks_of_others(request_id, events, [turn.step for turn in turns])
    stamps = [(one.time_ns, one.tokens, one.step) for one in emitted]
    gaps = decode_gaps(stamps, life.end_ns, turns, losses, ends, chunks)
    recovering = recovering_steps(turns, losses, request["prompt_tokens"])
    closed = [gap for gap in gaps if not gap.open]
    decodes = [turn.batch for turn in turns if turn.part == "decode"]
    spans = partition(life, turns, losses, recovering, gaps, begins, told)
    return Story(
        request_id=request_id,
        status=_status(request, life, turns, losses),
        reason="" if life.in_flight else request.get("reason") or "",
        told=told,
        at_ns=at_ns,
        life=life,
        prompt_tokens=request["prompt_tokens"],
        cached_tokens=None if life.started_ns is None else request.get("cached_tokens"),
        output_tokens=sum(one.tokens for one in emitted),
        max_tokens=request["max_tokens"],
        spans=spans,
        stages_ns=_stages(request, life, spans),
        ttft_ns=_difference(life.first_token_ns, life.scheduled_ns),
        e2e_ns=life.end_ns - life.scheduled_ns
        if request.get("status") == "ok" and not life.in_flight
        else None,
        tpot_ns=_tpot_ns(emitted),
        emissions=emitted,
        gaps=gaps,
        longest_gap=max(closed, key=lambda gap: gap.duration_ns, default=None),
        queue_causes=queue_causes(life.admitted_ns, life.started_ns, life.end_ns, begins)
        if told
        else (),
        turns=turns,
        losses=losses,
        recomputed_tokens=None if life.in_flight else request.get("recomputed_tokens"),
        companions=companions_of(request_id, turns, emissions, events),
        decode_batch=float(np.mean(decodes)) if decodes else None,
    )


def _last_known_ns(request: Mapping[str, Any], emissions: pl.DataFrame, steps: pl.DataFrame) -> int:
    stamps: list[Any] = [request["scheduled_ns"], request.get("finished_ns")]
    stamps += [emissions["time_ns"].max(), steps["end_ns"].max()]
    return max(int(stamp) for stamp in stamps if stamp is not None)


def _life(
    request: Mapping[str, Any], turns: tuple[Turn, ...], emitted: tuple[Emission, ...], at_ns: int
) -> Life:
    """Its stamps up to `at_ns`; what is written only at its end is taken from its steps."""
    stamp = {name: request.get(f"{name}_ns") for name in (*_STAMPS, "finished", "submitted")}
    known = {name: at for name, at in stamp.items() if at is not None and at <= at_ns}
    ended = request.get("status") in _ENDED and "finished" in known
    first_ns = known.get("first_token", emitted[0].time_ns if emitted else None)
    prefills = [turn.end_ns for turn in turns if turn.part == "prefill"]
    if first_ns is not None:
        prefills = [end_ns for end_ns in prefills if end_ns <= first_ns]
    end_ns = known["finished"] if ended else at_ns
    if ended and request["status"] == "ok":
        end_ns = known.get("last_token", end_ns)
    return Life(
        scheduled_ns=request["scheduled_ns"],
        admitted_ns=known.get("admitted", known.get("submitted")),
        started_ns=known.get("started", turns[0].start_ns if turns else None),
        prefilled_ns=known.get(
            "prefilled", prefills[-1] if prefills and first_ns is not None else None
        ),
        transferred_ns=known.get("transferred"),
        first_token_ns=first_ns,
        end_ns=end_ns,
        in_flight=not ended,
    )


def _status(
    request: Mapping[str, Any], life: Life, turns: tuple[Turn, ...], losses: tuple[Loss, ...]
) -> str:
    if not life.in_flight:
        return str(request["status"])
    started = life.started_ns is not None or life.first_token_ns is not None
    thrown_out = bool(losses) and not (turns and turns[-1].start_ns > losses[-1].time_ns)
    return "running" if started and not thrown_out else "waiting"


def _stages(
    request: Mapping[str, Any], life: Life, spans: tuple[Span, ...]
) -> dict[str, int | None]:
    """TTFT's stages as `metrics.request_metrics` has them, in ns."""
    lost_ns = request.get("ttft_recompute_ns") if not life.in_flight else None
    if lost_ns is None:
        lost_ns = sum_by_stage(spans, life.first_token_ns).get("recompute", 0)
    lost = lost_ns if life.prefilled_ns is not None else None
    computing = _difference(life.prefilled_ns, life.started_ns)
    readable_ns = life.prefilled_ns if life.transferred_ns is None else life.transferred_ns
    stages = (
        _difference(life.admitted_ns, life.scheduled_ns),
        _difference(life.started_ns, life.admitted_ns),
        None if computing is None else computing - lost_ns,
        _difference(life.transferred_ns, life.prefilled_ns),
        _difference(life.first_token_ns, readable_ns),
        lost,
    )
    return dict(zip(STAGES, stages, strict=True))


def _difference(later_ns: int | None, earlier_ns: int | None) -> int | None:
    return None if later_ns is None or earlier_ns is None else later_ns - earlier_ns


def _tpot_ns(emitted: tuple[Emission, ...]) -> float | None:
    """(last - first) / (n_out - n_first), ns; None where that is undefined."""
    later_tokens = sum(one.tokens for one in emitted[1:])
    if not later_tokens or emitted[-1].time_ns == emitted[0].time_ns:
        return None
    return (emitted[-1].time_ns - emitted[0].time_ns) / later_tokens
