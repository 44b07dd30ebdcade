"""A trace in memory: columns, one row a request, whatever format it was published in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Prefixes:
    """The blocks of tokens that each prompt is made of, by content.

    Two equal ids are the same tokens after the same beginning.

    Attributes:
        block_tokens: tokens of a block; the last id of a prompt may name a partial block.
        hash_ids: int64 `[ids]`, of all rows one after the other.
        offsets: int64 `[rows + 1]`; row i has `hash_ids[offsets[i]:offsets[i + 1]]`.
    """

    block_tokens: int
    hash_ids: Ints
    offsets: Ints


@dataclass(frozen=True, slots=True)
class Trace:
    """What was asked of somebody's servers, in the order of arrival.

    Attributes:
        format: the reader that read it (`workloads.traces.formats`).
        path: the file, as it was given.
        arrival_ns: int64 `[rows]`, ascending nanoseconds since the first arrival, exact to the
            digits of the file. With `sessions_own_clock`: since the start of the row's session.
        input_tokens, output_tokens: int64 `[rows]`, as published; 0 is possible.
        failed: bool `[rows]`, requests that the publisher marks as failed.
        origin: the stamp of the first arrival as the file has it; empty where there is none.
        prefixes: the prompts' blocks; None where the format has none.
        session_id, turn: int64 `[rows]`, conversation (from 0, in order of first arrival) and place
            in it; None where the format has none. -1 is a request that stands alone.
        sessions_own_clock: sessions have no common clock; when they begin is for an arrival
            process to say.
        skipped: rows that were broken and left out; `first_skipped` says what was wrong with the
            first.
    """

    format: str
    path: str
    arrival_ns: Ints
    input_tokens: Ints
    output_tokens: Ints
    failed: npt.NDArray[np.bool_]
    origin: str = ""
    prefixes: Prefixes | None = None
    session_id: Ints | None = None
    turn: Ints | None = None
    sessions_own_clock: bool = False
    skipped: int = 0
    first_skipped: str = ""

    def __len__(self) -> int:
        return len(self.arrival_ns)
