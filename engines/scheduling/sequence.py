"""A request on its way through an engine, and the table of those that run."""

from __future__ import annotations

import enum

import numpy as np
import numpy.typing as npt

from engines.scheduling.blocks import ROOT_HASH, chain_hash
from workloads.request import Request

NOT_REACHED = -1
"""A stamp that a request has not reached; saved as null, never as 0."""

_NO_CHANGES = np.empty(0, np.int32)


class Status(enum.StrEnum):
    """How a request ended (`WAITING` and `RUNNING`: it has not)."""

    WAITING = "waiting"
    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    UNFINISHED = "unfinished"


class Sequence:
    """One request's state in a scheduler.

    Stamps are nanoseconds since the run's start, `NOT_REACHED` until they happen. `order` sorts
    by the policy and then by arrival; the last in order is the first to be preempted.
    """

    __slots__ = (
        "admitted_ns",
        "block_hashes",
        "blocks",
        "cached_tokens",
        "first_token_ns",
        "last_token_ns",
        "lost_until",
        "num_prompt",
        "num_published",
        "num_tokens",
        "order",
        "preempted_ns",
        "preemptions",
        "prefilled_ns",
        "recompute_before_first_ns",
        "recompute_ns",
        "recomputed_tokens",
        "request",
        "row",
        "started_ns",
        "status",
        "tokens",
    )

    def __init__(self, request: Request, order: tuple[int, int], admitted_ns: int) -> None:
        self.request = request
        self.order = order
        self.status = Status.WAITING
        self.row = -1
        self.tokens: npt.NDArray[np.int32] = np.asarray(request.prompt_token_ids, dtype=np.int32)
        self.num_prompt = len(self.tokens)
        self.num_tokens = self.num_prompt
        self.blocks: list[int] = []
        self.block_hashes: list[bytes] = []
        self.num_published = 0
        self.cached_tokens = 0
        self.admitted_ns = admitted_ns
        self.started_ns = NOT_REACHED
        self.prefilled_ns = NOT_REACHED
        self.first_token_ns = NOT_REACHED
        self.last_token_ns = NOT_REACHED
        self.preempted_ns = NOT_REACHED
        self.preemptions = 0
        self.lost_until = 0
        self.recomputed_tokens = 0
        self.recompute_ns = 0
        self.recompute_before_first_ns = 0

    @property
    def max_tokens_total(self) -> int:
        """Prompt and output tokens when it is done."""
        return self.num_prompt + self.request.max_tokens

    @property
    def output_token_ids(self) -> npt.NDArray[np.int32]:
        """int32 `[output_tokens]`, of a sequence that has left its row."""
        return self.tokens[self.num_prompt : self.num_tokens].copy()

    def name_blocks(
        self, count: int, tokens: npt.NDArray[np.int32], block_size: int
    ) -> list[bytes]:
        """Content names of at least its first `count` blocks, which `tokens` fill; computed once
        each."""
        hashes, width = self.block_hashes, block_size * tokens.itemsize
        contents = tokens[: count * block_size].tobytes() if count > len(hashes) else b""
        parent = hashes[-1] if hashes else ROOT_HASH
        for index in range(len(hashes), count):
            parent = chain_hash(parent, contents[index * width : (index + 1) * width])
            hashes.append(parent)
        return hashes


