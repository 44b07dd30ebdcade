"""A run at one moment, frozen: what the header, the tiles, the KV map and the log show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workbench.analysis.live import LiveSnapshot

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PoolMap:
    """The blocks of one KV pool, as it was last looked at.

    Attributes:
        sampled_ns: when that was.
        usable: all its blocks but the null block: free + live + cached.
        live: live blocks that 1, 2 to 3, 4 to 7, 8 to 15, and more block tables name.
        cached: cached blocks whose content was found again never, once, 2 to 3 times, 4 to 7
            times, and more.
    """

    pool: str
    sampled_ns: int
    block_size: int
    usable: int
    free: int
    live: tuple[int, ...]
    cached: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An event as the log shows it; `request_id` and `step` are None where it has none."""

    time_ns: int
    kind: str
    request_id: int | None
    tokens: int
    detail: str
    step: int | None


@dataclass(frozen=True, slots=True, eq=False)
class StepTail:
    """The last steps, oldest first; each attribute is that column of `runs.schema.STEPS`.

    `blocked` is "" and `worker` 0 in runs that were recorded before there were such columns;
    `gpu_start_ns` and `gpu_end_ns` are -1 where no GPU told.
    """

    step: Ints
    worker: Ints
    kind: tuple[str, ...]
    blocked: tuple[str, ...]
    schedule_ns: Ints
    start_ns: Ints
    end_ns: Ints
    num_seqs: Ints
    prefill_tokens: Ints
    decode_tokens: Ints
    emitting: Ints
    running: Ints
    waiting: Ints
    gpu_start_ns: Ints
    gpu_end_ns: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A run as of `at_ns`, live or replayed; None where nothing is known yet.

    Attributes:
        state: as `load_run` says ("dead" where the runner is gone); earlier in a run that was
            recorded further than `at_ns`: "running", or "draining" after its last arrival.
        live: its runner lives.
        end_ns: the newest stamp that is known.
        duration_s: seconds of arrivals; left_s: of these still to come; warmup_s: the first part.
        figures: the tiles, by the definitions of `analysis.live`.
        offered_per_s, achieved_per_s: of the measured window so far, req/s, as
            `analysis.throughput.load` has them.
        attainment: 0 to 1, and goodput_per_s, req/s: over the requests of the measured window
            that had ended, as `analysis.objectives` judges; those in flight are not yet judged.
        limits: the SLO's, ms, by objective.
        pools: as they were last looked at.
        events: the newest last, prefill chunks left out.
        trends: "ttft", "tpot", "itl": p50, ms, in each of the last intervals, NaN where there was
            none; for sparklines.
    """

    run_id: str
    name: str
    state: str
    reason: str
    progress: str
    live: bool
    at_ns: int
    end_ns: int
    duration_s: float | None
    warmup_s: float | None
    left_s: float | None
    figures: LiveSnapshot
    offered_per_s: float | None
    achieved_per_s: float | None
    attainment: float | None
    goodput_per_s: float | None
    limits: dict[str, float]
    pools: tuple[PoolMap, ...]
    steps: StepTail
    events: tuple[LogEntry, ...]
    trends: dict[str, Floats]
