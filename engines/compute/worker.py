"""One device's share of an engine: weights, the KV cache, and one step of compute. No policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from engines.attention.base import AttentionBackend, StepLayout
from engines.compute.sampling import SamplingBatch, sample
from engines.errors import StepOutOfMemory
from engines.kv_cache import KVCache
from engines.models.decoder import Decoder
from engines.scheduling.plan import StepPlan
from engines.scheduling.sequence import SequenceTable
from profiles.ranges import Ranges, Span

UNKNOWN_NS = -1
"""A stamp of the device's that nobody took."""


@dataclass(frozen=True, slots=True)
class Computed:
    """What came of a step.

    Attributes:
        tokens: int32, one for each row of the plan that samples.
        gpu_start_ns, gpu_end_ns: when the device began and ended it, on the run's clock;
            `UNKNOWN_NS` where no device keeps time.
    """

    tokens: npt.NDArray[np.int32]
    gpu_start_ns: int = UNKNOWN_NS
    gpu_end_ns: int = UNKNOWN_NS


class Worker(Protocol):
    """Computes planned steps, in the order in which they are launched.

    Attributes:
        overlaps: whether `launch` comes back before the step is computed, so that the next one
            may be planned and launched meanwhile.
    """

    overlaps: bool

    def launch(self, plan: StepPlan, table: SequenceTable) -> Any:
        """Begins a step; what it returns goes to `collect`.

        Raises:
            StepOutOfMemory: the step didn't fit; nothing of it counts.
        """

    def collect(self, launched: Any) -> Computed:
        """Waits until a step's tokens are on the host. Steps are collected in order."""

    def close(self) -> None:
        """Gives the device's memory back."""


def allocate_kv(
    decoder: Decoder, num_blocks: int, block_size: int, dtype: torch.dtype | None = None
) -> KVCache:
    """An empty cache beside the weights; in their dtype unless another is given."""
    c = decoder.config
    return KVCache.allocate(
        c.num_layers,
        num_blocks,
        block_size,
        c.num_kv_heads,
        c.head_dim,
        dtype or decoder.embed.dtype,
        decoder.embed.device,
    )


@dataclass(frozen=True, slots=True)
class StepTokens:
    """A step's tokens, int64 `[tokens]` each: ids, positions, and slots in the KV cache."""

    ids: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int64]


def step_layout(
    plan: StepPlan, table: SequenceTable, block_size: int
) -> tuple[StepTokens, StepLayout]:
    """A step's tokens, and how they lie."""
    rows, new, computed = plan.rows, plan.num_new_tokens, plan.num_computed
    if plan.num_decodes == len(rows):
        token_rows, positions = rows, computed
    else:
        token_rows = np.repeat(rows, new)
        starts = np.cumsum(new) - new
        positions = np.arange(plan.num_tokens) + np.repeat(computed - starts, new)
    blocks = table.block_tables[token_rows, positions // block_size].astype(np.int64)
    tokens = StepTokens(
        table.token_ids[token_rows, positions].astype(np.int64),
        positions,
        blocks * block_size + positions % block_size,
    )
    return tokens, host_layout(plan, table, block_size)


def host_layout(plan: StepPlan, table: SequenceTable, block_size: int) -> StepLayout:
    """How a step's tokens lie, for backends that plan on the host."""
    contexts = plan.num_computed + plan.num_new_tokens
    width = -(-int(contexts.max()) // block_size)
    tables = table.block_tables[plan.rows, :width]
    return StepLayout(plan.num_new_tokens, contexts, tables, plan.num_decodes)


class TorchWorker:
    """A decoder and its KV cache on one device, in eager torch. Satisfies `Worker`."""

    overlaps = False

    def __init__(
        self,
        decoder: Decoder,
        kv: KVCache,
        attention: AttentionBackend,
        ranges: Ranges,
    ) -> None:
        self.decoder = decoder
        self.kv = kv
        self.attention = attention
        self.block_size = kv.block_size
        self.device = kv.data.device
        self._spans = step_spans(ranges)

    def launch(self, plan: StepPlan, table: SequenceTable) -> Computed:
        """Computes the step at once."""
        try:
            return Computed(self._compute(plan, table))
        except torch.OutOfMemoryError as error:
            raise StepOutOfMemory(plan.num_tokens, str(error)) from error

    def collect(self, launched: Computed) -> Computed:
        return launched

    @torch.inference_mode()
    def _compute(self, plan: StepPlan, table: SequenceTable) -> npt.NDArray[np.int32]:
        tokens, layout = step_layout(plan, table, self.block_size)
        with self._spans[plan.kind]:
            hidden, delta = self.decoder(
                torch.from_numpy(tokens.ids).to(self.device),
                torch.from_numpy(tokens.positions).to(self.device),
                torch.from_numpy(tokens.slots).to(self.device),
                self.attention,
                self.kv,
                self.attention.begin_step(layout),
            )
        if not plan.samples.any():
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)  # the step's end is the end of its compute
            return np.empty(0, np.int32)
        with self._spans["sample"]:
            last = torch.from_numpy(np.cumsum(plan.num_new_tokens)[plan.samples] - 1)
            last = last.to(self.device)
            logits = self.decoder.logits(hidden[last], delta[last])
            batch = sampling_batch(plan.rows[plan.samples], table)
            drawn: npt.NDArray[np.int32] = sample(logits, batch).cpu().numpy().astype(np.int32)
        return drawn

    def close(self) -> None:
        del self.decoder, self.kv
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def step_spans(ranges: Ranges) -> dict[str, Span]:
    """The ranges of a step's compute, by its kind, and that of its sampling."""
    colors = {"prefill": "green", "decode": "blue", "mixed": "cyan", "sample": "yellow"}
    return {name: ranges.span(name, color) for name, color in colors.items()}


def sampling_batch(rows: npt.NDArray[np.int64], table: SequenceTable) -> SamplingBatch:
    """How the next token of each of `rows` is to be sampled."""
    return SamplingBatch(
        table.temperature[rows],
        table.top_k[rows],
        table.top_p[rows],
        table.seed[rows],
        table.num_tokens[rows],
    )
