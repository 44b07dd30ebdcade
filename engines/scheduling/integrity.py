"""What must hold between running sequences, their table and the block pool, at any time."""

from __future__ import annotations

from collections.abc import Sequence as Row

import numpy as np

from engines.errors import IntegrityError
from engines.scheduling.blocks import NULL_BLOCK, BlockPool
from engines.scheduling.sequence import Sequence, SequenceTable, Status

MOST_IN_FLIGHT = 2
"""Steps that may be launched and not settled at once: one runs while the next one is launched."""


def check_sequences(running: Row[Sequence], table: SequenceTable, pool: BlockPool) -> None:
    """Verifies the pool and the table against the running sequences.

    Raises:
        IntegrityError: the first invariant that does not hold.
    """
    size = pool.block_size
    pool.check_integrity(sequence.blocks for sequence in running)
    writable: dict[int, int] = {}
    for sequence in running:
        row, name = sequence.row, sequence.request.request_id
        known, computed = int(table.num_tokens[row]), int(table.num_computed[row])
        if table.sequences[row] is not sequence or sequence.status is not Status.RUNNING:
            raise IntegrityError(f"request {name}: its row holds another sequence")
        if not 0 <= computed < known <= sequence.max_tokens_total:
            raise IntegrityError(f"request {name}: {computed} computed of {known} tokens")
        settled = int(table.num_settled[row])
        if not sequence.num_prompt <= settled <= known <= settled + MOST_IN_FLIGHT:
            raise IntegrityError(f"request {name}: {settled} of {known} tokens settled")
        # The last settled token was sampled, not computed, once the prompt is behind.
        if sequence.num_published * size > settled - (settled > table.prefill_target[row]):
            raise IntegrityError(f"request {name}: published blocks that are not settled")
        if len(sequence.blocks) != table.num_blocks[row] or np.any(
            table.block_tables[row, : len(sequence.blocks)] != sequence.blocks
        ):
            raise IntegrityError(f"request {name}: its block table differs from its blocks")
        if np.any(table.block_tables[row, len(sequence.blocks) :] != NULL_BLOCK):
            raise IntegrityError(f"request {name}: blocks behind its table's end")
        if computed > len(sequence.blocks) * size:
            raise IntegrityError(f"request {name}: computed tokens without a block")
        for block in sequence.blocks[computed // size :]:
            if writable.setdefault(block, name) != name or pool.refcount(block) != 1:
                raise IntegrityError(f"block {block} is writable by two requests")
            if pool.is_published(block):
                raise IntegrityError(f"request {name} may write into published block {block}")
    if [s.order for s in running] != sorted(s.order for s in running):
        raise IntegrityError("running sequences are out of order")
    if len(running) + table.num_free_rows != table.max_num_seqs:
        raise IntegrityError("rows of the sequence table were lost")
