"""Requests as a trace has them: its lengths, and prompts that share what its blocks say."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from workloads.draws import checked_seed, sampling_seeds
from workloads.errors import WorkloadError
from workloads.fitting import fit_to_context
from workloads.request import Request, SamplingParams
from workloads.text import TokenStream
from workloads.traces.trace import Ints, Prefixes, Trace

# Long prompts have thousands of blocks each: more rows at once would be felt as a pause.
_ROWS: Final = 64


class TraceRequests:
    """A `RequestSource`: request i is row i of `trace`, with text from `stream`.

    A block's tokens are a function of its id: a code that no other id of the trace has, then real
    text. The tokens that no block names, and prompts without blocks, are text from the row's own
    place in the stream, as `SyntheticRequests` has it. A partial block is the beginning of the
    whole one. `max_model_len` in tokens applies `fitting.FITTING_RULE`; `None` is no limit.
    `sampling` is passed on, but for `seed`, which each request gets from (run seed, row).

    Nothing is kept of the prompts that were built: a block is one row of a gather from the
    stream, which costs no more than finding it in a cache would.

    Raises `WorkloadError` for a bad seed, a context under 2 tokens, rows without tokens (see
    `transform.apply`), and blocks too short to tell all ids apart.
    """

    __slots__ = ("_blocks", "_chunk", "_max_model_len", "_sampling", "_seed", "_stream", "trace")

    def __init__(
        self,
        trace: Trace,
        stream: TokenStream,
        *,
        seed: int = 0,
        max_model_len: int | None = None,
        sampling: SamplingParams | None = None,
    ) -> None:
        if min(trace.input_tokens.min(initial=1), trace.output_tokens.min(initial=1)) < 1:
            raise WorkloadError(
                f"{trace.path}: some rows have no prompt or output tokens and can't be requests; "
                "`transform.apply` gives them one"
            )
        self.trace = trace
        self._stream = stream
        self._seed = checked_seed(seed)
        self._max_model_len = max_model_len
        self._sampling = sampling if sampling is not None else SamplingParams()
        self._blocks = (
            None
            if trace.prefixes is None
            else _BlockText(trace.prefixes, stream, self._seed, trace.path)
        )
        self._chunk = self._draw_chunk(0)

    def build(self, request_id: int, scheduled_ns: int) -> Request:
        """See `RequestSource`. Raises `IndexError` beyond the last row of the trace."""
        if not self._chunk.first <= request_id < self._chunk.first + _ROWS:
            self._chunk = self._draw_chunk(request_id - request_id % _ROWS)
        chunk, row = self._chunk, request_id - self._chunk.first
        length = chunk.input_tokens[row]
        if self._blocks is None:
            prompt = self._stream.slice(chunk.offset[row], length)
        else:
            prompt = self._prompt(self._blocks, request_id, chunk.offset[row], length)
        return Request(
            request_id=request_id,
            scheduled_ns=scheduled_ns,
            prompt_token_ids=prompt,
            max_tokens=chunk.output_tokens[row],
            sampling=self._sampling.seeded(chunk.sampling_seed[row]),
            fitted=chunk.fitted[row],
            session_id=chunk.session_id[row],
            turn=chunk.turn[row],
        )

    def _prompt(
        self, blocks: _BlockText, row: int, offset: int, length: int
    ) -> npt.NDArray[np.int32]:
        named = blocks.beginning(row, length)
        if len(named) >= length:
            return named[:length]
        own = self._stream.slice(offset, length - len(named))
        return np.concatenate([named, own]) if len(named) else own

    def _draw_chunk(self, first: int) -> _Chunk:
        trace, rows = self.trace, slice(first, first + _ROWS)
        fitted_input, fitted_output, fitted = fit_to_context(
            trace.input_tokens[rows], trace.output_tokens[rows], self._max_model_len
        )
        ids = np.arange(first, first + len(fitted_input), dtype=np.int64)
        seeds = sampling_seeds(self._seed, ids)
        return _Chunk(
            first,
            fitted_input.tolist(),
            fitted_output.tolist(),
            fitted.tolist(),
            self._stream.offsets(self._seed, ids).tolist(),
            seeds.tolist(),
            _column(trace.session_id, rows, len(ids)),
            _column(trace.turn, rows, len(ids)),
        )


def _column(values: Ints | None, rows: slice, count: int) -> list[int]:
    return [-1] * count if values is None else values[rows].tolist()


class _Chunk:
    """What is known of `_ROWS` rows, as Python lists: indexing them beats numpy scalars."""

    __slots__ = (
        "first", "fitted", "input_tokens", "offset", "output_tokens", "sampling_seed",
        "session_id", "turn",
    )  # fmt: skip

    def __init__(
        self,
        first: int,
        input_tokens: list[int],
        output_tokens: list[int],
        fitted: list[bool],
        offset: list[int],
        sampling_seed: list[int],
        session_id: list[int],
        turn: list[int],
    ) -> None:
        self.first = first
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens
        self.fitted = fitted
        self.offset = offset
        self.sampling_seed = sampling_seed
        self.session_id = session_id
        self.turn = turn


class _BlockText:
    """The tokens of blocks: a code of the id in the stream's own tokens, then text.

    The code is the id's rank among all, written in base V, where V is the number of different
    tokens of the stream, the last digit first: neighbours differ in their very first token.
    """

    __slots__ = ("_alphabet", "_ids", "_offsets", "_powers", "_seed", "_size", "_stream", "_texts")

    def __init__(self, prefixes: Prefixes, stream: TokenStream, seed: int, path: str) -> None:
        self._size = prefixes.block_tokens
        self._offsets = prefixes.offsets
        known, ranks = np.unique(prefixes.hash_ids, return_inverse=True)
        self._ids, count = ranks.astype(np.int64, copy=False), len(known)
        self._alphabet = np.unique(stream.token_ids)
        base = len(self._alphabet)
        digits = 1
        while base**digits < count and digits <= self._size:
            digits += 1
        if digits > self._size:
            raise WorkloadError(
                f"{path}: blocks of {self._size} tokens can't tell {count:,} contents apart in a "
                f"text of {base:,} different tokens; scale the lengths down less"
            )
        self._powers = np.array([base**digit for digit in range(digits)], np.int64)
        self._seed = seed
        self._stream = stream
        ring = np.resize(stream.token_ids, len(stream) + self._size - 1)
        # [tokens of the stream, tokens of a block], overlapping views of one array
        self._texts = np.lib.stride_tricks.sliding_window_view(ring, self._size)

    def beginning(self, row: int, length: int) -> npt.NDArray[np.int32]:
        """The whole blocks that the first `length` tokens of a prompt lie in, int32 `[tokens]`;
        fewer than `length` where its blocks name no more."""
        start, end = int(self._offsets[row]), int(self._offsets[row + 1])
        ids = self._ids[start : min(end, start - (-length // self._size))]
        blocks = self._texts[self._stream.offsets(self._seed, ids)]
        digits = ids[:, None] // self._powers % len(self._alphabet)
        blocks[:, : len(self._powers)] = self._alphabet[digits]
        return blocks.reshape(-1)