class SequenceTable:
    """What the hot path reads and writes of the running sequences: a row each, numpy columns.

    A step touches these arrays with a handful of vector operations whatever the batch is, and a
    worker reads them to build its inputs.

    Attributes (rows = `max_num_seqs`):
        token_ids: int32 `[rows, max_model_len]`, prompt and output; from `num_settled` on they are
            not on the host.
        block_tables: int32 `[rows, max_blocks]`; entries past `num_blocks` are the null block.
        num_tokens: int64 `[rows]`, tokens known, and a place for each that a launched step samples.
        num_settled: int64 `[rows]`, those of them that are on the host.
        num_computed: int64 `[rows]`, tokens whose KV is computed by what was launched.
        prefill_target: int64 `[rows]`, tokens that were known on admission; below it, prefill.
        num_blocks, max_tokens_total, request_ids, last_token_ns: int64 `[rows]`.
        epoch: int64 `[rows]`, how many sequences have left the row.
        num_left: how many have left the table.
        stops: bool `[rows]`, whether a stop token ends it.
        temperature, top_p: float32; top_k: int32; seed: uint64 `[rows]`.
        log_block_changes: whether changes of `block_tables` are noted for `drain_block_changes`;
            set by a worker that keeps a copy on its device and drains it at each step.
    """

    def __init__(self, max_num_seqs: int, max_model_len: int, block_size: int) -> None:
        rows, max_blocks = max_num_seqs, -(-max_model_len // block_size)
        self.max_num_seqs = rows
        self.max_model_len = max_model_len
        self.token_ids = np.zeros((rows, max_model_len), np.int32)
        self.block_tables = np.zeros((rows, max_blocks), np.int32)
        self.num_tokens = np.zeros(rows, np.int64)
        self.num_settled = np.zeros(rows, np.int64)
        self.num_computed = np.zeros(rows, np.int64)
        self.prefill_target = np.zeros(rows, np.int64)
        self.num_blocks = np.zeros(rows, np.int64)
        self.max_tokens_total = np.zeros(rows, np.int64)
        self.request_ids = np.full(rows, -1, np.int64)
        self.last_token_ns = np.full(rows, NOT_REACHED, np.int64)
        self.epoch = np.zeros(rows, np.int64)
        self.num_left = 0
        self.stops = np.zeros(rows, np.bool_)
        self.temperature = np.zeros(rows, np.float32)
        self.top_p = np.ones(rows, np.float32)
        self.top_k = np.zeros(rows, np.int32)
        self.seed = np.zeros(rows, np.uint64)
        self.sequences: list[Sequence | None] = [None] * rows
        self.log_block_changes = False
        self._changed: list[npt.NDArray[np.int64]] = []
        self._free_rows = list(range(rows - 1, -1, -1))

    @property
    def num_free_rows(self) -> int:
        return len(self._free_rows)

    def enter(self, sequence: Sequence, num_computed: int) -> None:
        """Gives a sequence a row; its blocks are already allocated."""
        row = self._free_rows.pop()
        request, sampling = sequence.request, sequence.request.sampling
        num_blocks = len(sequence.blocks)
        sequence.row = row
        self.sequences[row] = sequence
        self.token_ids[row, : sequence.num_tokens] = sequence.tokens
        self.block_tables[row, :num_blocks] = sequence.blocks
        self.num_blocks[row] = num_blocks
        self.num_tokens[row] = sequence.num_tokens
        self.num_settled[row] = sequence.num_tokens
        self.num_computed[row] = num_computed
        self.prefill_target[row] = sequence.num_tokens
        self.max_tokens_total[row] = sequence.max_tokens_total
        self.request_ids[row] = request.request_id
        self.last_token_ns[row] = sequence.last_token_ns
        self.stops[row] = not sampling.ignore_eos
        self.temperature[row] = sampling.temperature
        self.top_p[row] = sampling.top_p
        self.top_k[row] = sampling.top_k
        self.seed[row] = np.uint64(sampling.seed & 0xFFFF_FFFF_FFFF_FFFF)
        if self.log_block_changes:
            first = row * self.block_tables.shape[1]
            self._changed.append(np.arange(first, first + num_blocks))

    def append_blocks(self, rows: npt.NDArray[np.int64], blocks: list[int]) -> None:
        """Adds one block to the table of each of `rows`, which all run and are all different."""
        index = self.num_blocks[rows]
        self.block_tables[rows, index] = blocks
        self.num_blocks[rows] = index + 1
        for row, block in zip(rows.tolist(), blocks, strict=True):
            sequence = self.sequences[row]
            assert sequence is not None
            sequence.blocks.append(block)
        if self.log_block_changes:
            self._changed.append(rows * self.block_tables.shape[1] + index)

    def leave(self, sequence: Sequence) -> None:
        """Takes a sequence out, with the tokens that are on the host by now."""
        row = sequence.row
        sequence.num_tokens = int(self.num_settled[row])
        sequence.tokens = self.token_ids[row, : sequence.num_tokens].copy()
        sequence.last_token_ns = int(self.last_token_ns[row])
        self.block_tables[row, : len(sequence.blocks)] = 0
        self.request_ids[row] = -1
        self.epoch[row] += 1
        self.num_left += 1
        self.sequences[row] = None
        self._free_rows.append(row)
        sequence.row = -1

    def drain_block_changes(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Which entries of `block_tables` were set since the last call, and what they are now.

        Entries of a sequence that left are not told: nobody reads them until they are set again.

        Returns:
            Indices into the flattened `block_tables`, and blocks: int32 `[n]` each. An index may
            come twice, with the same block.
        """
        if not self._changed:
            return _NO_CHANGES, _NO_CHANGES
        index = self._changed[0] if len(self._changed) == 1 else np.concatenate(self._changed)
        self._changed.clear()
        return index.astype(np.int32), self.block_tables.reshape(-1)[index]
