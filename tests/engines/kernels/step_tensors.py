"""A packed step buffer and what it refers to, filled by hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from engines.compute.step_buffers import HEADER, HostStep, PackedLayout
from engines.kernels.triton.prepare import StepInputs, prepare_step

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
MAX_SEQS, MAX_TOKENS, MAX_UPDATES, BLOCK_SIZE, MAX_BLOCKS = 12, 3000, 64, 16, 200


@dataclass(frozen=True, slots=True)
class StepTensors:
    """What a worker has on its device."""

    packed: torch.Tensor
    block_tables: torch.Tensor
    next_token: torch.Tensor

    def prepare(self, num_tokens: int, num_seqs: int, decode_only: bool) -> StepInputs:
        """The step's inputs, in buffers that held something else."""
        inputs = StepInputs.allocate(num_tokens, num_seqs, DEVICE)
        for name in ("token_ids", "positions", "slots", "context_lens"):
            getattr(inputs, name).fill_(-1)
        prepare_step(
            self.packed,
            MAX_SEQS,
            MAX_UPDATES,
            self.next_token,
            self.block_tables,
            BLOCK_SIZE,
            inputs,
            decode_only,
        )
        return inputs


class Step:
    """A step of given sequences: (row, computed tokens, new tokens), decodes first."""

    def __init__(self, sequences: list[tuple[int, int, int]], decodes: int, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.sequences, self.decodes = sequences, decodes
        self.layout = PackedLayout(MAX_SEQS, MAX_TOKENS, MAX_UPDATES)
        self.host = HostStep(self.layout, pinned=False)
        # What earlier steps left behind.
        self.host.tensor.fill_(7)
        self.num_tokens = sum(new for _, _, new in sequences)
        self.host.header[:HEADER] = 0
        self.host.header[:3] = len(sequences), decodes, self.num_tokens
        rows, computed, new = np.array(sequences, np.int32).reshape(-1, 3).T
        self.host.rows[: len(rows)] = rows
        self.host.computed[: len(rows)] = computed
        self.host.query_starts[: len(rows) + 1] = np.concatenate([[0], np.cumsum(new)])
        prompts = np.repeat(np.arange(len(rows)), new)[decodes:]
        self.prompt_ids = self.random.integers(1, 9999, len(prompts))
        self.host.prompts[: len(prompts), 0] = self.prompt_ids
        self.host.prompts[: len(prompts), 1] = prompts
        tables = self.random.integers(1, 5000, (MAX_SEQS + 1, MAX_BLOCKS)).astype(np.int32)
        tables[-1] = 0
        self.next_token = self.random.integers(1, 9999, MAX_SEQS + 1).astype(np.int32)
        self.tables = tables

    def update(self, places: dict[tuple[int, int], int]) -> None:
        """Packs changes of block tables, (row, index) → block."""
        index = np.array([row * MAX_BLOCKS + at for row, at in places], np.int32)
        self.host.fill_updates(index, np.array(list(places.values()), np.int32))

    def sample(
        self,
        rows: list[int],
        temperature: list[float],
        seeds: list[int],
        positions: list[int],
        ring_slot: int = 0,
    ) -> None:
        """Packs how rows are to be sampled."""
        count = len(rows)
        self.host.header[3], self.host.header[5] = count, ring_slot
        self.host.sample_rows[:count] = rows
        self.host.temperature[:count] = temperature
        wide = np.array(seeds, np.uint64)
        self.host.seed_low[:count] = wide & np.uint64(0xFFFF_FFFF)
        self.host.seed_high[:count] = wide >> np.uint64(32)
        self.host.sample_positions[:count] = positions

    def tensors(self) -> StepTensors:
        """Copies of it all, on the device."""
        return StepTensors(
            packed=self.host.tensor.clone().to(DEVICE),
            block_tables=torch.from_numpy(self.tables.copy()).to(DEVICE),
            next_token=torch.from_numpy(self.next_token.copy()).to(DEVICE),
        )
