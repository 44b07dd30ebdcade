"""Full blocks get the names under which later prompts find them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engines.scheduling.blocks import BlockPool, chain_hash
from engines.scheduling.plan import StepPlan
from engines.scheduling.sequence import SequenceTable


class Publication:
    """Publishes what steps have filled; each of their tokens must be on the host."""

    def __init__(self, table: SequenceTable, pool: BlockPool) -> None:
        self._table = table
        self._pool = pool
        self._token_ids = table.token_ids.reshape(-1)
        self._offsets = np.arange(-pool.block_size, 0)

    def publish(self, plan: StepPlan, ends: npt.NDArray[np.int64]) -> None:
        """Publishes the blocks of `plan` that are full now that `ends` tokens are computed."""
        first = plan.num_decodes
        rows = plan.rows
        if first < len(rows):
            full_blocks = ends[first:] // self._pool.block_size
            for row, full in zip(rows[first:].tolist(), full_blocks.tolist(), strict=True):
                self._publish_up_to(row, full)
            rows, ends = rows[:first], ends[:first]
        filled = np.flatnonzero(ends % self._pool.block_size == 0)
        if len(filled):
            self._publish_decoded(rows[filled], ends[filled])

    def _publish_decoded(self, rows: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> None:
        """For rows whose last block was filled by a decode: mostly that block is all there is."""
        table, pool, block_size = self._table, self._pool, self._pool.block_size
        ends_of_blocks = (rows * table.max_model_len + ends)[:, np.newaxis]
        tokens = self._token_ids[ends_of_blocks + self._offsets].tobytes()
        width = len(tokens) // len(rows)
        at = 0
        for row, full in zip(rows.tolist(), (ends // block_size).tolist(), strict=True):
            sequence = table.sequences[row]
            assert sequence is not None
            hashes, at = sequence.block_hashes, at + width
            if full - 1 == sequence.num_published == len(hashes) and hashes:
                name = chain_hash(hashes[-1], tokens[at - width : at])
                hashes.append(name)
                pool.publish(sequence.blocks[full - 1], name)
                sequence.num_published = full
            else:
                self._publish_up_to(row, full)

    def _publish_up_to(self, row: int, full: int) -> None:
        """Publishes what isn't yet of the row's first `full` blocks."""
        sequence = self._table.sequences[row]
        assert sequence is not None
        published = sequence.num_published
        if full <= published:
            return
        names = sequence.name_blocks(full, self._table.token_ids[row], self._pool.block_size)
        for index in range(published, full):
            self._pool.publish(sequence.blocks[index], names[index])
        sequence.num_published = full
