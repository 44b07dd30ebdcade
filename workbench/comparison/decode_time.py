"""What a run's time per decoded token was spent on, from its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.analysis.metrics import NS_PER_MS
from workbench.analysis.statistics import Samples
from workbench.comparison.measured import MeasuredRun

BATCH_BUCKETS, BATCH_PER_OCTAVE = 160, 8
PROMPT_BUCKETS, PROMPT_PER_OCTAVE = 96, 4

_READ = ("start_ns", "end_ns", "num_seqs", "prefill_tokens", "decode_tokens", "emitting")

Grid = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class DecodeTime:
    """Time per decoded token, ms; the times sum to `total_ms`.

    Attributes:
        share: float64 `[BATCH_BUCKETS, PROMPT_BUCKETS]`, the share of decode tokens that steps of
            so many sequences and so many prompt tokens computed; decode-only steps are column 0.
        own_ms: of the same shape, the time of these steps, spread over all decode tokens.
        prefill_only_ms: steps that decode nothing, while sequences waited for their next token.
        host_gap_ms: between steps, while they waited.
        preemption_ms: from a preemption after the first token until what it lost is computed again.
        batch: sequences in a step; prompt_tokens: prompt tokens in a step that has some, None if
            none has; both as a decoded token meets them.
    """

    share: Grid
    own_ms: Grid
    prefill_only_ms: float
    host_gap_ms: float
    preemption_ms: float
    batch: float
    prompt_tokens: float | None

    @property
    def total_ms(self) -> float:
        return (
            float(self.own_ms.sum()) + self.prefill_only_ms + self.host_gap_ms + self.preemption_ms
        )

    @property
    def beside_prompts(self) -> float:
        """The share of decode tokens from steps that have prompt tokens, too."""
        return float(self.share[:, 1:].sum())


def decode_time(run: MeasuredRun) -> DecodeTime | None:
    """Over the steps from the window's start until its requests have their last tokens; None where
    the run has no such steps.

    Every gap between two tokens of a sequence is the step that computed the later one, the steps
    before it that decoded nothing, and the host's gaps before all of these. A sequence whose
    prompt ended in one of those steps waited only from there on; `emitting` tells of it. Where
    steps overlap, a step lasts from the end of the one before.

    Raises:
        StoreError: a table is broken.
    """
    steps = _steps(run)
    if steps is None:
        return None
    columns = {name: steps[name].to_numpy() for name in _READ}
    worker = steps["worker"].to_numpy()
    own_ns, gap_ns = _times(columns["start_ns"], columns["end_ns"], worker)
    tokens = columns["decode_tokens"]
    joining = columns["emitting"] - _ended_at_once(columns["end_ns"], run.requests)
    waiting = _waiting(tokens, joining, worker)
    decoding = tokens > 0
    weight = tokens[decoding]
    total = float(weight.sum())
    batch, prompts = columns["num_seqs"][decoding], columns["prefill_tokens"][decoding]
    share, own = _grids(batch, prompts, weight, own_ns[decoding])
    idle_ns = np.dot(waiting[~decoding].astype(np.float64), own_ns[~decoding])
    beside = float(weight[prompts > 0].sum())
    return DecodeTime(
        share=share / total,
        own_ms=own / total / NS_PER_MS,
        prefill_only_ms=float(idle_ns) / total / NS_PER_MS,
        host_gap_ms=float(np.dot(waiting.astype(np.float64), gap_ns)) / total / NS_PER_MS,
        preemption_ms=_preemption_ms(run.requests),
        batch=float(np.dot(weight, batch)) / total,
        prompt_tokens=float(np.dot(weight, prompts)) / beside if beside else None,
    )


def mean_decode_time(times: Sequence[DecodeTime]) -> DecodeTime:
    """Of runs that count the same each."""

    def mean(name: str) -> float:
        return float(np.mean([getattr(each, name) for each in times]))

    prompts = [each.prompt_tokens for each in times if each.prompt_tokens is not None]
    return DecodeTime(
        share=np.mean([each.share for each in times], axis=0),
        own_ms=np.mean([each.own_ms for each in times], axis=0),
        prefill_only_ms=mean("prefill_only_ms"),
        host_gap_ms=mean("host_gap_ms"),
        preemption_ms=mean("preemption_ms"),
        batch=mean("batch"),
        prompt_tokens=float(np.mean(prompts)) if prompts else None,
    )


def _steps(run: MeasuredRun) -> pl.DataFrame | None:
    """The steps that count, by worker and in order; None where none of them decodes."""
    last_ns = run.requests["last_token_ns"].max()
    if run.window is None or not isinstance(last_ns, int):
        return None
    steps = run.every_step.filter(
        pl.col("end_ns").is_between(run.window.start_ns, last_ns)
    ).with_columns(pl.col("worker").fill_null(0))
    if steps["worker"].n_unique() > 1 or not steps["step"].is_sorted():
        steps = steps.sort("worker", "step")
    return steps if steps["decode_tokens"].sum() else None


def _times(start_ns: Whole, end_ns: Whole, worker: Whole) -> tuple[Samples, Samples]:
    """Each step's own time and the host's gap before it, ns; a worker's first step has none."""
    before_ns = np.empty_like(end_ns)
    before_ns[0], before_ns[1:] = start_ns[0], end_ns[:-1]
    first = np.flatnonzero(worker[1:] != worker[:-1]) + 1
    before_ns[first] = start_ns[first]
    begun_ns = np.maximum(start_ns, before_ns)
    return (end_ns - begun_ns).astype(np.float64), (begun_ns - before_ns).astype(np.float64)


