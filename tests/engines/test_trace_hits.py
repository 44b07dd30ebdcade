"""Replayed traces meet the prefix cache: the engine finds what the trace says is there."""

import numpy as np
import pytest
from fake_worker import FakeWorker, Truth

from engines.monolithic import MonolithicEngine
from engines.scheduling.blocks import BlockPool
from engines.scheduling.config import SchedulerConfig
from engines.scheduling.scheduler import Scheduler
from profiles.ranges import Ranges
from workloads.text import TokenStream, byte_encoder
from workloads.traces.options import TraceOptions
from workloads.traces.replay import TraceRequests
from workloads.traces.statistics import describe
from workloads.traces.trace import Prefixes, Trace
from workloads.traces.transform import apply
from workloads.traffic import OpenLoop

BLOCK = 16
STREAM = TokenStream.encoded(byte_encoder(256))


def replayed(trace, num_blocks, step_s=0.0, budget=2048):
    """Cached prompt tokens and prompt tokens of a replay whose steps take `step_s` each."""
    longest = int((trace.input_tokens + trace.output_tokens).max())
    worker = FakeWorker(num_blocks, BLOCK, longest)
    config = SchedulerConfig(
        max_num_seqs=256, max_num_batched_tokens=budget, max_model_len=longest, watermark=0.0
    )
    scheduler = Scheduler(config, BlockPool(num_blocks, BLOCK))
    now_ns = 0
    engine = MonolithicEngine(scheduler, worker, lambda: now_ns, Ranges())
    traffic = OpenLoop(TraceRequests(trace, STREAM), trace.arrival_ns)
    records = []
    while not traffic.exhausted or engine.has_work:
        for request in traffic.due(now_ns):
            worker.truths[request.request_id] = Truth(
                request.prompt_token_ids.tolist(), request.max_tokens
            )
            assert engine.submit(request) is None
        if engine.has_work:
            step = engine.step()
            now_ns += round(step_s * 1e9)
            records += step.records
        else:
            now_ns = traffic.next_due_ns()
    engine.scheduler.check_integrity()
    assert len(records) == len(trace) and all(record.status == "ok" for record in records)
    assert engine.pool.evictions == 0
    cached = sum(record.cached_tokens for record in records)
    return cached, sum(record.prompt_tokens for record in records)


def conversations(count, turns, seed=0):
    """A trace of chats in 64-token blocks that all begin with the same two, one row a second."""
    rng = np.random.default_rng(seed)
    rows, next_id = [], 2
    histories = [[0, 1] for _ in range(count)]
    for _ in range(turns):
        for chat in rng.permutation(count):
            new = int(rng.integers(1, 6))
            histories[chat] = histories[chat] + list(range(next_id, next_id + new))
            next_id += new
            rows.append(histories[chat])
    offsets = np.cumsum([0, *map(len, rows)])
    return Trace(
        format="native",
        path="chats",
        arrival_ns=np.arange(len(rows), dtype=np.int64) * 10**9,
        input_tokens=64 * np.diff(offsets) + rng.integers(1, 64, len(rows)),
        output_tokens=np.full(len(rows), 8, np.int64),
        failed=np.zeros(len(rows), bool),
        prefixes=Prefixes(64, np.concatenate(rows).astype(np.int64), offsets),
    )


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_an_engine_hits_what_an_infinite_cache_would(scale):
    trace, _ = apply(conversations(12, 6), TraceOptions(scale_lengths=scale))
    ideal = describe(trace).prefixes
    assert ideal.token_hit_share > 0.4
    cached, prompt = replayed(trace, 4096)
    assert cached / prompt == pytest.approx(ideal.token_hit_share, abs=0.02)


def test_nothing_is_hit_that_the_trace_does_not_share():
    trace = conversations(40, 1)
    ids = np.arange(len(trace.prefixes.hash_ids))
    alone = Trace(
        "native", "alone", trace.arrival_ns, trace.input_tokens, trace.output_tokens, trace.failed,
        prefixes=Prefixes(64, ids, trace.prefixes.offsets),
    )  # fmt: skip
    assert replayed(alone, 4096)[0] == 0
