"""The rows that decode: gathered once, for as long as they stay the same."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engines.scheduling.sequence import SequenceTable

Ints = npt.NDArray[np.int64]


class Decodes:
    """Columns of the rows that decode, so that most steps needn't gather them again.

    Attributes:
        rows, epochs: int64 `[n]`, as in the table; never written.
        computed: int64 `[n]`, tokens computed by what was launched; replaced at each step.
        capacity: int64 `[n]`, tokens that each row's blocks hold.
        ones: int64 `[n]`; all_true: bool `[n]`.
        steps_left: steps until the first of them is at its last token; 0 where there are no rows.
    """

    __slots__ = (
        "all_true",
        "capacity",
        "computed",
        "epochs",
        "ones",
        "rows",
        "steps_left",
    )

    def __init__(self, rows: Ints, table: SequenceTable, block_size: int) -> None:
        self.rows = rows
        self.epochs = table.epoch[rows]
        self.computed = table.num_computed[rows]
        self.capacity = table.num_blocks[rows] * block_size
        self.ones = np.ones(len(rows), np.int64)
        self.all_true = np.ones(len(rows), np.bool_)
        left = table.max_tokens_total[rows] - table.num_tokens[rows]
        self.steps_left = int(left.min()) if len(rows) else 0

    @classmethod
    def among(cls, running: Ints, table: SequenceTable, block_size: int) -> Decodes:
        """Of the rows `running`, those past their prompt that have a token left to compute.

        A row whose last token is on its way has none, but stays until that token is settled.
        """
        decoding = table.num_computed[running] >= table.prefill_target[running]
        decoding &= table.num_tokens[running] < table.max_tokens_total[running]
        return cls(running[decoding], table, block_size)

    def without_room(self) -> Ints | None:
        """Which of the rows need a block for their next token: indices; None for none."""
        full = self.computed >= self.capacity
        return np.flatnonzero(full) if np.count_nonzero(full) else None
