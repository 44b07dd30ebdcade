"""What a worker can do for a given traffic: the capacity that `--rate auto` shares out.

At saturation and in a steady state, a step decodes as many sequences as run at once, and computes
as many prompt tokens as it takes to replace those that end. Such a step is made up from the
traffic's own lengths and timed on the real worker, over the real KV tensor, without any request.
Nothing is left behind but values in blocks that no table names.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.compute.worker import Worker
from engines.errors import EngineConfigError
from engines.scheduling.blocks import BlockPool
from engines.scheduling.config import SchedulerConfig
from engines.scheduling.plan import StepPlan
from engines.scheduling.sequence import SequenceTable

Lengths = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Capacity:
    """Requests per second at saturation, and the step that says so.

    A step of `decodes` sequences and `prefill_tokens` prompt tokens takes `step_ms`; it ends
    `decodes ÷ output_tokens` requests, which is `requests_per_s` over the step's time.
    """

    requests_per_s: float
    step_ms: float
    decodes: int
    prefill_tokens: int
    input_tokens: float
    output_tokens: float
    seconds: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def measure_capacity(
    worker: Worker,
    config: SchedulerConfig,
    pool: BlockPool,
    input_tokens: Lengths,
    output_tokens: Lengths,
    seconds: float,
) -> Capacity:
    """Times saturated steps for about `seconds`, at least one after one to warm up.

    Args:
        input_tokens, output_tokens: lengths of some hundred requests of the traffic, as they
            would be served.

    Raises:
        EngineConfigError: the pool is in use, or holds no single one of the requests.
    """
    if pool.num_live or pool.num_cached:
        raise EngineConfigError("capacity can only be measured while the KV pool is empty")
    started = time.perf_counter()
    mean_input, mean_output = float(input_tokens.mean()), float(output_tokens.mean())
    per_decode = mean_input / mean_output
    most = min(config.max_num_seqs, int(config.max_num_batched_tokens / (1 + per_decode)))
    contexts = _decode_contexts(input_tokens, output_tokens, max(1, most))
    while True:
        chunks = _prompt_chunks(len(contexts), per_decode, round(mean_input), config)
        beside = config.max_num_seqs - len(chunks)
        if len(contexts) > max(1, beside):
            contexts = contexts[: max(1, beside)]
            continue
        needed = [*contexts.tolist(), *(at + new for at, new in chunks)]
        blocks = sum(-(-tokens // pool.block_size) for tokens in needed)
        if blocks <= pool.num_usable:
            break
        if len(contexts) == 1:
            raise EngineConfigError(
                f"the KV pool of {pool.num_usable} blocks holds no request of this traffic; "
                "give it more with kv_memory or num_blocks"
            )
        contexts = contexts[: max(1, len(contexts) * pool.num_usable // (blocks + 1))]
    table, plan = _saturated_step(contexts, chunks, config, pool)

    in_flight: deque[Any] = deque()

    def once() -> float:
        """A step as the engine has it: where they overlap, the next is launched before the wait."""
        start = time.perf_counter()
        in_flight.append(worker.launch(plan, table))
        if len(in_flight) > worker.overlaps:
            worker.collect(in_flight.popleft())
        return time.perf_counter() - start

    for _ in range(1 + worker.overlaps):
        once()
    step_s = _median(once, seconds)
    while in_flight:
        worker.collect(in_flight.popleft())
    return Capacity(
        requests_per_s=len(contexts) / mean_output / step_s,
        step_ms=step_s * 1e3,
        decodes=len(contexts),
        prefill_tokens=sum(new for _, new in chunks),
        input_tokens=mean_input,
        output_tokens=mean_output,
        seconds=time.perf_counter() - started,
    )


def _decode_contexts(input_tokens: Lengths, output_tokens: Lengths, count: int) -> Lengths:
    """Contexts of `count` sequences met while decoding: a longer answer is met more often, at any
    point of it alike."""
    order = np.random.default_rng(0).permutation(len(input_tokens))
    cumulated = np.cumsum(output_tokens[order])
    places = (np.arange(count) + 0.5) / count * cumulated[-1]
    picked = np.searchsorted(cumulated, places, side="right")
    within = places - (cumulated[picked] - output_tokens[order][picked])
    contexts: Lengths = input_tokens[order][picked] + within.astype(np.int64)
    return np.random.default_rng(1).permutation(contexts)


def _prompt_chunks(
    decodes: int, per_decode: float, mean_input: int, config: SchedulerConfig
) -> list[tuple[int, int]]:
    """(tokens computed before, new tokens) of the prompts that replace what ends in a step."""
    room = config.max_num_batched_tokens - decodes
    tokens = min(max(1, round(decodes * per_decode)), max(1, room))
    whole, rest = divmod(tokens, max(1, mean_input))
    chunks = [(0, mean_input)] * whole
    if rest:
        # Part of a prompt: half-way along it, as chunks are on average.
        chunks.append(((mean_input - rest) // 2, rest))
    return chunks


def _saturated_step(
    contexts: Lengths,
    chunks: list[tuple[int, int]],
    config: SchedulerConfig,
    pool: BlockPool,
) -> tuple[SequenceTable, StepPlan]:
    """A table of made-up sequences, each with blocks of its own, and the step over all of them."""
    rows = len(contexts) + len(chunks)
    computed = np.array([*(contexts - 1), *(at for at, _ in chunks)], np.int64)
    new = np.array([1] * len(contexts) + [tokens for _, tokens in chunks], np.int64)
    table = SequenceTable(rows, config.max_model_len, pool.block_size)
    first = 1
    for row, tokens in enumerate((computed + new).tolist()):
        blocks = -(-tokens // pool.block_size)
        table.block_tables[row, :blocks] = np.arange(first, first + blocks)
        table.token_ids[row, :tokens] = np.arange(tokens) % 97
        first += blocks
    plan = StepPlan(
        rows=np.arange(rows),
        num_new_tokens=new,
        num_computed=computed,
        samples=np.ones(rows, np.bool_),
        num_decodes=len(contexts),
        num_tokens=int(new.sum()),
        epochs=table.epoch,
    )
    return table, plan


def _median(once: Callable[[], float], seconds: float) -> float:
    """Median duration, in seconds, of as many repetitions as fit, at least one."""
    deadline = time.perf_counter() + seconds
    durations = [once()]
    while time.perf_counter() + durations[-1] < deadline:
        durations.append(once())
    return float(np.median(durations))
