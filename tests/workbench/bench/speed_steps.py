"""Steps as an engine tells them, made by hand."""

from __future__ import annotations

import numpy as np

from engines.base import EngineEvent, StepResult


def step(
    index: int,
    end_ns: int = 0,
    chunks: dict[int, int] | None = None,
    emitted: tuple[int, ...] = (),
    preempted: dict[int, int] | None = None,
    gpu_ns: tuple[int, int] = (-1, -1),
    schedule_ns: int = 0,
    launch_ns: int = -1,
) -> StepResult:
    """A step that computed `chunks` (request: tokens), and decoded who else got a token."""
    chunks = chunks or {}
    decodes = sum(request_id not in chunks for request_id in emitted)
    events = [EngineEvent("preempt", r, tokens) for r, tokens in (preempted or {}).items()]
    events += [EngineEvent("prefill", r, tokens) for r, tokens in chunks.items()]
    return StepResult(
        index=index,
        kind="decode" if not chunks else "mixed" if decodes else "prefill",
        schedule_ns=schedule_ns,
        start_ns=end_ns,
        end_ns=end_ns,
        num_seqs=decodes + len(chunks),
        prefill_tokens=sum(chunks.values()),
        decode_tokens=decodes,
        emitted_ids=np.array(emitted, np.int64),
        emitted_tokens=np.ones(len(emitted), np.int64),
        running=0,
        waiting=0,
        live_blocks=0,
        cached_blocks=0,
        events=events,
        launch_ns=launch_ns,
        gpu_start_ns=gpu_ns[0],
        gpu_end_ns=gpu_ns[1],
    )
