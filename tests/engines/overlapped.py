"""An engine with overlap round a fake worker, for the tests of both."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fake_worker import VOCAB, FakeWorker, Step, Truth

from engines.base import RequestRecord, StepResult
from engines.compute.worker import Computed
from engines.monolithic import MonolithicEngine
from engines.scheduling.blocks import BlockPool
from engines.scheduling.config import SchedulerConfig
from engines.scheduling.plan import StepPlan
from engines.scheduling.scheduler import Scheduler
from engines.scheduling.sequence import SequenceTable
from profiles.ranges import Ranges
from workloads.request import Request, SamplingParams

STOP = 3


class LoggedWorker(FakeWorker):
    """Notes its calls: L0 C0 for the first step's launch and collection."""

    def __init__(self, *args: Any, **words: Any) -> None:
        super().__init__(*args, **words)
        self.calls: list[str] = []
        self.plans: list[StepPlan] = []
        self.fails_at = -1

    def launch(self, plan: StepPlan, table: SequenceTable) -> Step:
        step = super().launch(plan, table)
        self.calls.append(f"L{len(self.plans)}")
        self.plans.append(plan)
        return step

    def collect(self, launched: Step) -> Computed:
        number = sum(call[0] == "C" for call in self.calls)
        self.calls.append(f"C{number}")
        if number == self.fails_at:
            raise RuntimeError("the device fell off the bus")
        return super().collect(launched)


@dataclass
class Bench:
    """An engine with overlap round a fake worker; each reading of the clock is 10 ns later."""

    usable_blocks: int = 64
    block_size: int = 4
    prefix_caching: bool = False
    overlap: bool = True
    refuses: Callable[[str], bool] = lambda at: False
    config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        limits = {"max_num_seqs": 8, "max_num_batched_tokens": 64, "max_model_len": 64}
        self.pool = BlockPool(self.usable_blocks + 1, self.block_size, self.prefix_caching)
        self.scheduler = Scheduler(
            SchedulerConfig(**(limits | {"watermark": 0.0} | self.config)), self.pool, (STOP,)
        )
        self.worker = LoggedWorker(
            self.usable_blocks + 1, self.block_size, 64, overlaps=True, refuses=self.refuses
        )
        clock = itertools.count(0, 10)
        self.engine = MonolithicEngine(
            self.scheduler, self.worker, lambda: next(clock), Ranges(), overlap=self.overlap
        )
        self.results: list[StepResult] = []
        self.records: dict[int, RequestRecord] = {}

    def add(self, request_id: int, prompt: int, output: int, stops: bool = False) -> Truth:
        draw = np.random.default_rng(request_id)
        tokens = draw.integers(0, VOCAB, prompt).tolist()
        self.worker.truths[request_id] = Truth(tokens, output, (STOP,) if stops else ())
        sampling = SamplingParams(ignore_eos=not stops)
        request = Request(request_id, 0, np.array(tokens, np.int32), output, sampling)
        assert self.engine.submit(request) is None
        return self.worker.truths[request_id]

    def step(self) -> StepResult:
        result = self.engine.step()
        assert result is not None
        self.engine.check_integrity()
        self.results.append(result)
        for record in result.records:
            assert record.request_id not in self.records, "a record came out twice"
            self.records[record.request_id] = record
        return result

    def cancel(self, request_id: int) -> RequestRecord:
        record = self.engine.cancel(request_id)
        assert record is not None
        self.engine.check_integrity()
        return record

    def run(self) -> list[StepResult]:
        while self.engine.has_work:
            self.step()
        assert self.pool.num_live == 0
        return self.results

    def tokens(self, request_id: int) -> list[int]:
        answer = self.records[request_id].output_token_ids
        assert answer is not None
        tokens: list[int] = answer.tolist()
        return tokens

    def answer(self, request_id: int) -> list[int]:
        """What it is to be answered with."""
        truth = self.worker.truths[request_id]
        tokens: list[int] = truth.tokens[truth.num_prompt :].tolist()
        return tokens
