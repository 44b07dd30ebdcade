"""What a worker can do for a given mean request: the capacity that `--rate auto` shares out.

It computes real steps over the real KV tensor, without any request: prompts chunk by chunk at the
contexts that a mean prompt passes through, and decodes at the largest batch that runs, with the
context that a mean request has half-way. Nothing is left behind but values in blocks that no
table names.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from engines.compute.worker import Worker
from engines.errors import EngineConfigError
from engines.scheduling.blocks import BlockPool
from engines.scheduling.scheduler import SchedulerConfig, StepPlan
from engines.scheduling.sequence import SequenceTable

_PREFILL_SHARE = 0.5
_CHUNKS = 4


@dataclass(frozen=True, slots=True)
class Capacity:
    """Measured rates and the request rate that follows: 1 ÷ (in ÷ prefill + out ÷ decode).

    `prefill_tokens_per_s` and `decode_tokens_per_s` are each measured alone; `decode_batch`
    sequences at `decode_context` tokens decode together.
    """

    requests_per_s: float
    prefill_tokens_per_s: float
    decode_tokens_per_s: float
    decode_batch: int
    decode_context: int
    input_tokens: float
    output_tokens: float
    seconds: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def measure_capacity(
    worker: Worker,
    config: SchedulerConfig,
    pool: BlockPool,
    input_tokens: float,
    output_tokens: float,
    seconds: float,
) -> Capacity:
    """Times prefill and decode steps for about `seconds` in all, each warmed up once.

    Raises:
        EngineConfigError: the pool is in use, or too small for one mean request.
    """
    if pool.num_live or pool.num_cached:
        raise EngineConfigError("capacity can only be measured while the KV pool is empty")
    start = time.perf_counter()
    longest = min(config.max_model_len, pool.num_usable * pool.block_size)
    if longest < 2:
        raise EngineConfigError("the KV pool is too small to measure a capacity")
    prompt = max(1, min(round(input_tokens), longest - 1))
    context = max(1, min(round(input_tokens + output_tokens / 2), longest - 1))
    per_sequence = -(-(context + 1) // pool.block_size)
    batch = max(1, min(config.max_num_seqs, pool.num_usable // per_sequence))
    prefill = _time_prefill(worker, config, pool, prompt, seconds * _PREFILL_SHARE)
    decode = _time_decode(worker, config, pool, batch, context, seconds * (1 - _PREFILL_SHARE))
    rate = 1.0 / (input_tokens / prefill + output_tokens / decode)
    return Capacity(
        rate, prefill, decode, batch, context, input_tokens, output_tokens,
        time.perf_counter() - start,
    )  # fmt: skip


def _table(config: SchedulerConfig, pool: BlockPool, rows: int, tokens: int) -> SequenceTable:
    """A table of `rows` made-up sequences, each with blocks of its own, in order."""
    table = SequenceTable(rows, config.max_model_len, pool.block_size)
    blocks = -(-tokens // pool.block_size)
    table.block_tables[:, :blocks] = 1 + np.arange(rows * blocks).reshape(rows, blocks)
    table.token_ids[:, :tokens] = np.arange(tokens) % 97
    return table


def _time_prefill(
    worker: Worker, config: SchedulerConfig, pool: BlockPool, prompt: int, seconds: float
) -> float:
    """Prompt tokens per second, computed in chunks of the token budget.

    Short prompts share a step. Of a long one, up to `_CHUNKS` chunks evenly along it are timed.
    """
    budget, blocks = config.max_num_batched_tokens, -(-prompt // pool.block_size)
    together = max(1, min(config.max_num_seqs, budget // prompt, pool.num_usable // blocks))
    table = _table(config, pool, together, prompt)
    chunks = [(at, min(budget, prompt - at)) for at in range(0, prompt, budget)]
    if len(chunks) > _CHUNKS:
        places = np.linspace(0, len(chunks) - 1, _CHUNKS).round().astype(int)
        chunks = [chunks[place] for place in places]
    plans = [_plan(together, new, at, prefill=True) for at, new in chunks]

    def once() -> float:
        started = time.perf_counter()
        for plan in plans:
            worker.execute(plan, table)
        return time.perf_counter() - started

    worker.execute(plans[0], table)
    return sum(plan.num_tokens for plan in plans) / _typical(once, seconds)


def _time_decode(
    worker: Worker,
    config: SchedulerConfig,
    pool: BlockPool,
    batch: int,
    context: int,
    seconds: float,
) -> float:
    """Output tokens per second of `batch` sequences that decode together."""
    table = _table(config, pool, batch, context + 1)
    plan = _plan(batch, 1, context, prefill=False)

    def once() -> float:
        started = time.perf_counter()
        worker.execute(plan, table)
        return time.perf_counter() - started

    once()
    return batch / _typical(once, seconds)


def _plan(rows: int, new: int, computed: int, prefill: bool) -> StepPlan:
    return StepPlan(
        rows=np.arange(rows),
        num_new_tokens=np.full(rows, new),
        num_computed=np.full(rows, computed),
        samples=np.ones(rows, np.bool_),
        num_decodes=0 if prefill else rows,
        num_tokens=rows * new,
    )


def _typical(once: Callable[[], float], seconds: float) -> float:
    """Median duration, in seconds, of as many repetitions as fit, at least one."""
    deadline = time.perf_counter() + seconds
    durations = [once()]
    while time.perf_counter() + durations[-1] < deadline:
        durations.append(once())
    return float(np.median(durations))
