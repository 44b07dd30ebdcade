"""Very many short requests through the fast path on CUDA: nothing is left behind."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from engines.capabilities import Resolved
from engines.compute.worker import allocate_kv
from engines.models.config import ModelConfig
from engines.models.decoder import Decoder
from engines.monolithic import MonolithicEngine
from engines.registry import make_worker
from engines.scheduling.blocks import BlockPool
from engines.scheduling.config import SchedulerConfig
from engines.scheduling.scheduler import Scheduler
from engines.scheduling.sequence import Status
from profiles.ranges import Ranges
from workloads.request import Request, SamplingParams

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]

REQUESTS = 100_000
SMALL = ModelConfig(
    name="random small", vocab_size=512, hidden_size=128, intermediate_size=256, num_layers=2,
    num_heads=4, num_kv_heads=2, head_dim=32, max_position=256,
)  # fmt: skip


def test_no_block_is_lost_over_many_requests() -> None:
    """Stop tokens, cancels, shared prefixes, preemptions and temperatures, in overlapped graphs."""
    device = torch.device("cuda")
    decoder = Decoder(SMALL, 256, device, torch.bfloat16)
    decoder.randomise(0)
    resolved = Resolved("bfloat16", "bfloat16", "triton", "fused", True, True, "none")
    config = SchedulerConfig(max_num_seqs=256, max_num_batched_tokens=2048, max_model_len=256)
    kv = allocate_kv(decoder, 601, 16)
    clock = itertools.count()
    worker = make_worker(resolved, decoder, kv, config, Ranges(), lambda: next(clock))
    scheduler = Scheduler(config, BlockPool(601, 16), tuple(range(0, 512, 16)))
    engine = MonolithicEngine(scheduler, worker, lambda: next(clock), Ranges(), overlap=True)
    draw = np.random.default_rng(0)
    stems = draw.integers(0, 512, (8, 48)).astype(np.int32)
    ended: dict[str, int] = {}
    preemptions = submitted = seen = 0

    def count(status: str) -> None:
        ended[status] = ended.get(status, 0) + 1

    while seen < REQUESTS:
        while submitted < REQUESTS and submitted - seen < 400:
            tail = draw.integers(0, 512, int(draw.integers(1, 40))).astype(np.int32)
            stem = stems[int(draw.integers(8))][: int(draw.integers(0, 49))]
            sampling = SamplingParams(
                temperature=float(submitted % 2), seed=submitted, ignore_eos=bool(submitted % 3)
            )
            prompt = np.concatenate([stem, tail])
            most = int(draw.integers(1, 60 if submitted % 50 else 160))
            request = Request(submitted, 0, prompt, most, sampling)
            assert engine.submit(request) is None
            submitted += 1
        if seen % 97 == 0:
            cancelled = engine.cancel(int(draw.choice(engine.request_ids())), Status.CANCELLED)
            if cancelled is not None:
                count(cancelled.status)
                seen += 1
        result = engine.step()
        assert result is not None
        for record in result.records:
            count(record.status)
            preemptions += record.preemptions
            seen += 1
    print(f"{ended}, {preemptions} preemptions, {result.index + 1} steps")
    while engine.has_work:
        engine.step()
    engine.check_integrity()
    assert sum(ended.values()) == REQUESTS and set(ended) == {"ok", "cancelled"}
    assert preemptions and scheduler.pool.num_live == 0
