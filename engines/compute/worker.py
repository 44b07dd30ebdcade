"""One device's share of an engine: weights, the KV tensor, and one step of compute. No policy."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from engines.attention.base import AttentionBackend, StepLayout
from engines.compute.sampling import SamplingBatch, sample
from engines.models.decoder import Decoder
from engines.scheduling.plan import StepPlan
from engines.scheduling.sequence import SequenceTable
from profiles.ranges import Ranges


class Worker(Protocol):
    """Computes a planned step."""

    def execute(self, plan: StepPlan, table: SequenceTable) -> npt.NDArray[np.int32]:
        """The sampled tokens, on the host: int32, one for each row of `plan` that samples."""

    def close(self) -> None:
        """Gives the device's memory back."""


def allocate_kv(decoder: Decoder, num_blocks: int, block_size: int) -> torch.Tensor:
    """Zeros `[layers, 2, blocks, block_size, kv_heads, head_dim]` beside the weights."""
    c = decoder.config
    shape = (c.num_layers, 2, num_blocks, block_size, c.num_kv_heads, c.head_dim)
    return torch.zeros(shape, dtype=decoder.embed.dtype, device=decoder.embed.device)


def step_layout(
    plan: StepPlan, table: SequenceTable, block_size: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], StepLayout]:
    """Token ids and positions, int64 `[tokens]`, and how the step's tokens lie."""
    rows, new, computed = plan.rows, plan.num_new_tokens, plan.num_computed
    if plan.num_decodes == len(rows):
        token_rows, positions = rows, computed
    else:
        token_rows = np.repeat(rows, new)
        starts = np.cumsum(new) - new
        positions = np.arange(plan.num_tokens) + np.repeat(computed - starts, new)
    contexts = computed + new
    tables = table.block_tables[rows, : -(-int(contexts.max()) // block_size)]
    blocks = table.block_tables[token_rows, positions // block_size].astype(np.int64)
    layout = StepLayout(
        query_lens=new,
        context_lens=contexts,
        block_tables=tables,
        slots=blocks * block_size + positions % block_size,
        num_decodes=plan.num_decodes,
    )
    return table.token_ids[token_rows, positions].astype(np.int64), positions, layout


class TorchWorker:
    """A decoder and its KV tensor on one device, in eager torch. Satisfies `Worker`."""

    def __init__(
        self,
        decoder: Decoder,
        kv: torch.Tensor,
        attention: AttentionBackend,
        ranges: Ranges,
    ) -> None:
        self.decoder = decoder
        self.kv = kv
        self.attention = attention
        self.block_size = kv.shape[3]
        self.device = kv.device
        colors = {"prefill": "green", "decode": "blue", "mixed": "cyan"}
        self._spans = {kind: ranges.span(kind, color) for kind, color in colors.items()}
        self._sample_span = ranges.span("sample", "yellow")

    @torch.inference_mode()
    def execute(self, plan: StepPlan, table: SequenceTable) -> npt.NDArray[np.int32]:
        token_ids, positions, layout = step_layout(plan, table, self.block_size)
        with self._spans[plan.kind]:
            step = self.attention.begin_step(layout)
            hidden = self.decoder(
                torch.from_numpy(token_ids).to(self.device),
                torch.from_numpy(positions).to(self.device),
                self.attention,
                self.kv,
                step,
            )
        if not plan.samples.any():
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)  # the step's end is the end of its compute
            return np.empty(0, np.int32)
        with self._sample_span:
            last = np.cumsum(plan.num_new_tokens)[plan.samples] - 1
            logits = self.decoder.logits(hidden[torch.from_numpy(last).to(self.device)])
            rows = plan.rows[plan.samples]
            batch = SamplingBatch(
                table.temperature[rows],
                table.top_k[rows],
                table.top_p[rows],
                table.seed[rows],
                table.num_tokens[rows],
            )
            tokens: npt.NDArray[np.int32] = sample(logits, batch).cpu().numpy().astype(np.int32)
        return tokens

    def close(self) -> None:
        del self.decoder, self.kv
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
