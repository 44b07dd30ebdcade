"""What a step needs to know, packed into one int32 buffer that is uploaded in a single copy.

    header  rows  computed  query_starts  samples (six columns)  block updates (two)  prompt tokens

Everything but the prompts' tokens has its fixed place, so that captured kernels find it; the
prompts come last, so that a step of decodes uploads nothing of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from engines.scheduling.plan import StepPlan
from engines.scheduling.sequence import SequenceTable

HEADER = 8
NUM_SEQS, NUM_DECODES, NUM_TOKENS, NUM_SAMPLES, NUM_UPDATES, RING_SLOT = range(6)
"""Places in the header."""

SAMPLE_COLUMNS = 6
"""token index, row, temperature (float32 bits), seed (low, high 32 bits), position."""

RING = 4
"""Steps whose inputs and results may be on their way at once, and then some."""


@dataclass(frozen=True, slots=True)
class PackedLayout:
    """Where each part begins in the packed buffer, in int32 elements.

    Args:
        max_seqs: sequences of a step, at most.
        max_tokens: prompt tokens of a step, at most.
        max_updates: changes of block tables that one step takes along.
    """

    max_seqs: int
    max_tokens: int
    max_updates: int = 1024

    @property
    def rows(self) -> int:
        return HEADER

    @property
    def computed(self) -> int:
        return self.rows + self.max_seqs

    @property
    def query_starts(self) -> int:
        return self.computed + self.max_seqs

    @property
    def samples(self) -> int:
        """Six columns of `max_seqs` each."""
        return self.query_starts + self.max_seqs + 1

    @property
    def updates(self) -> int:
        """Two columns of `max_updates` each: flat index into the block tables, block."""
        return self.samples + SAMPLE_COLUMNS * self.max_seqs

    @property
    def prompts(self) -> int:
        """(token id, sequence) for each prompt token."""
        return self.updates + 2 * self.max_updates

    @property
    def size(self) -> int:
        return self.prompts + 2 * self.max_tokens


class HostStep:
    """One packed buffer on the host, pinned where there is a device to copy it to."""

    def __init__(self, layout: PackedLayout, pinned: bool) -> None:
        self.layout = layout
        self.tensor = torch.zeros(layout.size, dtype=torch.int32, pin_memory=pinned)
        flat = self.tensor.numpy()
        seqs, at = layout.max_seqs, layout.samples
        self.header = flat[:HEADER]
        self.rows = flat[layout.rows : layout.rows + seqs]
        self.computed = flat[layout.computed : layout.computed + seqs]
        self.query_starts = flat[layout.query_starts : layout.query_starts + seqs + 1]
        columns = [flat[at + i * seqs : at + (i + 1) * seqs] for i in range(SAMPLE_COLUMNS)]
        self.sample_tokens, self.sample_rows, bits, low, high, self.sample_positions = columns
        self.temperature = bits.view(np.float32)
        self.seed_low, self.seed_high = low.view(np.uint32), high.view(np.uint32)
        middle = layout.updates + layout.max_updates
        self.update_index = flat[layout.updates : middle]
        self.update_block = flat[middle : layout.prompts]
        self.prompts = flat[layout.prompts :].reshape(-1, 2)
        self._rows: npt.NDArray[np.int64] | None = None

    def fill(self, plan: StepPlan, table: SequenceTable, ring_slot: int) -> int:
        """Packs a step, block updates apart; returns the samples' number."""
        rows, decodes, num_seqs = plan.rows, plan.num_decodes, len(plan.rows)
        header = self.header
        header[NUM_SEQS], header[NUM_DECODES] = num_seqs, decodes
        header[NUM_TOKENS], header[RING_SLOT] = plan.num_tokens, ring_slot
        self.computed[:num_seqs] = plan.num_computed
        if decodes == num_seqs:
            self._fill_decodes(rows, table)
            header[NUM_SAMPLES] = num_seqs
            return num_seqs
        self._rows = None
        self.rows[:num_seqs] = rows
        starts = self.query_starts
        starts[0] = 0
        np.cumsum(plan.num_new_tokens, out=starts[1 : num_seqs + 1])
        sampling = np.flatnonzero(plan.samples)
        sampled_rows = rows[sampling]
        self.sample_tokens[: len(sampling)] = starts[1:][sampling] - 1
        self._fill_samples(sampled_rows, table)
        self.sample_positions[: len(sampling)] = table.num_tokens[sampled_rows]
        self._fill_prompts(plan, table)
        header[NUM_SAMPLES] = len(sampling)
        return len(sampling)

    def _fill_decodes(self, rows: npt.NDArray[np.int64], table: SequenceTable) -> None:
        """Decodes alone: the same rows as in this buffer's last step need no more than positions.

        The scheduler makes a new array of rows whenever they change.
        """
        count = len(rows)
        if self._rows is not rows:
            self._rows = rows
            ramp = np.arange(count + 1)
            self.rows[:count] = rows
            self.query_starts[: count + 1] = ramp
            self.sample_tokens[:count] = ramp[:count]
            self._fill_samples(rows, table)
        np.add(self.computed[:count], 1, out=self.sample_positions[:count])

    def _fill_samples(self, rows: npt.NDArray[np.int64], table: SequenceTable) -> None:
        count, seed = len(rows), table.seed[rows]
        self.sample_rows[:count] = rows
        self.temperature[:count] = table.temperature[rows]
        self.seed_low[:count] = seed & np.uint64(0xFFFF_FFFF)
        self.seed_high[:count] = seed >> np.uint64(32)

    def _fill_prompts(self, plan: StepPlan, table: SequenceTable) -> None:
        at, first = 0, plan.num_decodes
        chunks = zip(
            plan.rows[first:].tolist(),
            plan.num_computed[first:].tolist(),
            plan.num_new_tokens[first:].tolist(),
            strict=True,
        )
        for index, (row, computed, new) in enumerate(chunks, first):
            self.prompts[at : at + new, 0] = table.token_ids[row, computed : computed + new]
            self.prompts[at : at + new, 1] = index
            at += new

    def fill_updates(self, index: npt.NDArray[np.int32], block: npt.NDArray[np.int32]) -> None:
        """Packs changes of the block tables, at most `max_updates`."""
        count = len(index)
        self.update_index[:count] = index
        self.update_block[:count] = block
        self.header[NUM_UPDATES] = count

    def used(self, plan: StepPlan) -> torch.Tensor:
        """The part that a step has to upload."""
        return self.tensor[: self.layout.prompts + 2 * plan.num_prefill_tokens]
