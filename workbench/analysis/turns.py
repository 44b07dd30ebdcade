"""The steps that a request took part in, with whom, and when it lost its KV blocks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

Part = Literal["prefill", "decode"]


@dataclass(frozen=True, slots=True)
class Turn:
    """A step that a request took part in.

    Attributes:
        kind: of the step: "prefill", "decode" or "mixed"; worker: who computed it, from 0.
        planned_ns: when its planning began, which may be while the step before it ran;
            start_ns, end_ns: from the first launch until the sampled tokens are on the host.
        part: what the request had in it: a chunk of "prefill", or "decode".
        tokens: its tokens that were computed there; emitted: output tokens that it got.
        batch: sequences in it; prefill_tokens, decode_tokens: of all of them.
    """

    step: int
    worker: int
    kind: str
    planned_ns: int
    start_ns: int
    end_ns: int
    part: Part
    tokens: int
    emitted: int
    batch: int
    prefill_tokens: int
    decode_tokens: int


@dataclass(frozen=True, slots=True)
class Loss:
    """A preemption: at `time_ns`, while `step` was planned, the KV of `tokens` was given up."""

    step: int
    time_ns: int
    tokens: int
    reason: str


@dataclass(frozen=True, slots=True)
class Companion:
    """Another request in the same steps: how many they shared, and in how many of these it had a
    chunk of its prompt computed or decoded."""

    request_id: int
    steps: int
    prefill_steps: int
    decode_steps: int


@dataclass(frozen=True, slots=True)
class StepTable:
    """Steps as numpy columns, by start: int64 `[n]` each; `blocked` "" where it isn't known."""

    step: npt.NDArray[np.int64]
    worker: npt.NDArray[np.int64]
    planned_ns: npt.NDArray[np.int64]
    start_ns: npt.NDArray[np.int64]
    end_ns: npt.NDArray[np.int64]
    running: npt.NDArray[np.int64]
    blocked: list[str | None]

    def of_worker(self, worker: int | None) -> StepTable:
        """Only what this worker computed; everything for None."""
        if worker is None:
            return self
        mine = self.worker == worker
        return StepTable(
            self.step[mine],
            self.worker[mine],
            self.planned_ns[mine],
            self.start_ns[mine],
            self.end_ns[mine],
            self.running[mine],
            [self.blocked[row] for row in np.flatnonzero(mine).tolist()],
        )

    def between(self, after_ns: int, until_ns: int) -> slice:
        """The steps that ended later than `after_ns` and began before `until_ns`."""
        first = int(np.searchsorted(self.end_ns, after_ns, side="right"))
        return slice(first, int(np.searchsorted(self.start_ns, until_ns, side="left")))


def with_known_columns(steps: pl.DataFrame) -> pl.DataFrame:
    """`steps` by start; an older record's `worker` is 0, its `blocked` null, and its steps, which
    never overlap, were planned right before they started."""
    absent = {
        "worker": pl.lit(0, pl.Int64),
        "blocked": pl.lit(None, pl.String),
        "planned_ns": pl.lit(None, pl.Int64),
    }
    return (
        steps.with_columns(
            expression.alias(name)
            for name, expression in absent.items()
            if name not in steps.columns
        )
        .with_columns(
            pl.col("worker").fill_null(0),
            pl.col("planned_ns").fill_null(pl.col("start_ns") - pl.col("schedule_ns")),
        )
        .sort("start_ns", "step")
    )


def step_table(steps: pl.DataFrame) -> StepTable:
    """`with_known_columns` as arrays."""
    return StepTable(
        steps["step"].to_numpy(),
        steps["worker"].to_numpy(),
        steps["planned_ns"].to_numpy(),
        steps["start_ns"].to_numpy(),
        steps["end_ns"].to_numpy(),
        steps["running"].to_numpy(),
        steps["blocked"].to_list(),
    )


def turns_of(
    request_id: int, emissions: pl.DataFrame, events: pl.DataFrame, steps: pl.DataFrame
) -> tuple[Turn, ...]:
    """The steps that the request took part in, in order of time.

    `steps` as `with_known_columns` gives them; what it had in a step that isn't there is left out.
    """
    mine = pl.col("request_id") == request_id
    chunks = (
        events.filter(mine & (pl.col("kind") == "prefill")).group_by("step").agg(pl.sum("tokens"))
    )
    emitted = (
        emissions.filter(mine & pl.col("step").is_not_null())
        .group_by("step")
        .agg(emitted=pl.sum("tokens"))
    )
    own = steps.join(
        chunks.join(emitted, on="step", how="full", coalesce=True), on="step", how="inner"
    ).sort("start_ns", "step")
    return tuple(_turn(row) for row in own.iter_rows(named=True))