def _ended_at_once(end_ns: Whole, requests: pl.DataFrame) -> Whole:
    """How many requests had all their tokens at the end of each step, so that none was decoded."""
    whole = requests.filter(pl.col("output_tokens") == pl.col("first_tokens"))
    stamps = np.sort(whole["first_token_ns"].drop_nulls().to_numpy())
    found: Whole = np.searchsorted(stamps, end_ns, "right") - np.searchsorted(stamps, end_ns)
    return found


def _waiting(tokens: Whole, joining: Whole, worker: Whole) -> Whole:
    """How many of the next step's decodes were waiting for it during each step and before it;
    `joining` at the end of a step without decodes were not, until then."""
    idle = np.flatnonzero(tokens == 0)
    if not idle.size:
        return tokens
    decoding = np.flatnonzero(tokens)
    following = np.searchsorted(decoding, idle)
    comes = following < decoding.size
    idle, following = idle[comes], decoding[following[comes]]
    same = worker[idle] == worker[following]
    idle, following = idle[same], following[same]
    waiting = tokens.copy()
    joined = np.concatenate((np.cumsum(joining[idle][::-1])[::-1], [0]))
    after = np.searchsorted(idle, following)
    waiting[idle] = np.maximum(0, tokens[following] - (joined[:-1] - joined[after]))
    return waiting


def _grids(batch: Whole, prompts: Whole, weight: Whole, own_ns: Samples) -> tuple[Grid, Grid]:
    """Decode tokens, and their steps' time, by batch and prompt tokens."""
    cells = _bucket(batch, BATCH_PER_OCTAVE, BATCH_BUCKETS) * PROMPT_BUCKETS
    cells += _bucket(prompts, PROMPT_PER_OCTAVE, PROMPT_BUCKETS)
    size, shape = BATCH_BUCKETS * PROMPT_BUCKETS, (BATCH_BUCKETS, PROMPT_BUCKETS)
    tokens: Grid = np.bincount(cells, weight, size).astype(np.float64)
    times: Grid = np.bincount(cells, weight * own_ns, size).astype(np.float64)
    return tokens.reshape(shape), times.reshape(shape)


def _bucket(counts: Whole, per_octave: int, buckets: int) -> Whole:
    """Single numbers up to twice `per_octave`, from there so many buckets until the double."""
    every = np.arange(int(counts.max()) + 1)
    octaves = np.log2(np.maximum(every, per_octave) / per_octave)
    bucket = np.minimum(every, per_octave) + np.floor(per_octave * octaves + 1e-9).astype(np.int64)
    found: Whole = np.minimum(bucket, buckets - 1)[counts]
    return found


def _preemption_ms(requests: pl.DataFrame) -> float:
    """Time lost after the first token, per token after it."""
    lost_ns, tokens = requests.filter(pl.col("first_token_ns").is_not_null()).select(
        (pl.col("recompute_ns") - pl.col("ttft_recompute_ns")).sum(),
        (pl.col("output_tokens") - pl.col("first_tokens")).sum().alias("tokens"),
    ).row(0)  # fmt: skip
    return lost_ns / tokens / NS_PER_MS if tokens else 0.0
