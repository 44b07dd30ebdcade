"""What the loop costs without a model: scheduler, commit and recorder round a worker that computes
nothing. The bar: 60 µs a step plus 1 µs a running sequence, at 256 sequences."""

from __future__ import annotations

import gc
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.compute.worker import Computed
from engines.monolithic import MonolithicEngine
from engines.scheduling.blocks import BlockPool
from engines.scheduling.config import SchedulerConfig
from engines.scheduling.plan import StepPlan
from engines.scheduling.scheduler import Scheduler
from engines.scheduling.sequence import SequenceTable
from profiles.ranges import Ranges, measure_cost_ns
from workbench.runs.folder import RunFolder
from workbench.runs.recorder import Recorder
from workloads.request import Request

_PROMPT_TOKENS = 128


class NoOpWorker:
    """Samples token 1 for every row at once. Satisfies `engines.compute.worker.Worker`."""

    overlaps = False

    def launch(self, plan: StepPlan, table: SequenceTable) -> Computed:
        return Computed(self.execute(plan, table))

    def collect(self, launched: Computed) -> Computed:
        return launched

    def execute(self, plan: StepPlan, table: SequenceTable) -> npt.NDArray[np.int32]:
        return np.ones(plan.num_samples, np.int32)

    def close(self) -> None: ...


def measure_loop(num_seqs: int, steps: int, recorded: bool) -> dict[str, Any]:
    """Mean microseconds of a decode step of `num_seqs` sequences, block growth included."""
    block_size = 16
    longest = _PROMPT_TOKENS + steps + 2
    pool = BlockPool(num_seqs * -(-longest // block_size) + 2, block_size)
    config = SchedulerConfig(
        max_num_seqs=num_seqs,
        max_num_batched_tokens=max(8192, num_seqs),
        max_model_len=longest,
    )
    engine = MonolithicEngine(
        Scheduler(config, pool), NoOpWorker(), time.monotonic_ns, Ranges(), {}
    )
    rng = np.random.default_rng(0)
    for request_id in range(num_seqs):
        prompt = rng.integers(0, 50_000, _PROMPT_TOKENS).astype(np.int32)
        engine.submit(Request(request_id, 0, prompt, steps + 1))
    while len(engine.scheduler.running) < num_seqs or engine.scheduler.num_prefilling:
        engine.step()
    with tempfile.TemporaryDirectory() as directory:
        recorder = None
        if recorded:
            folder = RunFolder.create(Path(directory) / "run", {}, "loop")
            recorder = Recorder(folder, 250_000_000, fsync_segments=False)
        gc.collect()
        gc.freeze()
        started = time.perf_counter_ns()
        done = 0
        while done < steps - num_seqs * _PROMPT_TOKENS // 8192 - 2:
            result = engine.step()
            assert result is not None
            done += 1
            if recorder is not None:
                recorder.step(result)
                recorder.flush_if_due(result.end_ns)
        spent_ns = time.perf_counter_ns() - started
        gc.unfreeze()
        if recorder is not None:
            recorder.close()
    return {"num_seqs": num_seqs, "recorded": recorded, "us_per_step": spent_ns / done / 1e3}


def run_loop(steps: int) -> dict[str, Any]:
    """The loop's cost over batch sizes, with the recorder on and off, and a silent range's cost."""
    rows = [
        measure_loop(num_seqs, steps, recorded)
        for num_seqs in (1, 16, 64, 256)
        for recorded in (False, True)
    ]
    for row in rows:
        row["bar_us"] = 60 + row["num_seqs"]
    return {
        "steps": steps,
        "rows": rows,
        "silent_range_ns": measure_cost_ns(Ranges().span("bench")),
    }