def _turn(row: dict[str, Any]) -> Turn:
    chunk = row["tokens"]
    emitted = row["emitted"] or 0
    return Turn(
        step=row["step"],
        worker=row["worker"],
        kind=row["kind"],
        planned_ns=row["planned_ns"],
        start_ns=row["start_ns"],
        end_ns=row["end_ns"],
        part="decode" if chunk is None else "prefill",
        tokens=emitted if chunk is None else chunk,
        emitted=emitted,
        batch=row["num_seqs"],
        prefill_tokens=row["prefill_tokens"],
        decode_tokens=row["decode_tokens"],
    )


def losses_of(request_id: int, events: pl.DataFrame, steps: pl.DataFrame) -> tuple[Loss, ...]:
    """The request's preemptions, in order of time: when the step that they made room for was
    planned, as the engine counts what they cost."""
    mine = (pl.col("request_id") == request_id) & (pl.col("kind") == "preempt")
    rows = (
        events.filter(mine)
        .join(steps.select("step", "planned_ns"), on="step", how="inner")
        .sort("planned_ns")
        .select("step", "planned_ns", "tokens", "detail")
    )
    return tuple(Loss(*row) for row in rows.iter_rows())


def recovering_steps(
    turns: tuple[Turn, ...], losses: tuple[Loss, ...], prompt_tokens: int
) -> frozenset[int]:
    """The steps in which the last of the tokens that a preemption had cost was computed again.

    How much was found again in the prefix cache isn't recorded. It follows from what was computed
    in chunks, once the request gets a token (all it has is computed then) or is preempted again.
    """
    found: set[int] = set()
    lost_until = 0
    for number, loss in enumerate(losses):
        following = losses[number + 1] if number + 1 < len(losses) else None
        lost_until = max(lost_until, loss.tokens)
        chunks = _chunks_after(turns, loss, following)
        computed = 0
        if chunks and chunks[-1].emitted:
            before = sum(turn.emitted for turn in turns if turn.start_ns < chunks[-1].start_ns)
            computed = prompt_tokens + before - sum(chunk.tokens for chunk in chunks)
        elif following is not None:
            computed = following.tokens - sum(chunk.tokens for chunk in chunks)
        for chunk in chunks:
            computed += chunk.tokens
            if computed >= lost_until:
                found.add(chunk.step)
                lost_until = 0
                break
    return frozenset(found)


def _chunks_after(turns: tuple[Turn, ...], loss: Loss, following: Loss | None) -> list[Turn]:
    """Its chunks between two preemptions, up to the one that brought a token."""
    chunks = []
    for turn in turns:
        if turn.start_ns < loss.time_ns or turn.part == "decode":
            continue
        if following is not None and turn.start_ns > following.time_ns:
            break
        chunks.append(turn)
        if turn.emitted:
            break
    return chunks


def chunks_of_others(
    request_id: int, events: pl.DataFrame, wanted: list[int]
) -> dict[int, list[tuple[int, int]]]:
    """By step, the prompt chunks that others had in it: (request, tokens)."""
    others = events.filter(
        (pl.col("kind") == "prefill")
        & (pl.col("request_id") != request_id)
        & pl.col("step").is_in(wanted)
    ).select("step", "request_id", "tokens")
    chunks: dict[int, list[tuple[int, int]]] = {}
    for step, other, tokens in others.iter_rows():
        chunks.setdefault(step, []).append((other, tokens))
    return chunks


def companions_of(
    request_id: int, turns: tuple[Turn, ...], emissions: pl.DataFrame, events: pl.DataFrame
) -> tuple[Companion, ...]:
    """Everyone who was in its steps, those who shared the most first."""
    wanted = pl.Series([turn.step for turn in turns], dtype=pl.Int64)
    shared = pl.col("step").is_in(wanted.implode()) & (pl.col("request_id") != request_id)
    chunks = events.filter(shared & (pl.col("kind") == "prefill")).select("request_id", "step")
    emitted = emissions.filter(shared).select("request_id", "step")
    prefills = Counter(chunks["request_id"].to_list())
    decodes = Counter(
        emitted.join(chunks, on=["request_id", "step"], how="anti")["request_id"].to_list()
    )
    everyone = [
        Companion(other, prefills[other] + decodes[other], prefills[other], decodes[other])
        for other in prefills.keys() | decodes.keys()
    ]
    return tuple(sorted(everyone, key=lambda other: (-other.steps, other.request_id)))
